"""What `make surface` compares."""

import json

from tests.benchmarks.sides import this_checkout
from tests.support.settings import KINDS
from tests.support.surface import DECLARED, difference
from tracker.runtime.metric_sources import all_families
from tracker.settings import variable_of


def test_every_setting_and_every_family_is_found() -> None:
    declared = json.loads(this_checkout().run("-P", str(DECLARED)))
    variables = [line.partition(":")[0] for line in declared["settings"]]
    assert sorted(variables) == sorted(variable_of(name) for kind in KINDS for name in kind.__struct_fields__)
    assert declared["families"].keys() == {family.name for family in all_families()}


def test_a_setting_is_shown_with_its_type_and_its_default() -> None:
    declared = json.loads(this_checkout().run("-P", str(DECLARED)))
    assert {
        "DATABASE_URL: str | None = None",
        "TRACKER_COMMIT_TIMEOUT_S: float (gt=0, le=600) = 5.0",
        "TRACKER_PAYMENT: 'sandbox' | 'stripe' | None = None",
    } <= set(declared["settings"])


def test_a_difference_shows_what_went_and_what_came() -> None:
    old, new = {"Routes": ["GET /a", "GET /b"], "Gone": ["x"]}, {"Routes": ["GET /a", "GET /c"], "New": ["y"]}
    lines = list(difference(old, new, name="1234567890"))
    assert [line for line in lines if line[:2] in {"-G", "+G", "-x", "+y"}] == ["-GET /b", "+GET /c", "-x", "+y"]


def test_no_difference_is_said_in_a_line() -> None:
    assert list(difference({"Routes": ["GET /a"]}, {"Routes": ["GET /a"]}, name="1234567890")) == [
        "Tracker shows the same as 1234567890 does"
    ]

"""A contestant of the benchmarks that fails, among others that do not."""

import shutil
from pathlib import Path

import pytest

from tests.benchmarks import throughput
from tests.benchmarks.contestants import LIMIT, Contestant
from tests.benchmarks.errors import SetupError
from tests.benchmarks.failures import Failure, Failures
from tests.benchmarks.machine import cores_of_machine
from tests.benchmarks.postgres import Databases
from tests.benchmarks.processes import Site

BROKEN = Contestant("broken", "one that ends at once", (("false",),), stores=False)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_who_fails_is_named_and_the_others_go_on(server_url: str, tmp_path: Path) -> None:
    try:
        cores = cores_of_machine()
    except SetupError as error:
        pytest.skip(str(error))
    said: list[str] = []
    failures = Failures(said.append)
    site = Site(cores, tmp_path, Databases(server_url, 0))
    turns = throughput.measure([BROKEN, LIMIT], site, failures, rounds=2, seconds=1, say=said.append)
    reason = "false ended with exit code 1: it said nothing"
    assert failures.found == [Failure("throughput", "broken", reason)], "once, though there were two rounds"
    assert f"  FAILED: throughput, broken: {reason}" in said
    assert [(turn.contestant, turn.round) for turn in turns] == [("limit", 1), ("limit", 2)]

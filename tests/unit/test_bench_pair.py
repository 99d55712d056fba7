"""What the benchmarks conclude from turns, and that one who fails does not end the others' measuring."""

import shutil
from pathlib import Path

import pytest

from tests.benchmarks import latency, throughput, verdicts, warranties
from tests.benchmarks.bars import bars_of
from tests.benchmarks.contestants import JOURNAL, LIMIT, Contestant
from tests.benchmarks.errors import BenchmarkError, SetupError
from tests.benchmarks.failures import Failure, Failures
from tests.benchmarks.machine import Cores, Machine, cores_of_machine
from tests.benchmarks.plot import draw
from tests.benchmarks.postgres import Databases
from tests.benchmarks.processes import Site
from tests.benchmarks.report import lines_of
from tests.benchmarks.requests import ITEM_KNOWN
from tests.benchmarks.results import Results
from tests.benchmarks.verdicts import Comparison, Figure, Ratios, Turn, compare, verdict_of
from tests.benchmarks.wrk import Load

CPU = Figure("cpu", "item", "CPU", "µs", 1)
BROKEN = Contestant("broken", "one that ends at once", (("false",),), stores=False)


def compared(*pairs: tuple[float, float, float], figure: Figure = CPU) -> Comparison:
    """Compare pairs of old, new, and old again."""
    turns = []
    for number, (old, new, again) in enumerate(pairs, 1):
        turns += [Turn(number, "old", {"cpu": old}), Turn(number, "new", {"cpu": new})]
        turns.append(Turn(number, "again", {"cpu": again}))
    return compare(turns, figure)


def test_ratios_are_those_of_the_turns_of_one_pair() -> None:
    found = compared((10, 20, 10), (100, 100, 100), (1000, 1500, 1100))
    assert found.new_to_old == Ratios(1.0, 1.25, 1.5, 1.75, 2.0)
    assert (found.again_to_old.least, found.again_to_old.median, found.again_to_old.most) == (1.0, 1.0, 1.1)


def test_the_order_of_the_turns_does_not_matter() -> None:
    turns = [Turn(1, "old", {"cpu": 10}), Turn(1, "new", {"cpu": 12}), Turn(1, "again", {"cpu": 11})]
    assert compare(turns, CPU) == compare(turns[::-1], CPU)


def test_both_turns_of_the_old_side_count_for_its_median() -> None:
    found = compared((10, 20, 30), (20, 40, 20))
    assert (found.old.median, found.old.least, found.old.most) == (20, 10, 30)
    assert (found.new.median, found.new.least, found.new.most) == (30, 20, 40)


@pytest.mark.parametrize("new", [8.9, 11.1, 20])
def test_a_median_beyond_all_of_old_against_old_is_outside(new: float) -> None:
    found = compared((10, new, 9), (10, new, 11), (10, 10, 10))
    assert found.outside
    assert verdict_of(found) == "outside the spread of old against old"


@pytest.mark.parametrize("new", [9, 10, 11])
def test_a_median_that_old_against_old_shows_as_well_is_within(new: float) -> None:
    found = compared((10, new, 9), (10, new, 11), (10, 100, 10))
    assert found.outside is False
    assert verdict_of(found) == "within the spread of old against old"


def test_one_pair_is_enough_for_ratios() -> None:
    assert compared((10, 11, 10)).new_to_old == Ratios(1.1, 1.1, 1.1, 1.1, 1.1)


def test_times_by_the_clock_are_not_judged() -> None:
    found = compared((10, 20, 10), figure=Figure("cpu", "start", "time", "ms", 0, judged=False))
    assert found.outside is None
    assert verdict_of(found).startswith("not judged")


def test_each_part_has_a_figure() -> None:
    assert verdicts.PARTS == ("item", "flush", "memory", "start")


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


LOAD = Load(requests=100, seconds=1, refused=0, broken=0, p50_ms=1, p99_ms=2, p999_ms=3)


@pytest.fixture
def results() -> Results:
    machine = Machine("CPU", 2, 1, "6", "3.11", "ext4", {})
    return Results(machine, Cores(server=0, second_worker=1, database=1, load=1), rounds=1, seconds=1)


def test_without_the_limit_there_are_figures_but_no_ratios_to_it(results: Results, tmp_path: Path) -> None:
    results.turns = [throughput.Turn(JOURNAL.name, ITEM_KNOWN.name, 1, LOAD, 50, 0, limit=None)]
    results.summaries = throughput.summarize(results.turns, [JOURNAL])
    results.failures = [Failure("throughput", "limit", "it broke")]
    draw(results.summaries, "", tmp_path / "plot.svg")
    assert not (tmp_path / "plot.svg").exists()
    report = "\n".join(lines_of(results))
    assert "Tracker, journal" in report
    assert "FAILED: throughput, limit: it broke" in report
    assert {bar.measured for bar in bars_of(results)} == {None}


def test_there_is_no_ratio_to_one_that_failed(results: Results) -> None:
    of_tracker = warranties.Turn(warranties.NO_JOBS.name, "", 1, LOAD, 1, 1, 0, 1)
    results.warranties = warranties.Warranties([of_tracker], lists=[])
    assert {bar.measured for bar in bars_of(results)} == {None}
    assert latency.p99_of_limit([]) is None


def fail(error: BaseException) -> None:
    raise error


def test_a_part_that_fails_is_named_and_the_next_goes_on(results: Results) -> None:
    said: list[str] = []
    failures = Failures(said.append)
    results.failures = failures.found
    with failures.noting("jobs"):
        fail(BenchmarkError("the queue was not worked off"))
    with failures.noting("soak"):
        fail(ZeroDivisionError("division by zero"))
    assert [failure.reason for failure in results.failures] == [
        "the queue was not worked off",
        "ZeroDivisionError: division by zero",
    ]
    assert said[1].startswith("Traceback"), "of what is maybe a mistake in the benchmarks"


def test_what_must_be_installed_and_ctrl_c_end_it_all() -> None:
    failures = Failures(print)
    for error in (SetupError("no wrk"), KeyboardInterrupt()):
        with pytest.raises(type(error)), failures.noting("jobs"):
            fail(error)
    assert failures.found == []

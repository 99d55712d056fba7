"""What becomes of the benchmarks' report when a contestant, or a part, fails."""

from pathlib import Path

import pytest

from tests.benchmarks import latency, throughput, warranties
from tests.benchmarks.bars import bars_of
from tests.benchmarks.contestants import JOURNAL
from tests.benchmarks.errors import BenchmarkError, SetupError
from tests.benchmarks.failures import Failure, Failures
from tests.benchmarks.machine import Cores, Machine
from tests.benchmarks.plot import draw
from tests.benchmarks.report import lines_of
from tests.benchmarks.requests import ITEM_KNOWN
from tests.benchmarks.results import Results
from tests.benchmarks.stats import Spread
from tests.benchmarks.wrk import Load

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
    spread = Spread(1, 1, 1)
    alone = latency.Timing(
        JOURNAL.name,
        "",
        100,
        half_load=True,
        p50_ms=spread,
        p99_ms=spread,
        p999_ms=spread,
        max_ms=spread,
        late_p99_ms=spread,
        failed=0,
        runs=[],
    )
    assert latency.p99_of_limit([alone]) is None


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

"""Answer times at fixed rates, by the open-loop generator: 2,000 requests/s, and half of what Tracker can answer.

The limit gets the same rates: what it takes there is the time of the loopback and of uvicorn, beside which
Tracker's is to be seen.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tests.benchmarks import openloop
from tests.benchmarks.contestants import COMMIT, FSYNC, JOURNAL, LIMIT, LITESTAR, MEMORY, Contestant
from tests.benchmarks.failures import Failures
from tests.benchmarks.openloop import Answers
from tests.benchmarks.processes import Site, running
from tests.benchmarks.requests import ITEM_KNOWN, write_requests
from tests.benchmarks.stats import Spread, spread

PART: Final = "latency"

FIXED_PER_S = 2000
"""Requests a second that every contestant here can answer."""

AT_FIXED = (LIMIT, LITESTAR, MEMORY, JOURNAL, FSYNC, COMMIT)
AT_HALF = (LIMIT, JOURNAL)


class Timing(Struct, frozen=True):
    """All rounds of one contestant at one rate."""

    contestant: str
    title: str
    per_second: float
    half_load: bool
    p50_ms: Spread
    p99_ms: Spread
    p999_ms: Spread
    max_ms: Spread
    late_p99_ms: Spread
    failed: int
    runs: list[Answers]


def measure(
    site: Site, failures: Failures, *, half_per_s: float, rounds: int, seconds: float, say: Callable[[str], None]
) -> list[Timing]:
    """Let the contestants run in turns at both rates; return the timings of those that never failed."""
    plan = [(contestant, float(FIXED_PER_S), False) for contestant in AT_FIXED]
    plan += [(contestant, half_per_s, True) for contestant in AT_HALF]
    runs: dict[tuple[str, bool], list[Answers]] = {}
    for number in range(1, rounds + 1):
        for contestant, per_second, half_load in plan:
            if failures.has(PART, contestant.name):
                continue
            with failures.noting(PART, contestant.name):
                answers = _answers(contestant, site, per_second, seconds)
                runs.setdefault((contestant.name, half_load), []).append(answers)
                say(
                    f"  round {number}  {contestant.name:18} {per_second:7,.0f}/s  p50 {answers.p50_ms:.2f}"
                    f"  p99 {answers.p99_ms:.2f}  p99.9 {answers.p999_ms:.2f} ms"
                )
    return [
        _timing(contestant, half_load, runs[contestant.name, half_load])
        for contestant, _, half_load in plan
        if not failures.has(PART, contestant.name)
    ]


def _answers(contestant: Contestant, site: Site, per_second: float, seconds: float) -> Answers:
    requests = write_requests(ITEM_KNOWN, site.folder)
    with running(contestant, site) as server:
        return openloop.finish(openloop.begin(server.port, requests, per_second, seconds), seconds)


def _timing(contestant: Contestant, half_load: bool, answers: list[Answers]) -> Timing:  # noqa: FBT001  # of a tuple
    return Timing(
        contestant.name,
        contestant.title,
        answers[0].per_second,
        half_load,
        p50_ms=spread([run.p50_ms for run in answers]),
        p99_ms=spread([run.p99_ms for run in answers]),
        p999_ms=spread([run.p999_ms for run in answers]),
        max_ms=spread([run.max_ms for run in answers]),
        late_p99_ms=spread([run.late_p99_ms for run in answers]),
        failed=sum(run.unanswered + run.refused for run in answers),
        runs=answers,
    )


def p99_of_limit(timings: list[Timing]) -> Spread | None:
    """Return Tracker's p99 at half load over the limit's at the same rate, round by round, if neither failed."""
    runs = {timing.contestant: timing.runs for timing in timings if timing.half_load}
    if not {JOURNAL.name, LIMIT.name} <= runs.keys():
        return None
    pairs = zip(runs[JOURNAL.name], runs[LIMIT.name], strict=True)
    return spread([ours.p99_ms / limit.p99_ms for ours, limit in pairs])

"""How many requests a second each contestant answers, how fast, and for how much CPU time.

In turns, several rounds: before each contestant the limit runs again, and the contestant's ratio is to that
run, so that a machine that changes its speed during the benchmarks changes both; without a limit, because it failed,
there is no such ratio. In each round a contestant is a
fresh process on a fresh database. The CPU time is counted until the contestant has done all that it answered for:
what it defers is part of the price. It moves much less than the requests per second when something else runs
on the machine; "busy", how much of its core a contestant got, tells when that was so.
"""

from collections.abc import Callable, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from tests.benchmarks.contestants import LIMIT, Contestant
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.failures import Failures
from tests.benchmarks.processes import Server, Site, running
from tests.benchmarks.requests import ITEM_KNOWN, Shape, write_requests
from tests.benchmarks.stats import Spread, spread
from tests.benchmarks.wrk import Load, drive

PART: Final = "throughput"


class Limit(Struct, frozen=True):
    """What the limit did."""

    load: Load
    cpu_us: float


class Turn(Struct, frozen=True):
    """One run of one contestant with one shape of requests."""

    contestant: str
    shape: str
    round: int
    load: Load
    cpu_us: float
    """CPU time of all its processes per request."""
    settle_s: float
    """How long it was still busy after the last answer."""
    limit: Limit | None
    """The limit's run just before, if it did not fail."""

    @property
    def of_limit(self) -> float | None:
        """Requests per second as a part of the limit's."""
        return self.load.per_second / self.limit.load.per_second if self.limit else None

    @property
    def cpu_of_limit(self) -> float | None:
        """The limit's CPU time per request as a part of this one's."""
        return self.limit.cpu_us / self.cpu_us if self.limit else None

    @property
    def busy(self) -> float:
        """CPU time over time; what came after the last answer included."""
        return self.cpu_us * self.load.requests / 1e6 / (self.load.seconds + self.settle_s)


class Summary(Struct, frozen=True):
    """All rounds of one contestant with one shape."""

    contestant: str
    shape: str
    title: str
    per_second: Spread
    of_limit: Spread | None
    """None if the limit failed; then there is nothing to compare with."""
    p50_ms: Spread
    p99_ms: Spread
    p999_ms: Spread
    cpu_us: Spread
    cpu_of_limit: Spread | None
    busy: Spread
    settle_s: Spread
    failed: int


def measure(
    contestants: Sequence[Contestant],
    site: Site,
    failures: Failures,
    *,
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> list[Turn]:
    """Let all contestants run in turns; return the turns of those that never failed."""
    turns: list[Turn] = []
    for number, contestant in failures.turns(PART, contestants, rounds):
        limit = None
        if not failures.has(PART, LIMIT.name):
            with failures.noting(PART, LIMIT.name):
                limit = _turns(LIMIT, site, number, seconds, None)[0]
        if contestant == LIMIT:
            taken = [limit] if limit else []
        else:
            taken = []
            with failures.noting(PART, contestant.name):
                taken = _turns(contestant, site, number, seconds, limit.limit if limit else None)
        for turn in taken:
            say(
                f"  round {number}  {turn.contestant:18} {turn.shape:12} {turn.load.per_second:9,.0f}/s"
                + ("" if turn.of_limit is None else f"  {turn.of_limit:.2f} of the limit")
            )
        turns += taken
    return _of_the_sound(turns, failures)


def _of_the_sound(turns: Sequence[Turn], failures: Failures) -> list[Turn]:
    """Return the turns of those that did not fail; without the limit if that one did."""
    sound = [turn for turn in turns if not failures.has(PART, turn.contestant)]
    if failures.has(PART, LIMIT.name):
        return [msgspec.structs.replace(turn, limit=None) for turn in sound]
    return sound


def _turns(contestant: Contestant, site: Site, number: int, seconds: float, limit: Limit | None) -> list[Turn]:
    """Return a contestant's turns of a round: one for each shape, all with the same process."""
    with running(contestant, site) as server:
        return [_turn(contestant, shape, server, site, number, seconds, limit) for shape in contestant.shapes]


def _turn(
    contestant: Contestant, shape: Shape, server: Server, site: Site, number: int, seconds: float, limit: Limit | None
) -> Turn:
    requests = write_requests(shape, site.folder)
    warm_up = drive(server.url, requests, 1)  # imports, caches and connections: not what is measured
    if warm_up.refused:
        raise BenchmarkError(f"{contestant.name} answers {warm_up.refused} of {warm_up.requests} with an error")
    server.settle()
    before = server.cpu_s()
    load = drive(server.url, requests, seconds)
    settle_s = server.settle()
    cpu_us = (server.cpu_s() - before) * 1e6 / load.requests
    beside = Limit(load, cpu_us) if contestant == LIMIT else limit
    return Turn(contestant.name, shape.name, number, load, cpu_us, settle_s, beside)


def summarize(turns: Sequence[Turn], contestants: Sequence[Contestant]) -> list[Summary]:
    """Return a line for each contestant and shape, in the order in which they ran."""
    titles = {contestant.name: contestant.title for contestant in contestants}
    of_line: dict[tuple[str, str], list[Turn]] = {}
    for turn in turns:
        of_line.setdefault((turn.contestant, turn.shape), []).append(turn)
    return [
        Summary(
            contestant,
            shape,
            titles[contestant],
            per_second=spread([turn.load.per_second for turn in line]),
            of_limit=_spread_if_any([turn.of_limit for turn in line]),
            p50_ms=spread([turn.load.p50_ms for turn in line]),
            p99_ms=spread([turn.load.p99_ms for turn in line]),
            p999_ms=spread([turn.load.p999_ms for turn in line]),
            cpu_us=spread([turn.cpu_us for turn in line]),
            cpu_of_limit=_spread_if_any([turn.cpu_of_limit for turn in line]),
            busy=spread([turn.busy for turn in line]),
            settle_s=spread([turn.settle_s for turn in line]),
            failed=sum(turn.load.refused + turn.load.broken for turn in line),
        )
        for (contestant, shape), line in of_line.items()
    ]


def _spread_if_any(values: Sequence[float | None]) -> Spread | None:
    known = [value for value in values if value is not None]
    return spread(known) if known else None


def ratio(turns: Sequence[Turn], name: str, other: str, *, shape: str = ITEM_KNOWN.name) -> Spread | None:
    """Return the requests per second of one contestant over another's, round by round, if both ran."""
    found = {(turn.contestant, turn.round): turn.load.per_second for turn in turns if turn.shape == shape}
    rounds = sorted({number for _, number in found})
    ratios = [
        found[name, number] / found[other, number]
        for number in rounds
        if (name, number) in found and (other, number) in found
    ]
    return spread(ratios) if ratios else None

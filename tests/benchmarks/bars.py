"""The figures that Tracker sets itself, and whether this run met them, by the median of the rounds."""

from collections.abc import Callable
from typing import Final

from msgspec import Struct

from tests.benchmarks import latency, throughput, warranties
from tests.benchmarks.contestants import FASTAPI, FSYNC, GUARDED, JOURNAL, LITESTAR, NO_METRICS, OPEN
from tests.benchmarks.requests import ITEM_KNOWN, ITEM_NEW, ITEM_PAGE, ITEMS_KNOWN, Shape
from tests.benchmarks.results import Results
from tests.benchmarks.stats import Spread, spread


class Bar(Struct, frozen=True):
    """A figure and what it should be."""

    title: str
    wanted: float
    at_most: bool
    measured: Spread | None
    """None if this run did not measure it."""

    @property
    def met(self) -> bool | None:
        """Whether it is, if it was measured."""
        if self.measured is None:
            return None
        value = self.measured.median
        return value <= self.wanted if self.at_most else value >= self.wanted


def _of_limit(results: Results, shape: Shape) -> Spread | None:
    for line in results.summaries:
        if line.contestant == JOURNAL.name and line.shape == shape.name:
            return line.of_limit
    return None


def _warranties_ratio(results: Results, name: str, others: list[str]) -> Spread | None:
    return results.warranties.ratio(name, others) if results.warranties else None


def _list_growth(results: Results) -> Spread | None:
    growth_mib = results.warranties.list_growth_mib() if results.warranties else None
    return None if growth_mib is None else spread([growth_mib])


_BARS: Final[tuple[tuple[str, float, bool, Callable[[Results], Spread | None]], ...]] = (
    ("POST /item, known cart, against the limit", 0.45, False, lambda results: _of_limit(results, ITEM_KNOWN)),
    ("POST /item, new cart, against the limit", 0.40, False, lambda results: _of_limit(results, ITEM_NEW)),
    ("POST /items, known cart, against the limit", 0.40, False, lambda results: _of_limit(results, ITEMS_KNOWN)),
    (
        "against Litestar's idle DTO route",
        2.2,
        False,
        lambda results: throughput.ratio(results.turns, JOURNAL.name, LITESTAR.name),
    ),
    (
        "against FastAPI + SQLAlchemy",
        30,
        False,
        lambda results: throughput.ratio(results.turns, JOURNAL.name, FASTAPI.name),
    ),
    (
        "with metrics against without",
        0.95,
        False,
        lambda results: throughput.ratio(results.turns, JOURNAL.name, NO_METRICS.name),
    ),
    (
        "limits, origins and hosts against none",
        0.95,
        False,
        lambda results: throughput.ratio(results.turns, GUARDED.name, OPEN.name, shape=ITEM_PAGE.name),
    ),
    (
        "level fsync against the default level",
        0.7,
        False,
        lambda results: throughput.ratio(results.turns, FSYNC.name, JOURNAL.name),
    ),
    ("p99 at half load against the limit's", 2, True, lambda results: latency.p99_of_limit(results.timings)),
    (
        "answer until visible in PostgreSQL, p99, ms",
        50,
        True,
        lambda results: spread([results.visible.p99_ms]) if results.visible else None,
    ),
    (
        "warranties against a transaction each",
        5,
        False,
        lambda results: _warranties_ratio(results, warranties.NO_JOBS.name, [each.name for each in warranties.EACH]),
    ),
    (
        "the same, archived by the same process",
        5,
        False,
        lambda results: _warranties_ratio(results, warranties.TRACKER.name, [warranties.EACH_JOBS.name]),
    ),
    (
        "long list of warranties over the short, MiB",
        8,
        True,
        _list_growth,
    ),
    (
        "rows written per distinct item of a flush",
        1,
        True,
        lambda results: spread([results.coalescing.rows_per_distinct]) if results.coalescing else None,
    ),
)


def bars_of(results: Results) -> list[Bar]:
    """Return all bars with what `results` say to them."""
    return [Bar(title, wanted, at_most, measured(results)) for title, wanted, at_most, measured in _BARS]

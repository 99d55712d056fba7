"""What a comparison says: ratios pair by pair, and whether the new one's stands out from what chance makes of the old.

In each pair the old side runs twice. Its second run over its first is what the machine makes of no difference at all;
only a median of new over old beyond all of those ratios is taken for a difference.
"""

import statistics
from collections.abc import Sequence
from typing import Final, Literal

from msgspec import Struct

from tests.benchmarks.stats import Spread, spread

Label = Literal["old", "new", "again"]
"""The owner of a turn; "again" is the old side's second turn of a pair."""


class Turn(Struct, frozen=True):
    """What one run in a pair has measured."""

    pair: int
    label: Label
    figures: dict[str, float]
    """By name, see `FIGURES`."""
    slices: list[dict[str, float]] = []
    """Those that have one for each second of load."""


class Figure(Struct, frozen=True):
    """Something that is compared."""

    name: str
    part: str
    title: str
    unit: str
    digits: int
    judged: bool = True
    """Whether it is any good on a machine that others use too; times by the clock are not."""


FIGURES: Final = (
    Figure("item_cpu_us", "item", "CPU of Tracker for a request", "µs", 1),
    Figure("per_second", "item", "requests answered a second", "", 0, judged=False),
    Figure("flush_cpu_us", "flush", "CPU of PostgreSQL for an item", "µs", 1),
    Figure("rss_mib", "memory", "memory after the load", "MiB", 1),
    Figure("start_cpu_ms", "start", "CPU of a start", "ms", 0),
    Figure("start_ms", "start", "time of a start", "ms", 0, judged=False),
)
PARTS: Final = tuple(dict.fromkeys(figure.part for figure in FIGURES))


class Ratios(Struct, frozen=True):
    """The figures of one kind of turn over those of another, a pair each."""

    least: float
    lower: float
    """A quarter of the ratios is below it."""
    median: float
    upper: float
    """A quarter of the ratios is above it."""
    most: float

    def shown(self) -> str:
        """Return median, range and middle half."""
        return f"{self.median:.3f} ({self.least:.3f}-{self.most:.3f}, half of them {self.lower:.3f}-{self.upper:.3f})"


class Comparison(Struct, frozen=True):
    """One figure over all pairs."""

    name: str
    old: Spread
    new: Spread
    new_to_old: Ratios
    again_to_old: Ratios
    outside: bool | None
    """Whether the median of new over old is beyond all of old over old; None if that is not judged."""


def compare(turns: Sequence[Turn], figure: Figure) -> Comparison:
    """Compare the sides by a figure that all turns have."""
    values = {(turn.label, turn.pair): turn.figures[figure.name] for turn in turns}
    new_to_old, again_to_old = _ratios(values, "new"), _ratios(values, "again")
    within = again_to_old.least <= new_to_old.median <= again_to_old.most
    return Comparison(
        figure.name,
        old=spread([value for (label, _), value in values.items() if label != "new"]),
        new=spread([value for (label, _), value in values.items() if label == "new"]),
        new_to_old=new_to_old,
        again_to_old=again_to_old,
        outside=not within if figure.judged else None,
    )


def _ratios(values: dict[tuple[Label, int], float], label: Label) -> Ratios:
    ratios = [value / values["old", pair] for (found, pair), value in values.items() if found == label]
    if len(ratios) == 1:
        return Ratios(*ratios * 5)
    lower, median, upper = statistics.quantiles(ratios, n=4, method="inclusive")
    return Ratios(min(ratios), lower, median, upper, max(ratios))


def verdict_of(comparison: Comparison) -> str:
    """Return in words what `outside` says."""
    if comparison.outside is None:
        return "not judged: it depends on what else the machine does"
    return f"{'outside' if comparison.outside else 'within'} the spread of old against old"

"""Percentiles of many samples, and the spread of a few."""

import math
import statistics
from collections.abc import Sequence

from msgspec import Struct


class Spread(Struct, frozen=True):
    """Least, middle and greatest of the rounds; with so few, a standard deviation would say less."""

    least: float
    median: float
    most: float

    def shown(self, digits: int = 2) -> str:
        """Return `median (least-most)`."""
        return f"{self.median:,.{digits}f} ({self.least:,.{digits}f}-{self.most:,.{digits}f})"


def spread(values: Sequence[float]) -> Spread:
    """Return the spread of at least one value."""
    return Spread(min(values), statistics.median(values), max(values))


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the least value that `percent` of the sorted values do not exceed (nearest rank)."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]

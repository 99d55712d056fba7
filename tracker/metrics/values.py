"""Numbers of metrics, as they are added up.

Each is a list: a single number, or for a histogram its sum and then its buckets. So two of a kind are added in the same
way whatever they are.
"""

from collections.abc import Iterator

from tracker.metrics.families import FAMILIES, Family, Kind
from tracker.telemetry.histogram import Histogram

Series = dict[tuple[str, ...], list[float]]
"""The numbers of one metric, by the values of its labels."""


class Numbers:
    """The numbers of some metrics."""

    def __init__(self, found: dict[str, Series] | None = None) -> None:
        self.found: dict[str, Series] = {} if found is None else found
        """Numbers of each metric, by its name."""

    def put(self, name: str, value: float | Histogram, *labels: str) -> None:
        """Add a value to a metric; raise KeyError if no metric has this name."""
        numbers = [value.sum, *value.counts] if isinstance(value, Histogram) else [float(value)]
        self._combine(FAMILIES[name], labels, numbers)

    def add(self, others: "Numbers") -> None:
        """Add all numbers that `others` holds."""
        for family, labels, numbers in others.all():
            self._combine(family, labels, numbers)

    def lasting(self) -> "Numbers":
        """Return a copy of the numbers that stay true when their process has ended."""
        return Numbers(
            {name: dict(series) for name, series in self.found.items() if name in FAMILIES and FAMILIES[name].lasts}
        )

    def all(self) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
        """Iterate over the numbers whose names, labels and lengths fit this version of Tracker."""
        for name, series in self.found.items():
            family = FAMILIES.get(name)
            if family is None:
                continue
            length = len(family.bounds) + 2 if family.kind is Kind.HISTOGRAM else 1
            for labels, numbers in series.items():
                if len(labels) == len(family.labels) and len(numbers) == length:
                    yield family, labels, numbers

    def _combine(self, family: Family, labels: tuple[str, ...], numbers: list[float]) -> None:
        series = self.found.setdefault(family.name, {})
        known = series.get(labels)
        if known is None:
            series[labels] = list(numbers)
        elif family.kind is Kind.WORST:
            series[labels] = [max(known[0], numbers[0])]
        else:
            series[labels] = [a + b for a, b in zip(known, numbers, strict=True)]

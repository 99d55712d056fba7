"""Numbers of metrics, as they are added up.

Each is a list: a single number, or of a histogram its sum and then its buckets. So adding two of a kind is one and
the same thing for all.
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
        """By name."""

    def put(self, name: str, value: float | Histogram, *labels: str) -> None:
        """Add what is known of a metric; raise KeyError if there is no such."""
        numbers = [value.sum, *value.counts] if isinstance(value, Histogram) else [float(value)]
        self._combine(FAMILIES[name], labels, numbers)

    def add(self, others: "Numbers") -> None:
        """Add what another one holds."""
        for family, labels, numbers in others.all():
            self._combine(family, labels, numbers)

    def lasting(self) -> "Numbers":
        """Return a copy of what stays true when its process has ended."""
        return Numbers(
            {name: dict(series) for name, series in self.found.items() if name in FAMILIES and FAMILIES[name].lasts}
        )

    def all(self) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
        """Iterate over what fits this version of Tracker."""
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

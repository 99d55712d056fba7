"""The values of metric families, as they are added up.

Each is a list: a single number, or for a histogram its sum and then its buckets. So two of a kind are added in the same
way whatever they are.
"""

from collections.abc import Iterable, Iterator

from tracker.telemetry.families import Families, Family, MetricKind, Sample
from tracker.telemetry.histogram import Histogram

ByLabels = dict[tuple[str, ...], list[float]]
"""The values of one family, by the values of its labels."""


class Values:
    """The values of `families`; no other family has any."""

    def __init__(self, families: Families, found: dict[str, ByLabels] | None = None) -> None:
        self.families = families
        self.found: dict[str, ByLabels] = {} if found is None else found
        """Values of each family, by its name."""

    def put(self, samples: Iterable[Sample]) -> None:
        """Add samples to the values; raise KeyError if there is no family of this name."""
        for sample in samples:
            value = sample.value
            numbers = [value.sum, *value.counts] if isinstance(value, Histogram) else [float(value)]
            self._combine(self.families[sample.family.name], sample.labels, numbers)

    def add(self, others: "Values") -> None:
        """Add all values that `others` holds."""
        for family, labels, numbers in others.all():
            self._combine(family, labels, numbers)

    def lasting(self) -> "Values":
        """Return a copy of the values that stay true when their process has ended."""
        known = self.families
        return Values(
            known, {name: dict(found) for name, found in self.found.items() if name in known and known[name].lasts}
        )

    def all(self) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
        """Iterate over the values whose names, labels and lengths fit this version of Tracker."""
        for name, found in self.found.items():
            family = self.families.get(name)
            if family is None:
                continue
            length = len(family.bounds) + 2 if family.kind is MetricKind.HISTOGRAM else 1
            for labels, numbers in found.items():
                if len(labels) == len(family.labels) and len(numbers) == length:
                    yield family, labels, numbers

    def _combine(self, family: Family, labels: tuple[str, ...], numbers: list[float]) -> None:
        found = self.found.setdefault(family.name, {})
        known = found.get(labels)
        if known is None:
            found[labels] = list(numbers)
        elif family.kind is MetricKind.WORST:
            found[labels] = [max(known[0], numbers[0])]
        else:
            found[labels] = [a + b for a, b in zip(known, numbers, strict=True)]

"""Values as Prometheus reads them: the only module that knows prometheus_client.

A process that is never scraped does not load that library.
"""

from typing import TYPE_CHECKING, NamedTuple

from tracker.metrics.values import ByLabels, Values
from tracker.telemetry.families import Family, MetricKind

if TYPE_CHECKING:
    from prometheus_client import Metric


class Exposition(NamedTuple):
    """Answer to a scrape: its content type and its bytes."""

    content_type: str
    content: bytes


class Collected:
    """Values as a collector of prometheus_client."""

    def __init__(self, values: Values) -> None:
        self._values = values

    def collect(self) -> "list[Metric]":
        """Return all families, also those that have no values yet."""
        found: dict[str, ByLabels] = {}
        for family, labels, numbers in self._values.all():
            found.setdefault(family.name, {})[labels] = numbers
        return [_metric(family, found.get(name, {})) for name, family in self._values.families.items()]


def expose(values: Values, accept: str) -> Exposition:
    """Return `values` in the format that an Accept header asks for."""
    from prometheus_client.exposition import choose_encoder  # noqa: PLC0415  # it takes 20 ms and a megabyte

    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # a version that is none
        encode, content_type = choose_encoder("")
    return Exposition(content_type, encode(Collected(values)))


def _metric(family: Family, found: ByLabels) -> "Metric":
    from prometheus_client.core import (  # noqa: PLC0415  # as above
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
    )

    if family.kind is MetricKind.HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, (total, *counts) in found.items():
            histogram.add_metric(labels, _buckets(family.bounds, counts), total)
        return histogram
    kind = CounterMetricFamily if family.kind is MetricKind.COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, (value,) in found.items():
        metric.add_metric(labels, value)
    return metric


def _buckets(bounds: tuple[float, ...], counts: list[float]) -> list[tuple[str, float]]:
    """Return the buckets as Prometheus has them: each with all that the ones before it hold."""
    buckets = []
    total = 0.0
    for bound, count in zip((*map(float, bounds), float("inf")), counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else repr(bound), total))
    return buckets

"""Metrics of the notes."""

from collections.abc import Iterator
from typing import Final

from tracker.telemetry.families import Family, MetricKind, Sample

FILED: Final = Family("tracker_notes_filed_total", MetricKind.COUNTER, "Notes that were filed")

FAMILIES: Final = (FILED,)


def filed_samples(filed: int) -> Iterator[Sample]:
    """Return an iterator over the number of notes that this process has filed."""
    yield Sample(FILED, filed)

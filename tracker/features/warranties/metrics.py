"""Metrics of the warranties: those that were created, and those that were put into the archive."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tracker.telemetry.families import Family, MetricKind, Sample

CREATED: Final = Family("tracker_warranties_created_total", MetricKind.COUNTER, "Warranties that were created")
ARCHIVE_OBJECTS: Final = Family(
    "tracker_archive_objects_total",
    MetricKind.COUNTER,
    "Warranties that were put into the archive: archived, failed (tried again)",
    ("result",),
)
ARCHIVE_DOWN: Final = Family(
    "tracker_archive_down", MetricKind.SUM, "Processes that try the archive with one call at a time"
)

FAMILIES: Final = (CREATED, ARCHIVE_OBJECTS, ARCHIVE_DOWN)


@dataclass(slots=True)
class ArchiveCounts:
    """Numbers of warranties and tries that the jobs of a process had to do with."""

    archived: int = 0
    """Number of warranties that have an object now."""

    failed: int = 0
    """Number of failed tries, each of a warranty that has no object yet."""


def created_samples(created: int) -> Iterator[Sample]:
    """Return an iterator over the number of warranties that this process has created."""
    yield Sample(CREATED, created)


def archive_samples(counts: ArchiveCounts, *, archive_is_down: bool) -> Iterator[Sample]:
    """Return an iterator over what the jobs have archived, and whether the archive looks like it is down."""
    yield Sample(ARCHIVE_OBJECTS, counts.archived, ("archived",))
    yield Sample(ARCHIVE_OBJECTS, counts.failed, ("failed",))
    yield Sample(ARCHIVE_DOWN, archive_is_down)

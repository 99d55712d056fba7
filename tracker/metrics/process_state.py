"""Metrics of the processes themselves: how many serve, whether PostgreSQL answers, which version runs."""

from collections.abc import Iterator
from typing import Final

from tracker.telemetry.families import Family, MetricKind, Sample

WORKERS: Final = Family("tracker_workers", MetricKind.SUM, "Processes that serve")
WORKERS_READY: Final = Family("tracker_workers_ready", MetricKind.SUM, "Those that accept items now")
POSTGRES_UP: Final = Family("tracker_postgres_up", MetricKind.SUM, "Whether PostgreSQL has answered this scrape")
BUILD_INFO: Final = Family("tracker_build_info", MetricKind.WORST, "Always 1", ("version",))

FAMILIES: Final = (WORKERS, WORKERS_READY, POSTGRES_UP, BUILD_INFO)


def serving_samples(*, ready: bool) -> Iterator[Sample]:
    """Return an iterator over what a process that serves says of itself; `ready` if it accepts items now."""
    yield Sample(WORKERS, 1)
    yield Sample(WORKERS_READY, ready)

"""All metrics of Tracker: each area's families, and where their samples are read.

The samples of a process are read on the event loop, so that all are of one moment.
"""

from collections.abc import Iterator
from typing import Final

from tracker.features.checkout import metrics as checkout
from tracker.features.reservations import metrics as reservations
from tracker.features.warranties import metrics as warranties
from tracker.ingest import metrics as ingest
from tracker.jobs import metrics as jobs
from tracker.metrics import process_state
from tracker.metrics.database_values import DatabaseSource
from tracker.runtime.context import Context
from tracker.runtime.job_runners import Jobs
from tracker.telemetry import request_metrics
from tracker.telemetry.families import Sample

ALL: Final = (
    *request_metrics.FAMILIES,
    *ingest.FAMILIES,
    *jobs.FAMILIES,
    *reservations.FAMILIES,
    *warranties.FAMILIES,
    *checkout.FAMILIES,
    *process_state.FAMILIES,
)
"""Every metric family."""

FAMILIES: Final = {family.name: family for family in ALL}
"""Every metric family, by its name."""


def process_samples(context: Context) -> Iterator[Sample]:
    """Return an iterator over the samples of a process that serves, its requests and jobs left out."""
    yield from process_state.serving_samples(ready=context.carts.ready)
    yield from ingest.pipeline_samples(
        context.storing, context.clock, accepted=context.carts.accepted, lost=context.lost_items
    )
    yield from warranties.created_samples(context.warranties.created)
    if context.checkout is not None:
        yield from checkout.order_samples(context.checkout.counts)


def job_samples(counted: Jobs) -> Iterator[Sample]:
    """Return an iterator over the samples of the jobs that a process runs."""
    yield from jobs.ended_samples(counted.ended)
    yield from reservations.attempt_samples(counted.reservations, service_is_down=counted.reserves_slowly())
    yield from warranties.archive_samples(counted.archive, archive_is_down=counted.archives_slowly())
    yield from checkout.order_samples(counted.orders)


def database_sources() -> list[DatabaseSource]:
    """Return functions that read what only PostgreSQL knows, for one scraped process."""
    return [jobs.QueueState().samples, reservations.stored_samples]

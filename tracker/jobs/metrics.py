"""Metrics of the jobs: those in the queue, which PostgreSQL knows, and the calls that have ended in this process."""

from collections.abc import Iterator, Mapping
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.jobs.overview import COUNTED_AT_MOST, HandlerQueue, overview
from tracker.telemetry.families import Family, MetricKind, Sample

JOBS: Final = Family(
    "tracker_jobs",
    MetricKind.SUM,
    f"Jobs in the queue: due, later (not due yet), running; {COUNTED_AT_MOST} means as many or more",
    ("handler", "state"),
)
OLDEST_DUE: Final = Family(
    "tracker_jobs_oldest_due_seconds", MetricKind.WORST, "For how long the oldest due job waits", ("handler",)
)
OLDEST: Final = Family(
    "tracker_jobs_oldest_seconds", MetricKind.WORST, "Since when the oldest job is in the queue", ("handler",)
)
ENDED: Final = Family(
    "tracker_jobs_ended_total",
    MetricKind.COUNTER,
    "Calls of a job: done, again (it asked for another one), unexpected (an error that nobody has thought of)",
    ("handler", "result"),
)

FAMILIES: Final = (JOBS, OLDEST_DUE, OLDEST, ENDED)


class QueueState:
    """Reads the state of the queue; a handler that has had a job is shown from then on, with zeros if need be."""

    def __init__(self) -> None:
        self._handlers: set[str] = set()

    async def samples(self, connection: AsyncConnection) -> list[Sample]:
        """Return the jobs in the queue and their ages, by handler."""
        found = await overview(connection)
        self._handlers.update(waiting.handler for waiting in found)
        # A handler whose last job is done has none, which is not the same as no number.
        found += [
            HandlerQueue(name, 0, 0, 0, 0.0, 0.0) for name in self._handlers - {waiting.handler for waiting in found}
        ]
        return [sample for waiting in found for sample in _samples_of(waiting)]


def ended_samples(ended: Mapping[tuple[str, str], int]) -> Iterator[Sample]:
    """Return an iterator over the numbers of ended calls, by handler and result."""
    for labels, count in ended.items():
        yield Sample(ENDED, count, labels)


def _samples_of(waiting: HandlerQueue) -> Iterator[Sample]:
    name = waiting.handler
    yield Sample(JOBS, waiting.due, (name, "due"))
    yield Sample(JOBS, waiting.later, (name, "later"))
    yield Sample(JOBS, waiting.running, (name, "running"))
    yield Sample(OLDEST_DUE, waiting.oldest_due_s, (name,))
    yield Sample(OLDEST, waiting.oldest_s, (name,))

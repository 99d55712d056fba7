"""Metrics that only PostgreSQL knows: the queue of the jobs, and the reservations that have failed.

PostgreSQL is asked when somebody scrapes, but not again for `FRESH_S`, so that it costs the same however many scrape. A
scrape waits up to `WAIT_S`; a PostgreSQL that does not answer by then counts as away, and its answer is used when it
comes.
"""

import asyncio
import logging
from typing import Final

from tracker.errors import TrackerError
from tracker.features.reservations.store import count_failed
from tracker.jobs.overview import COUNTED_AT_MOST, Waiting, overview
from tracker.metrics.values import Numbers
from tracker.postgres.request_database import RequestDatabase

CLOSE_TIMEOUT_S: Final = 0.1
"""Seconds to wait for a canceled query to end; one to a PostgreSQL that hangs does not end, and is left behind."""

WAIT_S: Final = 1.0
"""Seconds that a scrape waits for PostgreSQL; Prometheus itself gives up after 10 s."""

FRESH_S: Final = 5.0
"""Seconds that an answer of PostgreSQL is reused before it is asked again."""

logger = logging.getLogger(__name__)


class StoredNumbers:
    """Reads the metrics of the job queue and of failed reservations from PostgreSQL; reuses an answer for `FRESH_S`."""

    def __init__(self, database: RequestDatabase) -> None:
        self._database = database
        self._task: asyncio.Task[Numbers] | None = None
        self._asked_at_s = 0.0
        self._handlers: set[str] = set()

    async def read(self) -> Numbers:
        """Return what PostgreSQL says within `WAIT_S`, or only that it is away."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or (task.done() and loop.time() > self._asked_at_s + FRESH_S):
            self._asked_at_s = loop.time()
            task = self._task = asyncio.create_task(self._ask(), name="metrics of the database")
        # Not cancelled when it takes too long: to end a statement in order takes seconds as well.
        await asyncio.wait([task], timeout=WAIT_S)
        return task.result() if task.done() else _away()

    async def close(self) -> None:
        """Stop asking PostgreSQL, and cancel a query that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task], timeout=CLOSE_TIMEOUT_S)

    async def _ask(self) -> Numbers:
        numbers = Numbers()
        try:
            async with self._database.transaction() as connection:
                found = await overview(connection)
                numbers.put("tracker_reservations_failed", await count_failed(connection, COUNTED_AT_MOST))
        except TrackerError:
            return _away()
        except Exception:
            logger.exception("the metrics of the database cannot be read")
            return _away()
        numbers.put("tracker_postgres_up", 1)
        self._handlers.update(waiting.handler for waiting in found)
        # A handler whose last job is done has none, which is not the same as no number.
        found += [Waiting(name, 0, 0, 0, 0.0, 0.0) for name in self._handlers - {waiting.handler for waiting in found}]
        for waiting in found:
            name = waiting.handler
            numbers.put("tracker_jobs", waiting.due, name, "due")
            numbers.put("tracker_jobs", waiting.later, name, "later")
            numbers.put("tracker_jobs", waiting.running, name, "running")
            numbers.put("tracker_jobs_oldest_due_seconds", waiting.oldest_due_s, name)
            numbers.put("tracker_jobs_oldest_seconds", waiting.oldest_s, name)
        return numbers


def _away() -> Numbers:
    numbers = Numbers()
    numbers.put("tracker_postgres_up", 0)
    return numbers

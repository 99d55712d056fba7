"""Values that only PostgreSQL knows, such as the length of the queue.

PostgreSQL is asked when somebody scrapes, but not again for `FRESH_S`, so that it costs the same however many scrape. A
scrape waits up to `WAIT_S`; a PostgreSQL that does not answer by then counts as away, and its answer is used when it
comes.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

from tracker.errors import TrackerError
from tracker.kit.background_task import cancel
from tracker.metrics.process_state import POSTGRES_UP
from tracker.metrics.values import Values
from tracker.postgres.request_database import RequestDatabase
from tracker.telemetry.families import DatabaseSource, Families, Sample

CLOSE_TIMEOUT_S: Final = 0.1
"""Seconds to wait for a canceled query to end; one to a PostgreSQL that hangs does not end, and is left behind."""

WAIT_S: Final = 1.0
"""Seconds that a scrape waits for PostgreSQL; Prometheus itself gives up after 10 s."""

FRESH_S: Final = 5.0
"""Seconds that an answer of PostgreSQL is reused before it is asked again."""

logger = logging.getLogger(__name__)


class DatabaseValues:
    """Reads the samples of `sources` from PostgreSQL, all in one transaction; reuses an answer for `FRESH_S`."""

    def __init__(self, database: RequestDatabase, families: Families, sources: Sequence[DatabaseSource]) -> None:
        self._database = database
        self._families = families
        self._sources = sources
        self._task: asyncio.Task[Values] | None = None
        self._asked_at_s = 0.0

    async def read(self) -> Values:
        """Return what PostgreSQL says within `WAIT_S`, or only that it is away."""
        loop = asyncio.get_running_loop()
        task = self._task
        if task is None or (task.done() and loop.time() > self._asked_at_s + FRESH_S):
            self._asked_at_s = loop.time()
            task = self._task = asyncio.create_task(self._ask(), name="metrics of the database")
        # Not cancelled when it takes too long: to end a statement in order takes seconds as well.
        await asyncio.wait([task], timeout=WAIT_S)
        return task.result() if task.done() else self._away()

    async def close(self) -> None:
        """Stop asking PostgreSQL, and cancel a query that is under way."""
        await cancel(self._task, CLOSE_TIMEOUT_S)

    async def _ask(self) -> Values:
        values = Values(self._families)
        try:
            async with self._database.transaction() as connection:
                for source in self._sources:
                    values.put(await source(connection))
        except TrackerError:
            return self._away()
        except Exception:
            logger.exception("the metrics of the database cannot be read")
            return self._away()
        values.put([Sample(POSTGRES_UP, 1)])
        return values

    def _away(self) -> Values:
        values = Values(self._families)
        values.put([Sample(POSTGRES_UP, 0)])
        return values

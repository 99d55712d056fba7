"""Takes jobs out of pgqueuer's queue and puts them back.

Every error of PostgreSQL is waited out in the driver, statement by statement: pgqueuer itself gives up at
the first one, and would then wait for the slowest call in hand before it could be started again. A
statement that is sent twice does no harm here. A process says every few seconds which jobs it holds; when it
is killed, or has not reached PostgreSQL for so long, its jobs go to another one after `HELD_FOR_S`.

No job ends but by its handler: a cancelled one goes back into the queue (pgqueuer would delete it), and what
pgqueuer puts aside as failed is put back.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job

from tracker.jobs.handler import TryAgainError
from tracker.jobs.queries import NAMES, queries_on
from tracker.kit.background_task import cancel
from tracker.kit.backoff import about_s, full_jitter_s
from tracker.postgres.connection import Connector
from tracker.postgres.engine import dsn_of
from tracker.postgres.error_classes import loggable

HELD_FOR_S: Final = 15.0
"""Seconds without a sign of life from the process that holds a job, after which another process gets the job."""

POLL_S: Final = 2.0
"""Longest time in seconds until a job is found whose notification got lost.

All notifications get lost once PostgreSQL was away.
"""

BACKOFF_BASE_S: Final = 0.05
BACKOFF_CAP_S: Final = 5.0
"""Longest wait between two tries to reach PostgreSQL, in seconds."""

CONNECTIONS: Final = 3
"""Number of connections of a runner.

One listens, one says who is at work, one takes jobs and notes their results.
"""

UPKEEP_EVERY_S: Final = 60.0
SAY_AGAIN_AFTER: Final = 20
"""Number of failed tries, about a minute, between two warnings in the log."""

KEEP_LOG: Final = timedelta(hours=1)
"""Age at which rows of pgqueuer's job log are deleted; pgqueuer writes three rows for each job."""

PRUNED_AT_ONCE: Final = 10_000
"""Most rows that one DELETE removes, so that none takes long; rows that another runner deletes are skipped."""

_PRUNE: Final = tuple(
    f"DELETE FROM {table} WHERE id IN"  # noqa: S608  # fixed names
    f" (SELECT id FROM {table} WHERE created < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED)"
    for table in (NAMES.queue_table_log, NAMES.statistics_table)
)

UPKEEP_STOP_TIMEOUT_S: Final = 0.5
"""Seconds that the upkeep task gets to end when the consumer ends."""

Call = Callable[[Job], Awaitable[None]]
"""Function that does a job, or raises TryAgainError so that the job goes back into the queue."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Consumer:
    """Takes the jobs of one handler from the database at `url`."""

    def __init__(self, url: str, name: str, do: Call, *, concurrency: int, gives_up: asyncio.Event) -> None:
        """Hand the jobs called `name` to `do`; at most `concurrency` (2 or more) are in hand.

        Once `gives_up` is set, a PostgreSQL that is away is not waited for any more.
        """
        self._concurrency = concurrency
        self._gives_up = gives_up
        self._is_running = False
        # The pool connects when it is first used, and the driver waits until that succeeds.
        self._pool = asyncpg.create_pool(
            connect=Connector(dsn_of(url), application_name="tracker jobs"), min_size=0, max_size=CONNECTIONS
        )
        self._manager = QueueManager(queries_on(_PatientDriver(self._pool, gives_up)), channel=NAMES.channel)

        async def put_back_or_done(job: Job) -> None:
            try:
                await do(job)
            except TryAgainError as error:
                raise RetryRequested(timedelta(seconds=error.delay_s), str(error)) from error.__cause__

        self._manager.entrypoint(name, on_failure="hold", accepts_context=False)(put_back_or_done)

    async def run(self) -> None:
        """Take jobs until `stop` is called; jobs in hand end first."""
        async with self._pool:
            self._is_running = True
            upkeep = asyncio.create_task(_keep_up(self._manager, self._gives_up), name="upkeep of the jobs")
            try:
                await self._manager.run(
                    dequeue_timeout=timedelta(seconds=POLL_S),
                    batch_size=max(1, min(50, self._concurrency // 2)),
                    max_concurrent_tasks=self._concurrency,
                    heartbeat_timeout=timedelta(seconds=HELD_FOR_S),
                )
            finally:
                await cancel(upkeep, UPKEEP_STOP_TIMEOUT_S)
                self._pool.terminate()

    def stop(self) -> None:
        """Take no more jobs."""
        self._manager.shutdown.set()

    def terminate(self) -> None:
        """Cut off the connections, if there are any, without waiting for a PostgreSQL that hangs."""
        if self._is_running:
            self._pool.terminate()


async def _keep_up(manager: QueueManager, gives_up: asyncio.Event) -> None:
    """Put failed jobs back into the queue and delete old rows of the log, until `gives_up` is set."""
    while True:
        try:
            if ids := [job.id for job in await manager.queries.list_failed_jobs(limit=1000)]:
                await manager.queries.requeue_jobs(ids)
            for statement in _PRUNE:
                while await manager.queries.driver.execute(statement, KEEP_LOG, PRUNED_AT_ONCE) != "DELETE 0":
                    pass
        except Exception:
            if gives_up.is_set():
                return
            logger.exception("the upkeep of the jobs failed; it is tried again")
        await asyncio.sleep(about_s(UPKEEP_EVERY_S))


class _PatientDriver(AsyncpgPoolDriver):
    """Tries a statement again for as long as PostgreSQL is away, unless the process ends."""

    def __init__(self, pool: "asyncpg.Pool[asyncpg.Record]", gives_up: asyncio.Event) -> None:
        super().__init__(pool)
        self._gives_up = gives_up

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Run a statement and return its rows."""
        return await self._patiently(lambda: super(_PatientDriver, self).fetch(query, *args))

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        return await self._patiently(lambda: super(_PatientDriver, self).execute(query, *args))

    async def _patiently(self, run: Callable[[], Awaitable[T]]) -> T:
        tries = 0
        while True:
            try:
                done = await run()
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                if self._gives_up.is_set():
                    raise
                if tries % SAY_AGAIN_AFTER == 0:
                    logger.warning("the jobs wait for PostgreSQL", extra={"tries": tries + 1, "error": loggable(error)})
                tries += 1
                await asyncio.sleep(full_jitter_s(tries, BACKOFF_BASE_S, BACKOFF_CAP_S))
            else:
                if tries:
                    logger.warning("the jobs have reached PostgreSQL again", extra={"tries": tries})
                return done

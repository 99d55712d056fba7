"""Runs the jobs: takes them from the queue, calls their handlers, puts them back when asked to.

Every error of PostgreSQL is waited out in the driver, statement by statement: pgqueuer itself gives up at
the first one, and would then wait for the slowest call in hand before it could be started again. A
statement that is sent twice does no harm here. Who holds a job says so every few seconds; when a process
is killed, or has not reached PostgreSQL for so long, its jobs go to another one after `HELD_FOR_S`.

No job ends but by its handler: a cancelled one goes back into the queue (pgqueuer would delete it), and what
pgqueuer puts aside as failed is put back. Handlers must bear to be called twice for one job.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import asyncpg
from pgqueuer.adapters.drivers.asyncpg import AsyncpgPoolDriver
from pgqueuer.core.qm import QueueManager
from pgqueuer.domain.errors import RetryRequested
from pgqueuer.domain.models import Job

from tracker import tracing
from tracker.db.connection import Connector
from tracker.db.engine import dsn_of
from tracker.db.failures import shown
from tracker.errors import TrackerError
from tracker.jobs.queue import NAMES, queries_on

HELD_FOR_S: Final = 15.0
"""Without a word from its holder, after which a job is given to another."""

POLL_S: Final = 2.0
"""Longest time until a job is seen whose notification got lost; all are, once PostgreSQL was away."""

STOP_TIMEOUT_S: Final = 1.0
"""For the calls in hand when the process stops, before they go back into the queue."""

GOODBYE_TIMEOUT_S: Final = 0.5
"""For the handlers to note that; as long again for putting them back, and for the connections to end."""

BACKOFF_CAP_S: Final = 5.0
"""Longest wait between two tries to reach PostgreSQL."""

CONNECTIONS: Final = 3
"""Of a runner: one listens, one says who is at work, one takes jobs and notes what became of them."""

UPKEEP_EVERY_S: Final = 60.0
SAY_AGAIN_AFTER: Final = 20
"""Failed tries, about a minute."""

KEEP_LOG: Final = timedelta(hours=1)
"""How long pgqueuer's log of what happened to each job is kept; it writes three rows for each."""

PRUNED_AT_ONCE: Final = 10_000
"""Rows of one DELETE, so that none takes long; those that another runner deletes are passed over."""

_PRUNE: Final = tuple(
    f"DELETE FROM {table} WHERE id IN"  # noqa: S608  # fixed names
    f" (SELECT id FROM {table} WHERE created < now() - $1::interval LIMIT $2 FOR UPDATE SKIP LOCKED)"
    for table in (NAMES.queue_table_log, NAMES.statistics_table)
)

Handler = Callable[[bytes], Awaitable[None]]
"""Does a job, by its payload."""

DONE: Final = "done"
AGAIN: Final = "again"
UNEXPECTED: Final = "unexpected"
RESULTS: Final = (DONE, AGAIN, UNEXPECTED)
"""How a call of a handler ends: it is done, asks to be called again, or fails as nobody has thought of."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class TryAgainError(TrackerError):
    """Raised by a handler: the job goes back into the queue for `delay_s` seconds."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


class JobRunner:
    """Runs the jobs of one handler in this process.

    Each handler has a runner of its own: jobs that wait for one service that is down must not keep those of another
    from being taken.
    """

    def __init__(self, url: str, name: str, handler: Handler, *, concurrency: int) -> None:
        """Take the jobs called `name` from the database at `url`; at most `concurrency` (2 or more) are in hand."""
        self._url = url
        self._name = name
        self._handler = handler
        self._concurrency = concurrency
        self.ended: dict[tuple[str, str], int] = {(name, result): 0 for result in RESULTS}
        """How many calls ended how, by handler and result."""
        self._cut_off = asyncio.Event()
        self._stopping = asyncio.Event()
        self._manager: QueueManager | None = None
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name=f"jobs: {self._name}")
        logger.info("the jobs run", extra={"job": self._name, "concurrency": self._concurrency})

    async def close(self) -> None:
        """Take no more jobs; let those in hand end, or put them back."""
        self._stopping.set()
        if self._manager is not None:
            self._manager.shutdown.set()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT_S)
        self._cut_off.set()
        await asyncio.wait([self._task], timeout=2 * GOODBYE_TIMEOUT_S)
        if self._pool is not None:
            self._pool.terminate()  # a PostgreSQL that hangs is not waited for
        self._task.cancel()
        await asyncio.wait([self._task], timeout=GOODBYE_TIMEOUT_S)
        logger.info("the jobs have stopped", extra={"job": self._name})

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._take_jobs()
            except Exception:
                if self._stopping.is_set():
                    return
                logger.exception("the jobs have stopped and are started again", extra={"job": self._name})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), BACKOFF_CAP_S)

    async def _take_jobs(self) -> None:
        # The pool connects when it is first used, and the driver waits until that succeeds.
        pool = self._pool = asyncpg.create_pool(
            connect=Connector(dsn_of(self._url), application_name="tracker jobs"), min_size=0, max_size=CONNECTIONS
        )
        async with pool:
            manager = self._manager = QueueManager(
                queries_on(_PatientDriver(pool, self._cut_off)), channel=NAMES.channel
            )
            manager.entrypoint(self._name, on_failure="hold", accepts_context=False)(self._do)
            if self._stopping.is_set():
                manager.shutdown.set()
            upkeep = asyncio.create_task(_keep_up(manager), name="upkeep of the jobs")
            try:
                await manager.run(
                    dequeue_timeout=timedelta(seconds=POLL_S),
                    batch_size=max(1, min(50, self._concurrency // 2)),
                    max_concurrent_tasks=self._concurrency,
                    heartbeat_timeout=timedelta(seconds=HELD_FOR_S),
                )
            finally:
                upkeep.cancel()
                await asyncio.wait([upkeep], timeout=GOODBYE_TIMEOUT_S)
                pool.terminate()

    async def _do(self, job: Job) -> None:
        try:
            with tracing.job(self._name, job.headers):
                await self._call(job.payload or b"")
        except TryAgainError as error:
            self.ended[self._name, AGAIN] += 1
            raise RetryRequested(timedelta(seconds=error.delay_s), str(error)) from None
        except asyncio.CancelledError:
            raise RetryRequested(timedelta(0), "the process stops") from None
        except Exception as error:
            # What nobody has thought of is no reason to lose the job, nor to spin.
            self.ended[self._name, UNEXPECTED] += 1
            logger.exception(
                "a job failed in a way that nobody has thought of; it is tried again", extra={"job": self._name}
            )
            raise RetryRequested(timedelta(seconds=random.uniform(30, 90)), repr(error)) from error  # noqa: S311  # not a secret
        else:
            self.ended[self._name, DONE] += 1

    async def _call(self, payload: bytes) -> None:
        """Call the handler; cancel it when it is cut off, and raise CancelledError then."""
        call = asyncio.ensure_future(self._handler(payload))
        cut_off = asyncio.create_task(self._cut_off.wait())
        try:
            await asyncio.wait({call, cut_off}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut_off.cancel()
            if not call.done():
                call.cancel()
                await asyncio.wait([call], timeout=GOODBYE_TIMEOUT_S)
        if not call.done():
            raise asyncio.CancelledError
        call.result()


async def _keep_up(manager: QueueManager) -> None:
    """Put back what was put aside, and prune the log, from time to time."""
    while True:
        try:
            if ids := [job.id for job in await manager.queries.list_failed_jobs(limit=1000)]:
                await manager.queries.requeue_jobs(ids)
            for statement in _PRUNE:
                while await manager.queries.driver.execute(statement, KEEP_LOG, PRUNED_AT_ONCE) != "DELETE 0":
                    pass
        except Exception:
            logger.exception("the upkeep of the jobs failed; it is tried again")
        await asyncio.sleep(UPKEEP_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311  # not a secret


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
                    logger.warning("the jobs wait for PostgreSQL", extra={"tries": tries + 1, "error": shown(error)})
                tries += 1
                longest_s = min(BACKOFF_CAP_S, 0.05 * 2 ** min(tries, 10))
                await asyncio.sleep(random.uniform(0, longest_s))  # noqa: S311  # not a secret
            else:
                if tries:
                    logger.warning("the jobs have reached PostgreSQL again", extra={"tries": tries})
                return done

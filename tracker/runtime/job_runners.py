"""Work beside the requests: the jobs, and what a flush puts into the queue for them.

The only module that knows which features have jobs. httpx is imported only where reservations are switched on: a
process without it is smaller and starts sooner.
"""

import asyncio
import contextlib
import signal
from collections import ChainMap
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from tracker.features.carts.batch_writer import FollowUp
from tracker.features.carts.service import ReservationsOf
from tracker.features.checkout.jobs import JOB as SETTLE_JOB
from tracker.features.checkout.jobs import Settler
from tracker.features.checkout.metrics import OrderCounts
from tracker.features.checkout.payments import processor_of
from tracker.features.reservations import store as reservations_store
from tracker.features.reservations.metrics import ReservationCounts
from tracker.features.warranties.archive import open_archive
from tracker.features.warranties.jobs import CONCURRENCY as ARCHIVE_CONCURRENCY
from tracker.features.warranties.jobs import Archiver
from tracker.features.warranties.metrics import ArchiveCounts
from tracker.features.warranties.queue import JOB as ARCHIVE_JOB
from tracker.jobs.runner import JobRunner
from tracker.kit.deadlines import let_go
from tracker.postgres.engine import create_engine, dispose
from tracker.settings import Settings

CONNECTION_TIMEOUT_S: Final = 60.0
"""Seconds that a job's handler waits for a connection: without one it cannot store what its service has answered, and
must ask again. With 5 s, two processes on a machine ten times overcommitted asked a hundred times in vain for 1,000
reservations."""

SETTLING_CONCURRENCY: Final = 10
"""Number of orders that are settled at a time; few orders ever need it."""


def follow_up_of(settings: Settings) -> FollowUp | None:
    """Return what must be written with each flush, or None if nothing must."""
    if settings.reservation_url is None:
        return None
    from tracker.features.reservations.service import move, want  # noqa: PLC0415  # see above

    return FollowUp(want, move)


def reservations_of(settings: Settings) -> ReservationsOf | None:
    """Return what reads the reservations of a cart, or None if they are switched off."""
    return None if settings.reservation_url is None else reservations_store.of_cart


@dataclass(slots=True)
class Jobs:
    """Counts of the jobs of this process; those of a feature that is switched off are zero."""

    ended: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Number of ended calls, by handler and result."""

    reservations: ReservationCounts = field(default_factory=ReservationCounts)
    orders: OrderCounts = field(default_factory=OrderCounts)
    archive: ArchiveCounts = field(default_factory=ArchiveCounts)
    reserves_slowly: Callable[[], bool] = bool
    """Says whether the reservation service looks like it is down."""

    archives_slowly: Callable[[], bool] = bool
    """Says whether the archive looks like it is down."""


@contextlib.asynccontextmanager
async def running_jobs(settings: Settings, *, url: str) -> AsyncIterator[Jobs]:
    """Run the jobs on the database at `url`; yield what they count."""
    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(url, pool_size=settings.job_connections, pool_timeout_s=CONNECTION_TIMEOUT_S)
        stack.push_async_callback(dispose, engine)
        jobs = Jobs()
        runners = [
            _archiving(settings, url, engine, jobs),
            *_reserving(settings, url, engine, stack, jobs),
            *_settling(settings, url, engine, stack, jobs),
        ]
        jobs.ended = ChainMap(*(runner.ended for runner in runners))
        for runner in runners:
            runner.start()
        try:
            yield jobs
        finally:
            await asyncio.gather(*(runner.close() for runner in runners))


def _archiving(settings: Settings, url: str, engine: AsyncEngine, jobs: Jobs) -> JobRunner:
    archiver = Archiver(engine, open_archive(settings))
    jobs.archive = archiver.counts
    jobs.archives_slowly = lambda: archiver.is_waiting_for_archive
    return JobRunner(url, ARCHIVE_JOB, archiver.archive, concurrency=ARCHIVE_CONCURRENCY)


def _reserving(
    settings: Settings, url: str, engine: AsyncEngine, stack: contextlib.AsyncExitStack, jobs: Jobs
) -> Iterator[JobRunner]:
    if settings.reservation_url is None:
        return
    from tracker.features.reservations.client import ReservationClient  # noqa: PLC0415  # see above
    from tracker.features.reservations.jobs import Reserver  # noqa: PLC0415
    from tracker.features.reservations.service import JOB  # noqa: PLC0415

    client = ReservationClient(
        settings.reservation_url,
        timeout_s=settings.reservation_timeout_s,
        concurrency=settings.reservation_concurrency,
    )
    stack.push_async_callback(lambda: let_go(client.close()))
    reserver = Reserver(engine, client, max_attempts=settings.reservation_attempts)
    jobs.reservations = reserver.counts
    jobs.reserves_slowly = lambda: reserver.is_waiting_for_service
    yield JobRunner(url, JOB, reserver.reserve, concurrency=settings.reservation_concurrency)


def _settling(
    settings: Settings, url: str, engine: AsyncEngine, stack: contextlib.AsyncExitStack, jobs: Jobs
) -> Iterator[JobRunner]:
    processor = processor_of(settings)
    if processor is None:
        return
    stack.push_async_callback(lambda: let_go(processor.close()))
    settler = Settler(engine, processor, follow_up_of(settings))
    jobs.orders = settler.counts
    yield JobRunner(url, SETTLE_JOB, settler.settle, concurrency=SETTLING_CONCURRENCY)


async def run_jobs_until_told(
    settings: Settings, *, url: str, beside: Callable[[Jobs], contextlib.AbstractAsyncContextManager[None]]
) -> None:
    """Run the jobs until SIGINT or SIGTERM, and meanwhile what is `beside` them."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _handled(loop, told):
        async with running_jobs(settings, url=url) as jobs, beside(jobs):
            await told.wait()


@contextlib.contextmanager
def _handled(loop: asyncio.AbstractEventLoop, told: asyncio.Event) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, told.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

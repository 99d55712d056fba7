"""What goes on beside the requests: the jobs, and what a flush leaves them to do.

The only module that knows which features have jobs. httpx is imported only where reservations are switched on: a
process without it is smaller and starts sooner.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from tracker.carts.service import FollowUp, ReservationsOf
from tracker.checkout import settling
from tracker.checkout.payments import processor_of
from tracker.db.engine import create_engine, dispose
from tracker.jobs.runner import JobRunner
from tracker.reservations import store as reservations_store
from tracker.settings import Settings
from tracker.warranties import archiving
from tracker.warranties.archive import open_archive

CONNECTIONS: Final = 4
"""For the handlers; a call that waits for its service holds none."""

CONNECTION_TIMEOUT_S = 60.0
"""For a handler to get one of them: what it has heard from its service must be asked for again if it cannot be noted.
With 5 s, two processes on a machine ten times overcommitted asked a hundred times in vain for 1,000 reservations."""

SETTLING_CONCURRENCY: Final = 10
"""Orders that are settled at a time: few ever need it."""


def follow_up_of(settings: Settings) -> FollowUp | None:
    """Return what must be written with each flush, or None if nothing must."""
    if settings.reservation_url is None:
        return None
    from tracker.reservations.service import move, want  # noqa: PLC0415  # see above

    return FollowUp(want, move)


def reservations_of(settings: Settings) -> ReservationsOf | None:
    """Return what reads the reservations of a cart, or None if they are switched off."""
    return None if settings.reservation_url is None else reservations_store.of_cart


@contextlib.asynccontextmanager
async def running_jobs(settings: Settings, *, url: str) -> AsyncIterator[None]:
    """Run the jobs on the database at `url`."""
    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(url, pool_size=CONNECTIONS, pool_timeout_s=CONNECTION_TIMEOUT_S)
        stack.push_async_callback(dispose, engine)
        runners = [
            JobRunner(
                url,
                archiving.JOB,
                archiving.Archiver(engine, open_archive(settings)).archive,
                concurrency=archiving.CONCURRENCY,
            ),
            *_reserving(settings, url, engine, stack),
            *_settling(settings, url, engine, stack),
        ]
        for runner in runners:
            runner.start()
        try:
            yield
        finally:
            await asyncio.gather(*(runner.close() for runner in runners))


def _reserving(
    settings: Settings, url: str, engine: AsyncEngine, stack: contextlib.AsyncExitStack
) -> Iterator[JobRunner]:
    if settings.reservation_url is None:
        return
    from tracker.reservations.client import ReservationClient  # noqa: PLC0415  # see above
    from tracker.reservations.service import JOB, Reserver  # noqa: PLC0415

    client = ReservationClient(
        settings.reservation_url,
        timeout_s=settings.reservation_timeout_s,
        concurrency=settings.reservation_concurrency,
    )
    stack.push_async_callback(client.close)
    reserver = Reserver(engine, client, max_attempts=settings.reservation_attempts)
    yield JobRunner(url, JOB, reserver.reserve, concurrency=settings.reservation_concurrency)


def _settling(
    settings: Settings, url: str, engine: AsyncEngine, stack: contextlib.AsyncExitStack
) -> Iterator[JobRunner]:
    processor = processor_of(settings)
    if processor is None:
        return
    stack.push_async_callback(processor.close)
    settler = settling.Settler(engine, processor, follow_up_of(settings))
    yield JobRunner(url, settling.JOB, settler.settle, concurrency=SETTLING_CONCURRENCY)


async def run_jobs_until_told(settings: Settings, *, url: str) -> None:
    """Run the jobs until SIGINT or SIGTERM."""
    told = asyncio.Event()
    loop = asyncio.get_running_loop()
    with _handled(loop, told):
        async with running_jobs(settings, url=url):
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

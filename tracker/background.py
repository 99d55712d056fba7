"""What goes on beside the requests: the jobs, and what a flush leaves them to do.

The only module that knows which features have jobs. pgqueuer and httpx are imported only where a feature
that needs them is switched on: a process without them is 15 MB smaller and starts 0.2 s sooner.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from sqlalchemy.ext.asyncio import AsyncEngine

from tracker.carts.service import FollowUp, ReservationsOf
from tracker.checkout.payments import processor_of
from tracker.db.engine import create_engine, dispose
from tracker.reservations import store as reservations_store
from tracker.settings import Settings

CONNECTIONS = 4
"""For the handlers; a call that waits for its service holds none."""


def follow_up_of(settings: Settings) -> FollowUp | None:
    """Return what must be written with each flush, or None if nothing must."""
    if settings.reservation_url is None:
        return None
    from tracker.reservations.service import move, want  # noqa: PLC0415  # see above

    return FollowUp(want, move)


def reservations_of(settings: Settings) -> ReservationsOf | None:
    """Return what reads the reservations of a cart, or None if they are switched off."""
    return None if settings.reservation_url is None else reservations_store.of_cart


def has_jobs(settings: Settings) -> bool:
    """Return whether there is a feature that has any jobs."""
    return settings.reservation_url is not None or settings.payment is not None


@contextlib.asynccontextmanager
async def running_jobs(settings: Settings, *, url: str) -> AsyncIterator[None]:
    """Run the jobs on the database at `url`, if there is a feature that has any."""
    if not has_jobs(settings):
        yield
        return
    from tracker.jobs.runner import JobRunner  # noqa: PLC0415  # see above

    async with contextlib.AsyncExitStack() as stack:
        engine = create_engine(url, pool_size=CONNECTIONS)
        stack.push_async_callback(dispose, engine)
        handlers = _reserving(settings, engine, stack) | _settling(settings, engine, stack)
        runner = JobRunner(url, handlers, concurrency=settings.reservation_concurrency)
        runner.start()
        stack.push_async_callback(runner.close)
        yield


def _reserving(
    settings: Settings, engine: AsyncEngine, stack: contextlib.AsyncExitStack
) -> dict[str, Callable[[bytes], Awaitable[None]]]:
    if settings.reservation_url is None:
        return {}
    from tracker.reservations.client import ReservationClient  # noqa: PLC0415  # see above
    from tracker.reservations.service import JOB, Reserver  # noqa: PLC0415

    client = ReservationClient(
        settings.reservation_url,
        timeout_s=settings.reservation_timeout_s,
        concurrency=settings.reservation_concurrency,
    )
    stack.push_async_callback(client.close)
    return {JOB: Reserver(engine, client, max_attempts=settings.reservation_attempts).reserve}


def _settling(
    settings: Settings, engine: AsyncEngine, stack: contextlib.AsyncExitStack
) -> dict[str, Callable[[bytes], Awaitable[None]]]:
    processor = processor_of(settings)
    if processor is None:
        return {}
    from tracker.checkout.settling import JOB, Settler  # noqa: PLC0415  # see above

    stack.push_async_callback(processor.close)
    return {JOB: Settler(engine, processor, follow_up_of(settings)).settle}


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

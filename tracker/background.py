"""What goes on beside the requests: the jobs, and what a flush leaves them to do.

The only module that knows which features have jobs. pgqueuer and httpx are imported only where a feature
that needs them is switched on: a process without them is 15 MB smaller and starts 0.2 s sooner.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator

from tracker.carts.service import FollowUp, ReservationsOf
from tracker.db.engine import create_engine, dispose
from tracker.reservations import store as reservations_store
from tracker.settings import Settings

CONNECTIONS = 4
"""For the handlers; a call that waits for its service holds none."""


def follow_up_of(settings: Settings) -> FollowUp | None:
    """Return what must be written with each flush, or None if nothing must."""
    if settings.reservation_url is None:
        return None
    from tracker.reservations.service import want  # noqa: PLC0415  # see above

    return want


def reservations_of(settings: Settings) -> ReservationsOf | None:
    """Return what reads the reservations of a cart, or None if they are switched off."""
    return None if settings.reservation_url is None else reservations_store.of_cart


@contextlib.asynccontextmanager
async def running_jobs(settings: Settings, *, url: str) -> AsyncIterator[None]:
    """Run the jobs on the database at `url`, if there is a feature that has any."""
    if settings.reservation_url is None:
        yield
        return
    from tracker.jobs.runner import JobRunner  # noqa: PLC0415  # see above
    from tracker.reservations.client import ReservationClient  # noqa: PLC0415
    from tracker.reservations.service import JOB, Reserver  # noqa: PLC0415

    engine = create_engine(url, pool_size=CONNECTIONS)
    client = ReservationClient(
        settings.reservation_url,
        timeout_s=settings.reservation_timeout_s,
        concurrency=settings.reservation_concurrency,
    )
    reserver = Reserver(engine, client, max_attempts=settings.reservation_attempts)
    runner = JobRunner(url, {JOB: reserver.reserve}, concurrency=settings.reservation_concurrency)
    runner.start()
    try:
        yield
    finally:
        await runner.close()
        await client.close()
        await dispose(engine)


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

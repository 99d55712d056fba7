"""What reservations cost: writing them with a flush, and working them off with 100,000 in the queue.

Writing is measured in this process, on the contestant's core, as the flusher does it, with reservations and
without. The worker is a real `tracker worker` on that core; the service it asks is the stand-in of the tests
on the load's core and answers at once, so that the queue is what takes the time.
"""

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.flush_cost import new_batch
from tests.benchmarks.machine import move_to
from tests.benchmarks.postgres import run_sql
from tests.benchmarks.processes import Server, Site, spawned
from tests.support.ports import free_port
from tracker.features.carts.wiring import writer_on
from tracker.features.reservations.settings import ReservationSettings
from tracker.kit.clock import Stamper, SystemClock
from tracker.postgres.engine import create_engine
from tracker.settings import Settings

JOBS: Final = 100_000
QUICK_JOBS: Final = 5_000
BATCH: Final = 1000
"""Items of a flush at full load."""

TIMEOUT_S: Final = 1200.0
"""For all of them to be worked off."""

LOOK_S: Final = 0.5

_NOT_RESERVED: Final = "SELECT count(*) FROM reservations WHERE status <> 'reserved'"


class Jobs(Struct, frozen=True):
    """What was measured."""

    jobs: int
    plain_us: float
    """Time of a flush per item without reservations."""
    reserved_us: float
    """The same with them: item, reservation and job."""
    drained_per_second: float
    idle_mib: float
    """Memory of a worker with an empty queue."""
    most_mib: float
    """The most while it works the queue off."""


def measure(site: Site, *, quick: bool) -> Jobs:
    """Fill a queue and empty it."""
    jobs = QUICK_JOBS if quick else JOBS
    with site.databases.fresh() as url, tempfile.TemporaryDirectory(dir=site.folder) as path:
        folder, port = Path(path), free_port()
        env = {"DATABASE_URL": url, "TRACKER_DATA_DIR": path, "TRACKER_RESERVATION_URL": _url(port)}
        move_to({site.cores.server})
        try:
            plain_us = asyncio.run(_fill(url, jobs // 5, Settings(ReservationSettings())))
            with spawned(_WORKER, env, folder, {site.cores.server}) as worker:
                time.sleep(3)
                idle_mib = Server("", url, (worker.pid,)).rss_mib()
            reserved_us = asyncio.run(_fill(url, jobs, Settings(ReservationSettings(reservation_url=_url(port)))))
        finally:
            move_to({site.cores.load})
        service = [sys.executable, "-m", "tests.support.reservation_service", "--port", str(port)]
        with (
            spawned(service, {}, folder, {site.cores.load}),
            spawned(_WORKER, env, folder, {site.cores.server}) as worker,
        ):
            started, most_mib = time.monotonic(), 0.0
            while run_sql(url, _NOT_RESERVED)[0][0]:
                if time.monotonic() > started + TIMEOUT_S:
                    raise BenchmarkError("the queue was not worked off")
                most_mib = max(most_mib, Server("", url, (worker.pid,)).rss_mib())
                time.sleep(LOOK_S)
            drained_per_second = jobs / (time.monotonic() - started)
    return Jobs(jobs, plain_us, reserved_us, drained_per_second, idle_mib, most_mib)


_WORKER: Final = [sys.executable, "-m", "tracker", "worker"]


def _url(port: int) -> str:
    return f"http://127.0.0.1:{port}/reserve"


async def _fill(url: str, items: int, settings: Settings) -> float:
    """Write `items` new items; return the microseconds that each took."""
    engine = create_engine(url)
    writer = writer_on(engine, settings)
    stamper = Stamper(SystemClock(), worker=0)
    batches = [new_batch(stamper, BATCH) for _ in range(items // BATCH)]
    try:
        started_s = time.perf_counter()
        for batch in batches:
            await writer.write(batch)
        return (time.perf_counter() - started_s) * 1e6 / items
    finally:
        await engine.dispose()

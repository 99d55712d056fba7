"""Memory of one worker: at rest, for each item that waits for PostgreSQL, and over minutes of load.

For the second, the database of a running Tracker is closed to connections; every request then starts a new
cart, so each accepted one is one more waiting item, and what the process grows by is divided by their number.
Before, it had the same load with the database there: what a first load allocates once does not count. The
idle process is also asked how much CPU time it uses.
"""

import time
from collections.abc import Callable

from msgspec import Struct

from tests.benchmarks.contestants import JOURNAL
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.postgres import disconnect_all, name_of, run_sql
from tests.benchmarks.processes import Site, running
from tests.benchmarks.requests import ITEM_KNOWN, ITEM_NEW, write_requests
from tests.benchmarks.wrk import MARGIN_S, begin, drive, finish

IDLE_S = 5.0
PENDING_LOAD_S = 5.0
"""For so many waiting items that what else the process allocates and frees does not count."""

_BUDGET = {"TRACKER_BUFFER_MAX_MB": "512"}
"""Enough for all of them."""


class Rest(Struct, frozen=True):
    """A worker with nothing to do, and one that cannot write."""

    rss_mib: float
    idle_cpu_percent: float
    """Of a core."""
    pending_items: int
    bytes_per_pending_item: float
    refused: int
    """Requests answered by 503 meanwhile."""


class Soak(Struct, frozen=True):
    """A worker under full load for long."""

    seconds: float
    requests: int
    start_mib: float
    """After a tenth of the time."""
    middle_mib: float
    end_mib: float
    most_mib: float


def at_rest(site: Site) -> Rest:
    """Measure an idle worker, then one whose database refuses."""
    requests = write_requests(ITEM_NEW, site.folder)
    with running(JOURNAL, site, env=_BUDGET) as server:
        time.sleep(1)
        rss_mib, cpu_s = server.rss_mib(), server.cpu_s()
        time.sleep(IDLE_S)
        idle_cpu_percent = 100 * (server.cpu_s() - cpu_s) / IDLE_S
        drive(server.url, requests, PENDING_LOAD_S)
        server.settle()
        before_mib = server.rss_mib()
        database = name_of(server.database_url)
        close, reopen = (f"ALTER DATABASE {database} ALLOW_CONNECTIONS {allowed}" for allowed in ("false", "true"))
        run_sql(site.databases.server_url, close)
        try:
            disconnect_all(site.databases.server_url, database)
            load = drive(server.url, requests, PENDING_LOAD_S)
            grown_mib = server.rss_mib() - before_mib
        finally:
            run_sql(site.databases.server_url, reopen)
        pending = load.requests - load.refused
        if pending == 0:
            raise BenchmarkError("no item was accepted while the database was away")
        _wait_until_written(server.database_url, pending)
    return Rest(rss_mib, idle_cpu_percent, pending, grown_mib * 2**20 / pending, load.refused)


def _wait_until_written(database_url: str, items: int) -> None:
    """Wait for what waited: it must all be there, whatever the database did."""
    deadline = time.monotonic() + 60
    while int(run_sql(database_url, "SELECT count(*) FROM items")[0][0]) < items:
        if time.monotonic() > deadline:
            raise BenchmarkError("what waited for the database was not written when it came back")
        time.sleep(0.5)


def soak(site: Site, *, seconds: float, say: Callable[[str], None]) -> Soak:
    """Load a worker for `seconds` and watch its memory, once a second."""
    samples: list[float] = []
    with running(JOURNAL, site) as server:
        started = time.monotonic()
        wrk = begin(server.url, write_requests(ITEM_KNOWN, site.folder), seconds)
        try:
            while wrk.poll() is None and time.monotonic() < started + seconds + MARGIN_S:
                samples.append(server.rss_mib())
                if len(samples) % 60 == 0:
                    say(f"  after {len(samples) / 60:.0f} min: {samples[-1]:.1f} MiB")
                time.sleep(1)
        finally:
            load = finish(wrk, seconds)
    return Soak(
        load.seconds,
        load.requests,
        start_mib=samples[len(samples) // 10],
        middle_mib=samples[len(samples) // 2],
        end_mib=samples[-1],
        most_mib=max(samples),
    )

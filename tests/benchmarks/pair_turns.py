"""A pair: both sides and the old one once more, each a fresh process on a fresh database, loaded a second at a time.

They run at once and take turns: while one gets the load, the others do nothing, which takes 0.6 % of the core for each.
So whatever else the machine does comes to all of them within seconds. With three seconds of one after three of the
other, PostgreSQL's CPU time over that of the same version was spread 1.7 times as wide (deviation 0.076 instead of
0.045, of six pairs on a busy machine), and Tracker's as wide as here (0.07). They start anew for each pair, as each
process has another hash seed and another place in memory: what these do to it must not be taken for a difference
between the sides. The load is a closed loop: at fixed rates of 4,000 and 8,000 a second PostgreSQL's CPU time for an
item varied twice as much (24 and 30 % instead of 11), and Tracker's no less.

CPU time of PostgreSQL is that of all its processes, those included that end meanwhile, over the items that the serving
process counts as stored: what it handed over and PostgreSQL has committed. PostgreSQL's own statistics count rows: one
more for an item that was tried twice, none for one that it did not have to write, and both change with the code that
is compared; and they come when a backend finds the time.
"""

import contextlib
import http.client
import re
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.errors import BenchmarkError, SetupError
from tests.benchmarks.postgres import run_sql
from tests.benchmarks.processes import Server, Site, last_lines, spawned, wait_for_answer
from tests.benchmarks.requests import ITEM_KNOWN, write_requests
from tests.benchmarks.sides import LINES, Side
from tests.benchmarks.verdicts import Label, Turn
from tests.benchmarks.wrk import drive
from tests.support.ports import free_port

WARM_UP_S: Final = 1.0
SLICE_S: Final = 1.0
"""Load of one turn at a time."""

ANSWER_TIMEOUT_S: Final = 10.0

_STORED: Final = re.compile(r"^tracker_items_stored_total (\S+)$", re.MULTILINE)


class Started(Struct, frozen=True):
    """A side that answers, and what it took to get there."""

    side: Side
    folder: Path
    server: Server
    seconds: float
    cpu_s: float


def turns_of(
    pair: int, order: Sequence[Label], sides: Mapping[Label, Side], site: Site, *, seconds: int, flush: bool
) -> list[Turn]:
    """Return the turns of one pair, each with `seconds` of load; with 0, only with the figures of the start.

    Without `flush` a side needs no metrics, which an old one may not have.
    """
    slices: dict[Label, list[dict[str, float]]] = {label: [] for label in order}
    with contextlib.ExitStack() as stack:
        started = {label: stack.enter_context(_running(sides[label], site, warm_up=seconds > 0)) for label in order}
        for number in range(seconds):
            first = number % len(order)
            for label in (*order[first:], *order[:first]):
                with _blaming(started[label].side, started[label].folder):
                    slices[label].append(_slice(started[label].server, site, flush=flush))
    return [Turn(pair, label, _figures(started[label], slices[label]), slices[label]) for label in order]


def _figures(started: Started, slices: Sequence[dict[str, float]]) -> dict[str, float]:
    """Return the figures of a turn: of the start, and the middle of its slices.

    What spoils one of them does not count then (deviation of a ratio: 0.064, of that of their means 0.082).
    """
    figures = {"start_ms": started.seconds * 1e3, "start_cpu_ms": started.cpu_s * 1e3}
    for name in slices[0] if slices else ():
        figures[name] = statistics.median(found[name] for found in slices)
    return figures


@contextlib.contextmanager
def _running(side: Side, site: Site, *, warm_up: bool) -> Iterator[Started]:
    with site.databases.copy_of(side.template) as url, tempfile.TemporaryDirectory(dir=site.folder) as path:
        folder, port = Path(path), free_port()
        environ = {"DATABASE_URL": url, "TRACKER_DATA_DIR": path, "TRACKER_ACK": "journal"}
        command = side.command("serve", "--port", str(port))
        began = time.perf_counter()
        with spawned(command, environ, folder, {site.cores.server}, side.folder) as process:
            with _blaming(side, folder):
                wait_for_answer(port, process, folder, "/health/ready", http.client.OK)
                seconds = time.perf_counter() - began
                server = Server(f"http://127.0.0.1:{port}", url, (process.pid,))
                cpu_s = server.cpu_s()
                if warm_up:
                    drive(server.url, write_requests(ITEM_KNOWN, site.folder), WARM_UP_S)
            yield Started(side, folder, server, seconds, cpu_s)


@contextlib.contextmanager
def _blaming(side: Side, folder: Path) -> Iterator[None]:
    """Say of an error which side it came from, and what that one said last."""
    try:
        yield
    except SetupError:
        raise
    except BenchmarkError as error:
        said = last_lines(folder, LINES).replace("\n", "\n  ")
        raise BenchmarkError(f"the {side.name} side failed: {error}\n  {said}") from None


def _slice(server: Server, site: Site, *, flush: bool) -> dict[str, float]:
    postgres = Server("", site.databases.server_url, (site.databases.pid,))
    requests = write_requests(ITEM_KNOWN, site.folder)
    stored = _stored(server) if flush else 0
    run_sql(site.databases.server_url, "CHECKPOINT")  # so that all write the pages whole that they touch first
    server.settle()
    cpu_s, postgres_cpu_s = server.cpu_s(), postgres.cpu_s()
    load = drive(server.url, requests, SLICE_S)
    server.settle()
    cpu_s, postgres_cpu_s = server.cpu_s() - cpu_s, postgres.cpu_s() - postgres_cpu_s
    rss_mib = server.rss_mib()
    if load.refused or load.broken:
        raise BenchmarkError(f"of {load.requests} requests {load.refused} were refused, {load.broken} got no answer")
    figures = {"per_second": load.per_second, "item_cpu_us": cpu_s * 1e6 / load.requests, "rss_mib": rss_mib}
    if flush:
        stored = _stored(server) - stored
        if not stored:
            raise BenchmarkError(f"of {load.requests} items none was stored")
        figures["flush_cpu_us"] = postgres_cpu_s * 1e6 / stored
    return figures


def _stored(server: Server) -> float:
    """Return how many items the process has stored; asking costs CPU time of both, so not while that is counted."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", "/metrics")
        found = _STORED.search(connection.getresponse().read().decode())
    except (OSError, http.client.HTTPException) as error:
        raise BenchmarkError(f"GET /metrics gets no answer: {error}") from None
    finally:
        connection.close()
    if not found:
        raise BenchmarkError("GET /metrics shows no tracker_items_stored_total; leave the flush out by --only")
    return float(found[1])

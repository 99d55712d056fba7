"""Warranties: how many are created a second, against a transaction for each, and what a list of all of them takes.

The contestants take turns, as in `throughput`, each with a fresh process and a fresh database; a ratio is that of two
turns of one round. After each turn the database says how many warranties it has, which must be no fewer than were
answered, and in how many transactions they came (their `xmin`).

The list is read by a client that takes all it gets and by one that takes little at a time. Memory is the process's own
high-water mark, which the kernel resets on request: no peak is too short to be seen.
"""

import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from tests.benchmarks.contestants import Contestant, script, uvicorn
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.failures import Failures
from tests.benchmarks.postgres import run_sql
from tests.benchmarks.processes import Server, Site, running
from tests.benchmarks.requests import write_warranty_requests
from tests.benchmarks.stats import Spread, spread
from tests.benchmarks.wrk import Load, drive

PART: Final = "warranties"

STORES: Final = 20
ITEMS: Final = 1000
"""50 for each store; the fewer there are, the more transactions of one warranty wait for each other's items."""

POOLS: Final = (4, 10, 20)
"""Connections of the contestant that commits each warranty by itself."""

WARM_UP_S: Final = 2
"""Each of the 64 connections needs an answer; on a machine that does other things one second was too short."""

LISTS: Final = (10_000, 100_000)
QUICK_LISTS: Final = (2_000, 20_000)

SLOW_BYTES: Final = 64 * 1024
SLOW_PAUSE_S: Final = 0.01
"""Between two such pieces: 6 MB/s."""

READ_TIMEOUT_S: Final = 60.0
"""For any piece of a list."""

TRACKER: Final = Contestant(
    "tracker", "Tracker", ((sys.executable, "-m", "tracker", "serve", "--port", "{port}"),), is_tracker=True,
    stores=False,
)  # fmt: skip
NO_JOBS: Final = msgspec.structs.replace(
    TRACKER, name="no-jobs", title="Tracker, archived by a worker", env=(("TRACKER_JOBS", "off"),)
)


def _each(pool: int, jobs: str) -> Contestant:
    return Contestant(
        f"each-{pool}-{jobs}",
        f"a transaction each, pool {pool}{', archives' if jobs == 'on' else ''}",
        (script("warranty_each"),),
        env=(("TRACKER_JOBS", jobs), ("BENCH_POOL", str(pool))),
        is_tracker=True,
        stores=False,
    )


EACH: Final = tuple(_each(pool, "off") for pool in POOLS)
EACH_JOBS: Final = _each(10, "on")
FASTAPI: Final = Contestant(
    "fastapi", "FastAPI, get or create", (uvicorn("fastapi_warranty"),), modules=("fastapi", "pydantic"), stores=False
)
CONTESTANTS: Final = (TRACKER, NO_JOBS, *EACH, EACH_JOBS, FASTAPI)


class Turn(Struct, frozen=True):
    """One run of one contestant."""

    contestant: str
    title: str
    round: int
    load: Load
    cpu_us: float
    """CPU time of its process per warranty, until it has done all that it left for later."""
    database_cpu_us: float
    """The same of PostgreSQL."""
    settle_s: float
    """How long it was still busy after the last answer."""
    per_commit: float
    """Warranties of a transaction, on average."""


class Listed(Struct, frozen=True):
    """A list of all warranties, as one client got it."""

    rows: int
    reader: str
    seconds: float
    mebibytes: float
    grown_mib: float
    """The most memory while it was sent, over what the process had at rest."""


class Warranties(Struct, frozen=True):
    """What was measured."""

    turns: list[Turn]
    lists: list[Listed]

    def titles(self) -> dict[str, str]:
        """Return the contestants' titles by name, in the order in which they ran."""
        return {turn.contestant: turn.title for turn in self.turns}

    def of(self, contestant: str, what: Callable[[Turn], float]) -> Spread:
        """Return the spread of a figure over the rounds."""
        return spread([what(turn) for turn in self.turns if turn.contestant == contestant])

    def ratio(self, contestant: str, others: Sequence[str]) -> Spread | None:
        """Return its warranties a second over those of the best of the others, round by round, if none failed."""
        if not {contestant, *others} <= self.titles().keys():
            return None
        best = max(others, key=lambda name: self.of(name, lambda turn: turn.load.per_second).median)
        per_second = {(turn.contestant, turn.round): turn.load.per_second for turn in self.turns}
        rounds = sorted({turn.round for turn in self.turns})
        return spread([per_second[contestant, number] / per_second[best, number] for number in rounds])

    def list_growth_mib(self) -> float | None:
        """Return by how much more memory the long list takes than the short one, whoever reads it, if none failed."""
        if not self.lists:
            return None
        least, most = (
            max(listed.grown_mib for listed in self.lists if listed.rows == rows)
            for rows in sorted({listed.rows for listed in self.lists})
        )
        return most - least


def measure(
    site: Site, failures: Failures, *, rounds: int, seconds: float, quick: bool, say: Callable[[str], None]
) -> Warranties:
    """Let all contestants run in turns; then read lists. Those that failed are not in it."""
    requests = write_warranty_requests(site.folder, stores=STORES, skus=ITEMS)
    present = []
    for contestant in CONTESTANTS:
        if missing := contestant.missing():
            say(f"  left out: {contestant.title}: {missing} is not installed")
        else:
            present.append(contestant)
    turns: list[Turn] = []
    for number, contestant in failures.turns(PART, present, rounds):
        with failures.noting(PART, contestant.name):
            turn = _turn(contestant, site, requests, number, seconds)
            turns.append(turn)
            say(f"  round {number}  {turn.title:38} {turn.load.per_second:7,.0f}/s  {turn.per_commit:5.1f} a commit")
    lists: list[Listed] = []
    with failures.noting(f"{PART}, lists"):
        lists = _lists(site, QUICK_LISTS if quick else LISTS)
    return Warranties([turn for turn in turns if not failures.has(PART, turn.contestant)], lists)


_WRITTEN: Final = "SELECT count(*), count(DISTINCT xmin::text) FROM warranties"


def _turn(contestant: Contestant, site: Site, requests: Path, number: int, seconds: float) -> Turn:
    database = Server("", site.databases.server_url, (site.databases.pid,))
    with running(contestant, site) as server:
        warm_up = drive(server.url, requests, WARM_UP_S)
        if warm_up.refused:
            raise BenchmarkError(f"{contestant.title} answers {warm_up.refused} of {warm_up.requests} with an error")
        server.settle()
        rows_before, commits_before = run_sql(server.database_url, _WRITTEN)[0]
        cpu_s, database_cpu_s = server.cpu_s(), database.cpu_s()
        load = drive(server.url, requests, seconds)
        settle_s = server.settle()
        if load.refused:
            raise BenchmarkError(f"{contestant.title} answers {load.refused} of {load.requests} with an error")
        cpu_us = (server.cpu_s() - cpu_s) * 1e6 / load.requests
        database_cpu_us = (database.cpu_s() - database_cpu_s) * 1e6 / load.requests
        rows, commits = run_sql(server.database_url, _WRITTEN)[0]
    if rows - rows_before < load.requests:
        raise BenchmarkError(f"{contestant.title} answered for {load.requests} warranties and has {rows - rows_before}")
    per_commit = (rows - rows_before) / (commits - commits_before)
    return Turn(contestant.name, contestant.title, number, load, cpu_us, database_cpu_us, settle_s, per_commit)


_FILL: Final = """
INSERT INTO stores VALUES ('b21ad0676f26439', now()) ON CONFLICT DO NOTHING;
INSERT INTO warranty_items VALUES ('furniture', '986kjeo8fy9qhu', 'Amy''s Sectional Sofa', 15000, 1)
ON CONFLICT DO NOTHING;
INSERT INTO warranties
SELECT gen_random_uuid(), 'b21ad0676f26439', 'furniture', '986kjeo8fy9qhu', 'Amy''s Sectional Sofa', 15000, 24, 1500,
       '2026-1-00000000', now()
FROM generate_series(1, {rows});
ANALYZE warranties;
"""


def _lists(site: Site, lengths: Sequence[int]) -> list[Listed]:
    found: list[Listed] = []
    with running(NO_JOBS, site) as server:
        filled = 0
        for rows in lengths:
            run_sql(server.database_url, _FILL.format(rows=rows - filled))
            filled = rows
            if not found:
                _read(server.port, 0)  # what a first list allocates once does not count
                time.sleep(1)
                rest_mib = server.rss_mib()
            for reader, pause_s in (("fast", 0.0), ("slow", SLOW_PAUSE_S)):
                server.forget_peak()
                started = time.monotonic()
                got = _read(server.port, pause_s)
                seconds = time.monotonic() - started
                if got.count(b'"created_at"') != rows:
                    raise BenchmarkError(f"a list of {rows} warranties has {got.count(b'created_at')}")
                found.append(Listed(rows, reader, seconds, len(got) / 2**20, server.peak_mib() - rest_mib))
    return found


def _read(port: int, pause_s: float) -> bytes:
    """Return the answer of GET /warranties, read with a pause after each piece."""
    with socket.socket() as reader:
        if pause_s:
            reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BYTES)  # what waits, waits at the server
        reader.settimeout(READ_TIMEOUT_S)
        reader.connect(("127.0.0.1", port))
        reader.sendall(b"GET /warranties HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        pieces = []
        while piece := reader.recv(SLOW_BYTES):
            pieces.append(piece)
            time.sleep(pause_s)
    return b"".join(pieces)

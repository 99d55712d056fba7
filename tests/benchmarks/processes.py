"""Contestants as real processes: start them pinned, read what they cost from /proc, end them by their ids."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.machine import Cores, move_to
from tests.benchmarks.postgres import Databases, run_sql

REPO: Final = Path(__file__).parents[2]
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
SETTLE_TIMEOUT_S: Final = 60.0
"""For what was answered but not done yet: Tracker's last flush, Celery's queue."""

_QUIET_S: Final = 0.3
_QUIET_CPU_S: Final = 0.021
"""A contestant has settled when it uses at most this (two ticks of the kernel's clock) in `_QUIET_S`."""

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Site(Struct, frozen=True):
    """Where the benchmarks happen."""

    cores: Cores
    folder: Path
    databases: Databases


class Server(Struct, frozen=True):
    """A contestant that answers."""

    url: str
    database_url: str
    pids: tuple[int, ...]
    """The processes that were started; they may have children."""

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def cpu_s(self) -> float:
        """Return the CPU time, user and system, of its processes so far."""
        ticks = 0
        for fields in _tree(self.pids).values():
            ticks += int(fields[11]) + int(fields[12])  # utime and stime, counted from the field after the name
        return ticks / _TICKS_PER_S

    def rss_mib(self) -> float:
        """Return the memory of its processes that is in RAM; what they share counts for each."""
        return sum(_status_kib(pid, "VmRSS:") for pid in _tree(self.pids)) / 1024

    def forget_peak(self) -> None:
        """Have `peak_mib` say the most from now on."""
        for pid in _tree(self.pids):
            Path(f"/proc/{pid}/clear_refs").write_text("5")

    def peak_mib(self) -> float:
        """Return the most memory that its processes had in RAM; what they share counts for each."""
        return sum(_status_kib(pid, "VmHWM:") for pid in _tree(self.pids)) / 1024

    def settle(self) -> float:
        """Wait until it has nothing left to do, and return for how many seconds it was still busy."""
        started = time.monotonic()
        while time.monotonic() < started + SETTLE_TIMEOUT_S:
            before, looked_at = self.cpu_s(), time.monotonic()
            time.sleep(_QUIET_S)
            if self.cpu_s() - before <= _QUIET_CPU_S:
                return looked_at - started
        return SETTLE_TIMEOUT_S


@contextlib.contextmanager
def running(contestant: Contestant, site: Site, *, env: dict[str, str] | None = None) -> Iterator[Server]:
    """Start a contestant on a fresh database and a fresh data folder; end it, and see that it did store."""
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=site.folder)))
        database_url = stack.enter_context(site.databases.fresh(plain=not contestant.is_tracker))
        ports = {"port": free_port(), "redis": 0}
        if contestant.needs_redis:
            ports["redis"] = stack.enter_context(_redis(site, folder))
        environ = {name: value.format(**ports) for name, value in contestant.env}
        environ |= {"DATABASE_URL": database_url, "TRACKER_DATA_DIR": str(folder)}
        cores = {site.cores.server} | ({site.cores.second_worker} if contestant.two_cores else set())
        started = [
            stack.enter_context(
                spawned([part.format(**ports) for part in command], environ | (env or {}), folder, cores)
            )
            for command in contestant.commands
        ]
        wait_for_answer(ports["port"], started[0], folder)
        server = Server(f"http://127.0.0.1:{ports['port']}", database_url, tuple(process.pid for process in started))
        yield server
        if contestant.stores and not run_sql(database_url, "SELECT 1 FROM items LIMIT 1"):
            raise BenchmarkError(f"{contestant.name} answered, but stored nothing")


@contextlib.contextmanager
def spawned(
    command: Sequence[str], environ: dict[str, str], folder: Path, cores: set[int]
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on some cores, in the environment of this process without Tracker's settings; end it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRACKER_")}
    environ = {**inherited, "PYTHONPATH": str(REPO), **environ}
    with (folder / "output.log").open("ab") as log:
        process = subprocess.Popen(command, env=environ, cwd=REPO, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    move_to(cores, process.pid)
    try:
        yield process
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a process in order, or else kill it with its children, as they were before."""
    children = list(_tree((process.pid,)))
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


@contextlib.contextmanager
def _redis(site: Site, folder: Path) -> Iterator[int]:
    """Run a Redis that keeps nothing on disk, where PostgreSQL runs; yield its port."""
    port = free_port()
    program = shutil.which("redis-server") or "redis-server"
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with spawned(command, {}, folder, {site.cores.database}) as redis:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _listens(port):
            _check_alive(redis, folder, deadline)
        yield port


def wait_for_answer(port: int, process: subprocess.Popen[bytes], folder: Path) -> None:
    """Return once something answers; which status does not matter."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/")
            connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            _check_alive(process, folder, deadline)
        else:
            return
        finally:
            connection.close()


def _check_alive(process: subprocess.Popen[bytes], folder: Path, deadline: float) -> None:
    if process.poll() is not None or time.monotonic() > deadline:
        lines = (folder / "output.log").read_text(errors="replace").strip().splitlines() or ["it said nothing"]
        raise BenchmarkError(f"{' '.join(map(str, process.args))} does not start: {lines[-1]}")  # type: ignore[arg-type]  # a list, as we gave it
    time.sleep(0.05)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _tree(roots: Sequence[int]) -> dict[int, list[str]]:
    """Return the fields of /proc/PID/stat behind the name, of `roots` and everything below them."""
    found: dict[int, list[str]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            found[int(path.parent.name)] = path.read_text().rpartition(")")[2].split()
    wanted = {pid for pid in roots if pid in found}
    while True:
        below = {pid for pid, fields in found.items() if int(fields[1]) in wanted}
        if below <= wanted:
            return {pid: found[pid] for pid in wanted}
        wanted |= below


def _status_kib(pid: int, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1])
    return 0

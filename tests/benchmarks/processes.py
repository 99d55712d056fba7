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
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.contestants import Contestant
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.machine import Cores, move_to
from tests.benchmarks.postgres import Databases, run_sql
from tests.support.ports import free_port

REPO: Final = Path(__file__).parents[2]
LOG_NAME: Final = "output.log"
START_TIMEOUT_S: Final = 30.0
STOP_TIMEOUT_S: Final = 20.0
SETTLE_TIMEOUT_S: Final = 60.0
"""For what was answered but not done yet: Tracker's last flush, Celery's queue."""

_QUIET_S: Final = 0.3
_QUIET_CPU_S: Final = 0.021
"""A contestant has settled when it uses at most this in `_QUIET_S`."""

_POLL_S: Final = 0.01

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")

_SCHEDULED: Final = 2
"""CPUCLOCK_SCHED: with a process's id it makes the number of the clock that shows that process's CPU time (see
clock_getcpuclockid(3), which Python does not have)."""


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
        """Return the CPU time, user and system, of its processes so far, those below them that have ended included.

        Of a process that runs it is known to the nanosecond, of one that has ended to a hundredth of a second.
        """
        total_s = 0.0
        for pid, fields in _tree(self.pids).items():
            with contextlib.suppress(OSError):  # it has ended since; its parent's next fields have it
                total_s += time.clock_gettime(~pid << 3 | _SCHEDULED)
            total_s += (int(fields[13]) + int(fields[14])) / _TICKS_PER_S  # cutime and cstime, see `_tree`
        return total_s

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
    command: Sequence[str], environ: dict[str, str], folder: Path, cores: set[int], cwd: Path = REPO
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command on some cores, with the modules of `cwd`; its output goes to a file in `folder`. End it."""
    with (folder / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(
            command, env=environ_with(environ, cwd), cwd=cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
    move_to(cores, process.pid)
    try:
        yield process
    finally:
        _end(process)


def environ_with(environ: Mapping[str, str], modules: Path) -> dict[str, str]:
    """Return the environment of this process with `environ` as Tracker's only settings, and modules found in a folder.

    The folder comes before what is installed, an editable install of another checkout included.
    """
    inherited = {
        name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("TRACKER_")
    }
    return {**inherited, "PYTHONPATH": str(modules), **environ}


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


def wait_for_answer(
    port: int, process: subprocess.Popen[bytes], folder: Path, path: str = "/", status: int | None = None
) -> None:
    """Return once something answers, with `status` if that matters."""
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            answer.read()
            if status in {None, answer.status}:
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        _check_alive(process, folder, deadline)


def _check_alive(process: subprocess.Popen[bytes], folder: Path, deadline: float) -> None:
    code = process.poll()
    if code is not None or time.monotonic() > deadline:
        what = f"does not answer within {START_TIMEOUT_S:.0f} s" if code is None else f"ended with exit code {code}"
        command = " ".join(map(str, process.args))  # type: ignore[arg-type]  # a list, as we gave it
        raise BenchmarkError(f"{command} {what}: {last_lines(folder, 1)}")
    time.sleep(_POLL_S)


def last_lines(folder: Path, count: int) -> str:
    """Return the end of what a process said whose output is in `folder`."""
    lines = (folder / LOG_NAME).read_text(errors="replace").strip().splitlines() or ["it said nothing"]
    return "\n".join(lines[-count:])


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


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

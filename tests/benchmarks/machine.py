"""The machine: who runs on which core, and what the figures were measured on.

The contestant has a core to itself. The load generator runs on another, and so does PostgreSQL (on a third
core where there is one, else on the load's): its work must not be counted as, or take time from, the
contestant's. A child inherits its parent's core, so this process moves before it starts one.
"""

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.benchmarks.errors import SetupError

LIBRARIES: Final = ("uvicorn", "uvloop", "httptools", "litestar", "msgspec", "sqlalchemy", "asyncpg")


QUIET_LOAD: Final = 0.5
"""The load average of a machine that does nothing else is below it."""


class Cores(Struct, frozen=True):
    """Which core is whose."""

    server: int
    second_worker: int
    """Of the contestant that has two."""
    database: int
    load: int


class Machine(Struct, frozen=True):
    """What the figures depend on."""

    cpu: str
    cores: int
    memory_gib: int
    kernel: str
    python: str
    file_system: str
    libraries: dict[str, str]


def cores_of_machine() -> Cores:
    """Share out the cores that this process may use; raise SetupError if it is only one."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) == 1:
        raise SetupError("two cores are needed: one for the contestant, one for the load")
    return Cores(
        server=usable[0],
        second_worker=usable[1],
        database=usable[-2] if len(usable) > 2 else usable[-1],
        load=usable[-1],
    )


def move_to(cores: Iterable[int], pid: int = 0) -> None:
    """Pin a process (0: this one) and what it starts from now on."""
    os.sched_setaffinity(pid, cores)


def busy_warning() -> str | None:
    """Return what is to be said of a machine that does something else as well."""
    load = os.getloadavg()[0]
    if load <= QUIET_LOAD:
        return None
    return f"something else runs here (load average {load:.1f}): the figures will move from round to round"


def find_wrk() -> str:
    """Return the path of wrk, or raise SetupError that says how to install it."""
    if path := shutil.which("wrk"):
        return path
    raise SetupError("wrk is not installed; it sends the load. Install it: apt-get install wrk (or: dnf install wrk)")


def find_git() -> str:
    """Return the path of Git, or raise SetupError that says how to install it."""
    if path := shutil.which("git"):
        return path
    raise SetupError("git is not installed; it has the commit to compare with. Install it: apt-get install git")


def describe(folder: Path) -> Machine:
    """Describe this machine, and the file system of `folder`, where journals and PostgreSQL write."""
    return Machine(
        cpu=_field("/proc/cpuinfo", "model name"),
        cores=os.cpu_count() or 1,
        memory_gib=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30,
        kernel=platform.release(),
        python=platform.python_version(),
        file_system=_file_system(folder),
        libraries={name: importlib.metadata.version(name) for name in LIBRARIES},
    )


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(name):
            return line.partition(":")[2].strip()
    return platform.machine()


def _file_system(folder: Path) -> str:
    """Return its type; on tmpfs a sync costs nothing, and the `fsync` level looks too good."""
    stat = shutil.which("stat")
    if stat is None:
        return "unknown"
    done = subprocess.run([stat, "-f", "-c", "%T", folder], capture_output=True, text=True, check=False, timeout=10)
    return done.stdout.strip() or "unknown"

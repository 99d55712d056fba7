"""Processes of Tracker that are forked from one that has the imports behind it.

A start from nothing costs a second of CPU, most of it imports, and the tests start Tracker some 500 times. What runs is
the same command, with arguments, environment and streams of its own. That it starts from nothing too is shown where
Tracker is stopped in its first moments, where it is attacked, and by every process that a supervisor starts.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from multiprocessing import reduction
from pathlib import Path
from typing import IO, Final, Protocol

from tracker.__main__ import main
from tracker.cli.registry import COMMANDS

_LOADED_LATER: Final = [
    "alembic.command",
    "sqlalchemy.dialects.postgresql.asyncpg",
    "tracker.postgres.embedded",
    "tracker.jobs.consumer",
    "tracker.telemetry.logs",
    "tracker.runtime.supervisor",
]
"""By no module of a command, but by many calls of one."""

_FORKS: Final = multiprocessing.get_context("forkserver")
_COMMANDS: Final = {where.partition(":")[0] for where in COMMANDS.values()}
# `__main__` is pytest, if there is no xdist: multiprocessing loads it in every child that has not got it.
_FORKS.set_forkserver_preload(["__main__", *sorted(_COMMANDS), *_LOADED_LATER, "tests.support.frozen"])


class _Duplicate(Protocol):
    def detach(self) -> int: ...


class _Descriptor:
    """A file descriptor that the new process gets a duplicate of."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __getstate__(self) -> object:
        return reduction.DupFd(self.number)

    def __setstate__(self, duplicate: _Duplicate) -> None:
        self.number = duplicate.detach()


class Forked:
    """A running `tracker` command, with the methods of `subprocess.Popen` that tests need."""

    def __init__(self, *arguments: str, env: Mapping[str, str], cwd: Path, stdout: int, stderr: int = 2) -> None:
        streams = _Descriptor(stdout), _Descriptor(stderr)
        self._process = _FORKS.Process(target=_run, args=(arguments, dict(env), cwd, *streams), daemon=True)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> int:
        """Return the exit code; raise TimeoutExpired if there is none in time."""
        self._process.join(timeout_s)
        code = self.poll()
        if code is None:
            raise subprocess.TimeoutExpired("tracker", timeout_s or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        with contextlib.suppress(ProcessLookupError):  # the forkserver has heard of its end before us
            if self.poll() is None:
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def forked(*arguments: str, env: Mapping[str, str], cwd: Path, stderr: int = 2) -> tuple[Forked, IO[str]]:
    """Start a `tracker` command; return it with what it will say."""
    reader, writer = os.pipe()
    try:
        process = Forked(*arguments, env=env, cwd=cwd, stdout=writer, stderr=stderr)
    finally:
        os.close(writer)
    return process, os.fdopen(reader, encoding="utf-8")


def _run(
    arguments: tuple[str, ...],
    env: dict[str, str],
    cwd: Path,
    stdout: _Descriptor,
    stderr: _Descriptor,
) -> None:
    for stream, number in ((stdout, 1), (stderr, 2)):
        os.dup2(stream.number, number)
        os.close(stream.number)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    sys.argv = ["tracker", *arguments]
    main()

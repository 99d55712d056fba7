"""Several workers on one listening socket: start them, replace the ones that die, stop them all.

A worker is the command `tracker serve-worker` with the socket as an inherited file descriptor. The
kernel ends it when the supervisor dies, so that `kill -9` leaves nothing behind.
"""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Final

from tracker.errors import LostItemsError
from tracker.kit.backoff import full_jitter_s
from tracker.kit.child_process import end_with_parent

BACKOFF_BASE_S: Final = 0.25
BACKOFF_CAP_S: Final = 15.0
"""Longest delay in seconds before a worker that died is replaced, with full jitter; it keeps a worker that cannot start
from being started without pause."""

HEALTHY_S: Final = 60.0
"""Seconds after which a worker counts as healthy: when it dies later, earlier failures do not lengthen the delay."""

STOP_TIMEOUT_S: Final = 15.0
"""Seconds that the workers have to stop in order, which takes them 12 s at most; then they are killed."""

IN_ORDER: Final = {0, 128 + signal.SIGTERM, -signal.SIGTERM}
"""Exit codes of a worker that has stopped in order: 0, or one of the others if it was still starting."""

POLL_S: Final = 0.1

logger = logging.getLogger(__name__)


class _Worker:
    """A place for a process, which is filled again when it dies."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self._started_at_s = time.monotonic()
        self._failures = 0
        self._restart_at_s: float | None = None
        self.process = start()

    def look(self) -> None:
        """Replace the process if it has died, after a delay that grows with every failure."""
        if self.process.poll() is None:
            return
        now_s = time.monotonic()
        if self._restart_at_s is None:
            self._failures = 0 if now_s - self._started_at_s > HEALTHY_S else self._failures + 1
            self._restart_at_s = now_s + full_jitter_s(self._failures, BACKOFF_BASE_S, BACKOFF_CAP_S)
            fields = {"worker_pid": self.process.pid, "exit_code": self.process.returncode}
            logger.error("a worker process has ended and is replaced", extra=fields)
        elif now_s >= self._restart_at_s:
            self._restart_at_s = None
            self._started_at_s = now_s
            self.process = self._start()


class Supervisor:
    """Keeps `workers` processes alive until SIGINT or SIGTERM."""

    def __init__(self, listener: socket.socket, *, workers: int, environ: dict[str, str]) -> None:
        self._listener = listener
        self._count = workers
        self._environ = environ
        self._stopping = False

    def run(self) -> None:
        """Run the workers until they are told to stop; raise LostItemsError unless all stopped in order."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        workers = [_Worker(self._start) for _ in range(self._count)]
        while not self._stopping:
            time.sleep(POLL_S)
            for worker in workers:
                worker.look()
        # One that died before was reported then, and what it left waits for the next start.
        codes = self._end([worker.process for worker in workers if worker.process.poll() is None])
        if not IN_ORDER.issuperset(codes):
            raise LostItemsError(f"not every worker stopped in order (exit codes: {', '.join(map(str, codes))})")

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        self._stopping = True

    def _start(self) -> subprocess.Popen[bytes]:
        descriptor = self._listener.fileno()
        return subprocess.Popen(
            [sys.executable, "-m", "tracker", "serve-worker", "--fd", str(descriptor)],
            env=self._environ,
            pass_fds=[descriptor],
            process_group=0,
            preexec_fn=end_with_parent(os.getpid(), signal.SIGTERM),  # noqa: PLW1509  # this process has one thread
        )

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> list[int]:
        deadline_s = time.monotonic() + STOP_TIMEOUT_S
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(max(0.0, deadline_s - time.monotonic()))
            except subprocess.TimeoutExpired:
                fields = {"worker_pid": process.pid, "timeout_s": STOP_TIMEOUT_S}
                logger.error("a worker process did not stop in time and is killed", extra=fields)  # noqa: TRY400  # the trace says nothing
                process.kill()
                process.wait()
        return [process.returncode for process in processes]

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
from types import FrameType
from typing import Final

from tracker.process import end_with_parent

RESTART_DELAY_S: Final = 0.5
"""Before a dead worker is replaced, so that one that cannot start does not spin."""

STOP_TIMEOUT_S: Final = 10.0
"""For the workers to stop in order; then they are killed."""

POLL_S: Final = 0.1

logger = logging.getLogger(__name__)


class Supervisor:
    """Keeps `workers` processes alive until SIGINT or SIGTERM."""

    def __init__(self, listener: socket.socket, *, workers: int, environ: dict[str, str]) -> None:
        self._listener = listener
        self._workers = workers
        self._environ = environ
        self._stopping = False

    def run(self) -> None:
        """Run the workers; return when all of them have stopped."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        processes = [self._start() for _ in range(self._workers)]
        while not self._stopping:
            time.sleep(POLL_S)
            for index, process in enumerate(processes):
                if process.poll() is not None and not self._stopping:
                    logger.error("worker process %d ended with %d; replaced", process.pid, process.returncode)
                    time.sleep(RESTART_DELAY_S)
                    processes[index] = self._start()
        self._end(processes)

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

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                logger.error("worker process %d did not stop in %.0f s; killed", process.pid, STOP_TIMEOUT_S)  # noqa: TRY400  # the trace says nothing
                process.kill()
                process.wait()

"""Runs a command beside a load of four times the cores: what depends on a quiet machine shows itself.

    python -m tests.support.busy pytest -m "not slow"

The load is processes that do nothing but count, which the kernel gives the same part of the cores as any other. They
end with the command, and with this process, whatever happens to it.
"""

import os
import signal
import subprocess
import sys

from tracker.kit.child_process import end_with_parent

TIMES_THE_CORES = 4


def main(command: list[str]) -> int:
    """Run a command and return its exit code."""
    count = TIMES_THE_CORES * len(os.sched_getaffinity(0))
    counting = [sys.executable, "-c", "while True: pass"]
    with_us = end_with_parent(os.getpid(), signal.SIGKILL)
    load = [subprocess.Popen(counting, preexec_fn=with_us) for _ in range(count)]  # noqa: PLW1509  # one thread
    try:
        return subprocess.call(command)
    finally:
        for process in load:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

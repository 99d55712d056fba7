"""The way in, for the `tracker` command and for `python -m tracker`.

A stop must work from the first moment on. As process 1 of a container a program gets no signal that
it has no handler for, and imports are half of a start: without a handler set before them, a stop in
the first second was lost and the container was killed ten seconds later.
"""

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def main() -> None:
    """Run the `tracker` command."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _stop)
    from tracker.kit.loading import loading  # noqa: PLC0415  # after the handler is set

    with loading():
        from tracker.cli.registry import main as command  # noqa: PLC0415

    try:
        command(prog_name="tracker")
    except SystemExit as end:
        _end(end.code)


def _end(code: object) -> NoReturn:
    """End the process, without the last moments of its interpreter.

    A thread of obstore's that wants the interpreter then aborts the process: exit code 134 instead of ours, once in
    twenty ends on a busy machine.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):  # whoever read it is gone
            stream.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _stop(number: int, _frame: FrameType | None) -> None:
    # Not by an exception, which could come up in a place that swallows it. Nothing is in hand yet, and
    # the kernel ends an embedded PostgreSQL in order when its parent is gone.
    os._exit(128 + number)


if __name__ == "__main__":
    main()

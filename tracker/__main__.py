"""The way in, for the `tracker` command and for `python -m tracker`.

A stop must work from the first moment on. As process 1 of a container a program gets no signal that
it has no handler for, and the imports behind `tracker.cli` are half of a start: without a handler set
before them, a stop in the first second was lost and the container was killed ten seconds later.
"""

import signal
import sys
from types import FrameType


def main() -> None:
    """Run the `tracker` command."""
    signal.signal(signal.SIGTERM, _stop)
    from tracker.cli import main as command  # noqa: PLC0415  # after the handler is set

    command()


def _stop(_signal: int, _frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # what ends in order now must not be cut short
    sys.exit(128 + signal.SIGTERM)


if __name__ == "__main__":
    main()

"""What the commands have in common: what they print, and how they end."""

import signal
from collections.abc import Callable

from tests.benchmarks.errors import BenchmarkError, SetupError


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)  # noqa: T201  # the command's output


def exit_code_of(name: str, run: Callable[[], bool]) -> int:
    """Return 0, or 1 if `run` says that something failed or raises that, 2 if something must be installed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends what was started, as Ctrl-C does
    try:
        return 0 if run() else 1
    except SetupError as error:
        say(f"{name}: {error}")
        return 2
    except BenchmarkError as error:
        say(f"{name}: {error}")
        return 1
    except KeyboardInterrupt:
        return 130

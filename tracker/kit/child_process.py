"""Child processes that never outlive their parent."""

import ctypes
import os
import signal
import sys
from collections.abc import Callable
from typing import Final

from tracker.errors import ConfigurationError

PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal this process gets when the thread that started it ends."""


def end_with_parent(parent: int, number: signal.Signals) -> Callable[[], None]:
    """Return a `preexec_fn` that has the kernel send `number` to the child when `parent` dies.

    Raises ConfigurationError on a system other than Linux, whose kernels cannot.
    """
    if sys.platform != "linux":
        msg = "this needs Linux; elsewhere run one worker with a DATABASE_URL"
        raise ConfigurationError(msg)
    prctl = ctypes.CDLL(None).prctl

    def in_child() -> None:
        failed = prctl(PR_SET_PDEATHSIG, number)
        if failed or os.getppid() != parent:  # it died before the kernel was asked
            os._exit(1)

    return in_child

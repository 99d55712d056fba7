"""Waiting until something is so, for as long as a busy machine may need."""

import time
from collections.abc import Callable
from typing import Final, TypeVar

TIMEOUT_S: Final = 60.0
_PAUSE_S: Final = 0.02

_T = TypeVar("_T")


def wait_until(is_so: Callable[[], _T], timeout_s: float = TIMEOUT_S, what: str | Callable[[], str] = "so") -> _T:
    """Return what `is_so` returns, once that is true; fail with `what`, a text or a function that makes it then."""
    deadline_s = time.monotonic() + timeout_s
    while not (found := is_so()):
        if time.monotonic() >= deadline_s:
            text = what if isinstance(what, str) else what()
            raise AssertionError(f"not within {timeout_s:g} s: {text}")
        time.sleep(_PAUSE_S)
    return found

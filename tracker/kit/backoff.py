"""Random waits, so that many processes which failed at one moment do not come back at one moment.

The terms are those of "Exponential Backoff And Jitter" (AWS Architecture Blog): the longest wait doubles with each
failure up to a cap, and with full jitter the wait itself is anything from zero to that.
"""

import random
from typing import Final

MAX_DOUBLINGS: Final = 16
"""Number of failures after which the longest wait no longer doubles, so that the power stays a small number."""


def longest_s(failures: int, base_s: float, cap_s: float) -> float:
    """Return the longest wait in seconds after so many failures: `base_s` doubled by each, at most `cap_s`."""
    return min(cap_s, base_s * 2.0 ** min(failures, MAX_DOUBLINGS))


def full_jitter_s(failures: int, base_s: float, cap_s: float) -> float:
    """Return the seconds to wait after so many failures: anything from zero to `longest_s`."""
    return between_s(0, longest_s(failures, base_s, cap_s))


def about_s(mean_s: float) -> float:
    """Return the seconds of a wait that takes `mean_s` on average, from half of it to half as much again."""
    return between_s(mean_s / 2, mean_s * 3 / 2)


def between_s(shortest_s: float, longest_s: float) -> float:
    """Return the seconds of a wait that takes from `shortest_s` to `longest_s`, all equally likely."""
    return random.uniform(shortest_s, longest_s)  # noqa: S311  # it keeps processes apart, and is no secret

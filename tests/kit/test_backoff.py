"""Waits grow with each failure up to their cap, and are spread over all of the time that they may take."""

from collections.abc import Callable

import pytest

from tracker.kit.backoff import about_s, between_s, full_jitter_s, longest_s

WAITS = 2000


@pytest.mark.parametrize(
    ("failures", "longest"), [(0, 0.25), (1, 0.5), (2, 1.0), (5, 8.0), (6, 15.0), (7, 15.0), (10**9, 15.0)]
)
def test_the_longest_wait_doubles_with_each_failure_up_to_the_cap(failures: int, longest: float) -> None:
    assert longest_s(failures, 0.25, 15.0) == longest


@pytest.mark.parametrize(
    ("wait", "shortest", "longest"),
    [
        (lambda: full_jitter_s(3, 0.5, 60.0), 0.0, 4.0),
        (lambda: full_jitter_s(30, 0.5, 60.0), 0.0, 60.0),
        (lambda: about_s(10.0), 5.0, 15.0),
        (lambda: between_s(30.0, 90.0), 30.0, 90.0),
    ],
)
def test_a_wait_is_anywhere_between_its_bounds(wait: Callable[[], float], shortest: float, longest: float) -> None:
    waits_s = [wait() for _ in range(WAITS)]
    tenth = (longest - shortest) / 10
    assert shortest <= min(waits_s) < shortest + tenth
    assert longest - tenth < max(waits_s) <= longest
    assert abs(sum(waits_s) / WAITS - (shortest + longest) / 2) < tenth

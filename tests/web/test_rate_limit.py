import tracemalloc
from collections import defaultdict
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.clock import ManualClock
from tracker.errors import RateLimitedError
from tracker.web.rate_limit import NO_ADDRESS, WINDOW_S, RateLimit, RateLimits, address_key

LIMITS = {rate: RateLimit(rate) for rate in (1, 3, 7, 100)}
"""Each is 4 MiB, so all examples share them; they begin where the one before has ended."""

_ended_s = dict.fromkeys(LIMITS, 0.0)


@given(
    rate=st.sampled_from(sorted(LIMITS)),
    requests=st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0] * 5 + [0.01, 0.3, 2.0, 30.0]))),
    crowd=st.integers(0, 120),
)
def test_a_key_gets_its_burst_and_its_rate_and_no_more(
    rate: int, requests: list[tuple[str, float]], crowd: int
) -> None:
    limit = LIMITS[rate]
    now_s = start_s = _ended_s[rate] + 2 * WINDOW_S
    taken: defaultdict[str, list[float]] = defaultdict(list)
    refused: defaultdict[str, list[float]] = defaultdict(list)
    for key, pause_s in [("a", 0.0)] * crowd + requests:
        now_s += pause_s
        (taken if limit.take(key, now_s) else refused)[key].append(now_s)
    _ended_s[rate] = now_s
    for times in taken.values():
        for first, since_s in enumerate(times):
            for last in range(first, len(times)):
                assert last - first + 1 <= rate * (WINDOW_S + times[last] - since_s) + 0.02
    for key, times in refused.items():
        for at_s in times:
            # Whoever is refused has had all that could come at once, and what came again since then.
            assert any(
                sum(since_s <= one <= at_s for one in taken[key]) + 1 > rate * (WINDOW_S + at_s - since_s) - 0.02
                for since_s in [start_s, *taken[key]]
            )


def test_the_whole_window_may_come_at_once_and_then_as_much_as_the_rate() -> None:
    limit = RateLimit(5)
    assert [limit.take("a", 100.0) for _ in range(5 * WINDOW_S + 1)] == [True] * 5 * WINDOW_S + [False]
    assert not limit.take("a", 100.09)
    assert limit.take("a", 100.2)
    assert not limit.take("a", 100.2)
    assert sum(limit.take("a", 1000.0) for _ in range(1000)) == 5 * WINDOW_S


@pytest.mark.parametrize("rate", [1, 3, 999, 100_000])
def test_the_burst_is_exact_late_in_the_life_of_a_machine(rate: int) -> None:
    limit = RateLimit(rate)
    now_s = 3e7  # a year after it was booted
    taken = sum(limit.take("a", now_s) for _ in range(rate * WINDOW_S + 100))
    assert taken == pytest.approx(rate * WINDOW_S, rel=1e-4, abs=0.1)


def test_what_is_refused_costs_nothing() -> None:
    limit = RateLimit(1)
    for _ in range(1000):
        limit.take("a", 0.0)
    assert [limit.take("a", now_s) for now_s in (0.9, 1.1, 1.2, 2.1)] == [False, True, False, True]


def test_a_flood_of_keys_takes_no_memory_frees_nobody_and_hits_nobody() -> None:
    limit = RateLimit(2)
    while limit.take("greedy", 0.0):
        pass
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        passed = sum(limit.take(f"2001:db8:{number:x}::", 0.0) for number in range(100_000))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 10_000
    assert not limit.take("greedy", 0.0)
    assert passed == 100_000
    assert all(limit.take(f"newcomer {number}", 0.0) for number in range(1000))


@pytest.mark.parametrize(
    "group",
    [
        ["203.0.113.7", "::ffff:203.0.113.7", "::FFFF:CB00:7107"],
        ["203.0.113.8"],
        ["2001:db8:1:2::7", "2001:db8:1:2:ffff:ffff:ffff:ffff", "2001:0DB8:1:2::", "2001:db8:1:2::1%eth0"],
        ["2001:db8:1:3::7"],
        ["::1", "::"],
        ["", "nobody", "203.0.113", "203.0.113.7, 1", "1.2.3.4\0", "2001:db8:::", "é", ":" * 5000, "\udcff:"],
    ],
)
def test_addresses_are_counted_by_ipv4_address_or_ipv6_network(group: list[str]) -> None:
    (key,) = {address_key(address) for address in group}
    assert (key == NO_ADDRESS) == ("" in group)


def test_different_addresses_are_counted_apart() -> None:
    keys = [address_key(a) for a in ["203.0.113.7", "203.0.113.8", "2001:db8:1:2::7", "2001:db8:1:3::7", "::1", "x"]]
    assert len(set(keys)) == len(keys)


def test_the_error_says_which_limit_it_was() -> None:
    clock = ManualClock()
    limits = RateLimits(clock, per_address=2, per_cart=1)
    for number in range(2 * WINDOW_S):
        limits.check_address("203.0.113.7")
        limits.check_cart(f"cart {number}")
    with pytest.raises(RateLimitedError, match="at most 2 a second, and 20 at once, are taken from one address"):
        limits.check_address("203.0.113.7")
    limits.check_address("203.0.113.8")
    for _ in range(WINDOW_S - 1):
        limits.check_cart("cart 0")
    with pytest.raises(RateLimitedError) as caught:
        limits.check_cart("cart 0")
    assert (caught.value.limit, caught.value.quota, caught.value.window_s) == ("cart", WINDOW_S, WINDOW_S)
    limits.check_cart("cart 1")
    clock.pass_by(1.0)
    limits.check_address("203.0.113.7")
    limits.check_cart("cart 0")


def test_who_waits_as_long_as_the_error_says_may_send_again() -> None:
    clock = ManualClock()
    limits = RateLimits(clock, per_address=1, per_cart=None)
    passed = []
    for _ in range(50):
        try:
            limits.check_address("203.0.113.7")
        except RateLimitedError as error:
            clock.pass_by(error.retry_after_s)
            limits.check_address("203.0.113.7")
            passed.append(clock.elapsed_s())
    assert all(later - earlier == pytest.approx(1) for earlier, later in pairwise(passed))
    assert len(passed) > 10


def test_without_rates_nothing_is_limited_and_nothing_kept() -> None:
    limits = RateLimits(ManualClock(), per_address=None, per_cart=None)
    assert not limits.is_on
    for _ in range(1000):
        limits.check_address("203.0.113.7")
        limits.check_cart("a")
    limits.check_cart(None)

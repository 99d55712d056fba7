"""Limits of the tracking requests from one address and for one cart: token buckets in memory of a fixed size.

Each bucket is one number, the time at which it will be full again (GCRA). A key has no bucket of its own: it has two of
a fixed number of slots, found by its hash, and of the two the earlier time counts (a count-min sketch). So

- a flood of addresses takes no memory and pushes nobody's bucket out, which a map with a bound would have to do;
- nobody gets more than the limit: what others do in a key's slots can only count against it;
- that happens by chance only to a key that shares both slots: with 1,000 addresses at their limits at a time, to 1
  client in 70,000, and nobody can aim at it, as Python seeds the hash anew in each process.

A check takes 0.25 µs, 0.1 more than a plain dict without any bound would.
"""

import socket
from array import array
from typing import Final

from tracker.errors import RateLimitedError
from tracker.kit.clock import Clock

WINDOW_S: Final = 10
"""Seconds whose requests may come all at once: a page that was offline, or an office behind one address, sends in
bursts."""

SLOTS: Final = 1 << 19
"""Number of slots of a limit, which take 4 MiB.

Strangers use up all at 260,000 requests/s (and a rate of 1), more than a worker answers.
"""

_SLOT_MASK: Final = SLOTS - 1
_SECOND_SLOT_SHIFT: Final = 20

_IPV6_NETWORK_BYTES: Final = 8
"""Length in bytes of the part of an IPv6 address that counts: a subscriber gets a /64, and may use any of it."""

_IPV4_IN_IPV6: Final = bytes(10) + b"\xff\xff"
"""First bytes of an IPv4 address as a socket for both IPv4 and IPv6 shows it."""

NO_ADDRESS: Final = b""
"""Key of all clients whose address is not a valid one, as behind a proxy that hands on what clients say about
themselves."""


class RateLimit:
    """Token buckets of one rate, by key."""

    __slots__ = ("_interval_s", "_most_ahead_s", "_slots")

    def __init__(self, per_s: int) -> None:
        """Let `per_s` requests a second pass for each key, and WINDOW_S times as many at once."""
        self._interval_s = 1 / per_s
        # With this one a bucket may be a window ahead; the hundredth is because sums of floats are not exact.
        self._most_ahead_s = WINDOW_S - self._interval_s * 0.99
        self._slots = array("d", bytes(8 * SLOTS))

    def take(self, key: str | bytes, now_s: float) -> bool:
        """Take a token of `key` at a time that only grows; return False, and take none, if there is none."""
        number = hash(key)
        first, second = number & _SLOT_MASK, number >> _SECOND_SLOT_SHIFT & _SLOT_MASK
        slots = self._slots
        full_s, other_s = slots[first], slots[second]
        due_s = full_s if full_s < other_s else other_s  # noqa: FURB136  # min() takes 0.07 µs longer
        if due_s < now_s:
            due_s = now_s
        elif due_s - now_s > self._most_ahead_s:
            return False
        due_s += self._interval_s
        # Never back: the slot may be further ahead for another key.
        if full_s < due_s:
            slots[first] = due_s
        if other_s < due_s:
            slots[second] = due_s
        return True


class RateLimits:
    """The limits of one worker."""

    def __init__(self, clock: Clock, *, per_address: int | None, per_cart: int | None) -> None:
        """Take the allowed requests a second from an address and for a cart; None means no limit."""
        self._now_s = clock.elapsed_s
        self._addresses = None if per_address is None else RateLimit(per_address)
        self._carts = None if per_cart is None else RateLimit(per_cart)
        self._per_address = per_address or 0
        self._per_cart = per_cart or 0

    @property
    def is_on(self) -> bool:
        """Whether there is any limit."""
        return self._addresses is not None or self._carts is not None

    def check(self, address: bytes | None, cart_id: str | None) -> None:
        """Count a request from an address (its key) for a cart; None counts nowhere.

        Raises RateLimitedError if one of the two may not have it now; an address that may has spent it all the same.
        """
        now_s = self._now_s()
        if address is not None and self._addresses is not None and not self._addresses.take(address, now_s):
            raise _error("address", self._per_address)
        if cart_id is not None and self._carts is not None and not self._carts.take(cart_id, now_s):
            raise _error("cart", self._per_cart)

    def check_address(self, address: str) -> None:
        """Count a request from an address; raise RateLimitedError if it may not send one now."""
        self.check(address_key(address), None)

    def check_cart(self, cart_id: str | None) -> None:
        """Count a request for a cart (None: a new one); raise RateLimitedError if it may not get one now."""
        self.check(None, cart_id)


def _error(limit: str, per_s: int) -> RateLimitedError:
    return RateLimitedError(limit, quota=per_s * WINDOW_S, window_s=WINDOW_S)


def address_key(address: str) -> bytes:
    """Return the key under which an address is counted: IPv4 by itself, also inside IPv6, and IPv6 by its /64."""
    try:
        if ":" not in address:
            return socket.inet_pton(socket.AF_INET, address)
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except (OSError, ValueError):
        return NO_ADDRESS
    if packed.startswith(_IPV4_IN_IPV6):
        return packed[len(_IPV4_IN_IPV6) :]
    return packed[:_IPV6_NETWORK_BYTES]

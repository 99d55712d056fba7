"""Interface between the connection and the fast lane: the bare parts of a request, and the bytes of a reply."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import lru_cache
from typing import Final, NamedTuple, Protocol

from tracker.kit.confirmation import Confirmation
from tracker.web.rate_limit import address_key

MAX_KEPT_BYTES: Final = 128
"""Longest X-Forwarded-For, in bytes, whose client is kept in the cache; two addresses are shorter."""

Headers = Sequence[tuple[bytes, bytes]]
"""Headers of a request: pairs of a name in small letters and a value."""

Reply = tuple[int, bytes]
"""Status of an answer, and what follows the server's own headers: header lines, the empty line, the body."""


class PendingReply(NamedTuple):
    """A reply that waits for something."""

    confirmation: Confirmation
    reply: Callable[[str | None], Reply]
    """Function that returns the reply for what the confirmation says."""


Answerer = Callable[[bytes], Reply | PendingReply | None]
"""Function that returns the reply to a request with this body, or None if the application must answer."""


class Proxies(Hashable, Protocol):
    """Trusted proxies, whose X-Forwarded-For is believed.

    The object is uvicorn's own, so that the application finds the same client.
    """

    def get_trusted_client_address(self, x_forwarded_for: str) -> tuple[str, int]:
        """Return the right-most address of X-Forwarded-For that is not that of a trusted proxy, and its port."""
        ...


class Peer:
    """The other end of a connection: a client or a trusted proxy."""

    __slots__ = ("key", "proxies", "secure")

    def __init__(self, address: str, *, secure: bool, proxies: Proxies | None = None) -> None:
        """Take its address (empty if it has none), whether it talks https, and `proxies` if it is one of them."""
        self.key: Final = address_key(address)
        self.secure: Final = secure
        self.proxies: Final = proxies

    def key_of_client(self, forwarded: bytes) -> bytes:
        """Return the key under which a request's client is counted; `forwarded` is the request's X-Forwarded-For."""
        if self.proxies is None or not forwarded:
            return self.key
        find = _key_of_forwarded if len(forwarded) > MAX_KEPT_BYTES else _kept_key_of_forwarded
        key = find(self.proxies, forwarded)
        return self.key if key is None else key


def _key_of_forwarded(proxies: Proxies, forwarded: bytes) -> bytes | None:
    address, _ = proxies.get_trusted_client_address(forwarded.decode("latin-1"))
    return address_key(address) if address else None


# 0.1 µs for who comes back, instead of 1
_kept_key_of_forwarded: Final = lru_cache(maxsize=4096)(_key_of_forwarded)


FastLane = Callable[[Headers, Peer], Answerer | None]
"""Function that returns what answers a POST with these headers from its body; None if the application must."""

FastLanes = Mapping[bytes, FastLane]
"""The fast lanes of a process, each by the path of its requests."""

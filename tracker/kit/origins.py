"""Lists of pages that may call Tracker from a browser, and of Tracker's host names; exact, and checked at the start.

No `*` and no pattern of origins is allowed: a listed page may act with a shopper's cookies. `null` is not allowed
either: a browser sends it for every sandboxed frame and local file, so it identifies nobody.
"""

import re
from functools import lru_cache
from typing import Final, Self

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""HTTP methods that change nothing, so that any page may make a browser send them."""

MAX_HOST_BYTES: Final = 261
"""Longest Host header that is looked at, in bytes: a DNS name of 255 bytes and a port."""

_NAME: Final = r"(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*"
_ADDRESS: Final = r"\[[0-9a-f:.]+\]"
_ORIGIN: Final = re.compile(rf"(https?)://(?:{_NAME}|{_ADDRESS})(?::([1-9][0-9]{{0,4}}))?")
_HOST: Final = re.compile(rf"(?:\*\.)?{_NAME}|{_ADDRESS}")
_BELOW: Final = re.compile(r"[a-z0-9_-]+(?:\.[a-z0-9_-]+)*")  # no `@` or `:`, which end a user and a host in an address
_PORT: Final = re.compile(rb":[0-9]*\Z")

_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Origins(frozenset[str]):
    """Origins of pages, as browsers spell them."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Read origins from `text`, separated by commas; raise ValueError that names the part that is no origin."""
        found = _parts(text)
        for origin in found:
            match = _ORIGIN.fullmatch(origin)
            if match is None or int(match[2] or 0) > 65_535:  # noqa: PLR2004  # the last port
                msg = f"{origin!r} is no origin like https://shop.example (small letters, no path, no *)"
                raise ValueError(msg)
            if match[2] == _DEFAULT_PORTS[match[1]]:
                msg = f"{origin!r} must be without its port: browsers leave the default one away"
                raise ValueError(msg)
        return super().__new__(cls, found)


class Hosts(frozenset[str]):
    """Names of hosts without ports; `*.shop.example` means every name below shop.example, not shop.example itself."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Read host names from `text`, separated by commas; raise ValueError that names the part that is no host."""
        found = _parts(text)
        for host in found:
            if not _HOST.fullmatch(host):
                msg = f"{host!r} is no host like shop.example or *.shop.example (small letters, no port)"
                raise ValueError(msg)
        return super().__new__(cls, found)

    def allows(self, header: bytes) -> bool:
        """Return whether a Host header names one of these hosts, with any port."""
        return len(header) <= MAX_HOST_BYTES and _allows(self, header)


@lru_cache(maxsize=1024)  # a service has few names; one lookup instead of 1.5 µs
def _allows(hosts: Hosts, header: bytes) -> bool:
    name = _PORT.sub(b"", header).decode("latin-1").lower()
    if name in hosts:
        return True
    below = name.partition(".")[2]
    while below:
        if f"*.{below}" in hosts:
            return _BELOW.fullmatch(name) is not None
        below = below.partition(".")[2]
    return False


def _parts(text: str) -> list[str]:
    parts = [part for part in map(str.strip, text.split(",")) if part]
    if not parts:
        raise ValueError("it names none")
    return parts

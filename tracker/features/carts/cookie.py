"""The `cart_id` cookie: how a browser keeps its cart for 72 hours.

A browser may send several cookies of one name (of other paths, partitioned and not), so every one
is looked at and the first valid UUID wins; Litestar's parser keeps only the last.
"""

import re
from collections.abc import Iterable
from typing import Final

from tracker.ingest.items import CartId

MAX_AGE_S: Final = 72 * 60 * 60
"""Seconds for which a browser keeps a cart: 72 hours."""

_HEX: Final = "[0-9a-fA-F]"
_CART_ID: Final = re.compile(
    rf'(?:^|;)\s*cart_id="?({_HEX}{{8}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{4}}-{_HEX}{{12}})"?\s*(?:;|$)'.encode()
)


def cart_id_in_cookie(value: bytes) -> CartId | None:
    """Return the first valid cart id in a Cookie header, or None."""
    match = _CART_ID.search(value)
    return None if match is None else CartId(match[1].decode("ascii").lower())


def cart_id_of_cookie(headers: Iterable[tuple[bytes, bytes]]) -> CartId | None:
    """Return the first valid cart id among the cookies of an ASGI request, or None."""
    for name, value in headers:
        if name == b"cookie" and (cart_id := cart_id_in_cookie(value)):
            return cart_id
    return None


def set_cookie_header(cart_id: CartId, *, secure: bool) -> str:
    """Return the value of the Set-Cookie header for a cart.

    Over https the cookie is meant for a third party's page, each site with a jar of its own
    (`SameSite=None; Partitioned`, which needs `Secure`); over plain http it still works on localhost.
    """
    return _header(cart_id, MAX_AGE_S, secure=secure)


def drop_cookie_header(*, secure: bool) -> str:
    """Return the value of the Set-Cookie header that takes the cart from a browser.

    It has the attributes that the cookie was set with, or the browser would take it for another cookie.
    """
    return _header("", 0, secure=secure)


def _header(value: str, max_age_s: int, *, secure: bool) -> str:
    scope = "Secure; SameSite=None; Partitioned" if secure else "SameSite=Lax"
    return f"cart_id={value}; Max-Age={max_age_s}; Path=/; HttpOnly; {scope}"

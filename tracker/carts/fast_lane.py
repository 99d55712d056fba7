"""Answers the plain case of the tracking routes as soon as its last byte is here.

A well-formed POST of an item is what nearly every request is. Through uvicorn's task for each request,
Litestar's request objects, DTO backend and response building it costs several times what the work itself
does. So the connection (`tracker.protocol`) asks here first, with the bare parts of the request, and
hands on to Litestar, untouched, whatever this does not answer. There are no rules of its own: the bodies
are the routes' DTO types, the cookie, the acceptance and the problems are the routes' functions. A
request that breaks a rule is not answered at all: the route says what is wrong.

A test sends the same requests through both ways and finds no difference in a single byte.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from tracker.carts.cookie import cart_id_in_cookie, set_cookie_header
from tracker.carts.domain import CartId, new_cart_id, parse_cart_id
from tracker.carts.dto import ItemIn, ProductIn
from tracker.carts.service import CartService
from tracker.errors import TrackerError, UnavailableError, UnconfirmedError
from tracker.http import PROBLEM_MEDIA_TYPE, problem
from tracker.lane import Answerer, Later, Reply

PLAIN_CONTENT_TYPES: Final = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"text/plain", b"text/plain;charset=UTF-8"}
)
"""As clients spell them; any other spelling is for the route."""

PLAIN_LENGTH_DIGITS: Final = 4
"""Of a plain body's Content-Length: it is held until it is whole, and a large one may be refused before."""

PLAIN_SCHEMES: Final = frozenset({b"http", b"https"})

_NO_CONTENT: Final[Reply] = (204, b"\r\n")

_decode_item = msgspec.json.Decoder(ItemIn).decode
_decode_product = msgspec.json.Decoder(ProductIn).decode


class FastLane:
    """Who answers a request before Litestar would."""

    def __init__(self, carts: Callable[[], CartService]) -> None:
        """Take the service from `carts`, once the first request is here."""
        self._find_carts = carts
        self._carts: CartService | None = None
        self._lanes: Final = {b"/item": self._item, b"/items": self._product, b"/api/v1/items": self._product}

    def begin(
        self, url: bytes, headers: Sequence[tuple[bytes, bytes]], *, secure: bool, trusted: bool
    ) -> Answerer | None:
        """Do what `tracker.lane.Lane` says."""
        lane = self._lanes.get(url)
        if lane is None:
            return None
        cart_id = None
        for name, value in headers:
            if name == b"cookie":
                cart_id = cart_id or cart_id_in_cookie(value)
            elif (
                (name == b"content-type" and value not in PLAIN_CONTENT_TYPES)
                or (name == b"content-length" and len(value) > PLAIN_LENGTH_DIGITS)
                or name == b"transfer-encoding"
            ):
                return None
            elif name == b"x-forwarded-proto" and trusted:
                if value not in PLAIN_SCHEMES:
                    return None
                secure = value == b"https"
        return partial(lane, self._carts or self._service(), cart_id, secure)

    def _service(self) -> CartService:
        self._carts = self._find_carts()
        return self._carts

    @staticmethod
    def _item(carts: CartService, cart_id: CartId | None, secure: bool, body: bytes) -> Reply | Later | None:  # noqa: FBT001  # of a partial
        """Do what `routes.add_item` does, or return None to have it done there."""
        cart = cart_id or new_cart_id()
        try:
            item = _decode_item(body)
            confirmation = carts.take(cart, item.external_id, item.name, item.value, item.quantity)
        except UnavailableError as error:
            return _unavailable(error)
        except (TrackerError, ValueError, RecursionError):
            return None
        reply = _NO_CONTENT if cart_id is not None else (204, _set_cookie(cart, secure=secure) + b"\r\n")
        if confirmation is None:
            return reply
        return Later(confirmation, partial(_confirmed, reply, cart, secure))

    @staticmethod
    def _product(carts: CartService, cart_id: CartId | None, secure: bool, body: bytes) -> Reply | Later | None:  # noqa: FBT001  # of a partial
        """Do what `routes.add_product` does, or return None to have it done there."""
        try:
            product = _decode_product(body)
            cart = cart_id or parse_cart_id(product.cart_id_text) or new_cart_id()
            confirmation = carts.take(cart, product.external_id, product.name, product.price, product.quantity)
        except UnavailableError as error:
            return _unavailable(error)
        except (TrackerError, ValueError, RecursionError):
            return None
        # As `CartRef` is encoded: a cart id needs no escaping.
        body = b'{"cart_id":"%b"}' % cart.encode()
        reply = _reply(200, b"application/json", body, _set_cookie(cart, secure=secure))
        if confirmation is None:
            return reply
        return Later(confirmation, partial(_confirmed, reply, cart, secure))


def _confirmed(reply: Reply, cart: CartId, secure: bool, reason: str | None) -> Reply:  # noqa: FBT001  # of a partial
    """Return `reply`, or the 503 that says for what `reason` it cannot be given."""
    if reason is None:
        return reply
    return _unavailable(UnconfirmedError(cart, reason), _set_cookie(cart, secure=secure))


def _unavailable(error: UnavailableError, more: bytes = b"") -> Reply:
    headers = b"retry-after: %d\r\n" % error.retry_after_s + more
    return _reply(503, PROBLEM_MEDIA_TYPE.encode(), msgspec.json.encode(problem(503, str(error))), headers)


def _reply(status: int, media_type: bytes, body: bytes, headers: bytes) -> Reply:
    return status, b"%bcontent-type: %b\r\ncontent-length: %d\r\n\r\n%b" % (headers, media_type, len(body), body)


def _set_cookie(cart_id: CartId, *, secure: bool) -> bytes:
    return b"set-cookie: %b\r\n" % set_cookie_header(cart_id, secure=secure).encode()

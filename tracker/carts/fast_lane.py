"""Answers the plain case of the tracking routes before Litestar begins to work on it.

A well-formed POST of an item is what nearly every request is, and Litestar's request objects, DTO
backend and response building cost it several times what the work itself does. So this ASGI
application stands in front of Litestar's: it takes the requests that are plain in every respect and
hands on all others, untouched. It has no rules of its own: the bodies are the routes' DTO types, the
cookie, the acceptance and the answers are the routes' functions. What it cannot answer with success
it does not answer at all: the route says what is wrong.

A test sends the same requests through both ways and finds no difference.
"""

from collections.abc import Callable
from typing import Final

import msgspec
from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import Message, Receive, ReceiveMessage, Scope, Send

from tracker.carts.cookie import cart_id_in_cookie, set_cookie_header
from tracker.carts.domain import CartId, new_cart_id, parse_cart_id
from tracker.carts.dto import ItemIn, ProductIn
from tracker.carts.service import CartService
from tracker.errors import TrackerError, UnconfirmedError
from tracker.http import MAX_BODY_BYTES, PROBLEM_MEDIA_TYPE, problem

PLAIN_CONTENT_TYPES: Final = frozenset(
    {b"application/json", b"application/json; charset=utf-8", b"text/plain", b"text/plain;charset=UTF-8"}
)
"""As clients spell them; any other spelling is for the route."""

PLAIN_LENGTH_DIGITS: Final = 4
"""Of a plain body's Content-Length: a large one may be refused before it is read."""

Answer = tuple[Message, Message]
"""The start and the body of a response."""

_NO_BODY: Final[Message] = {"type": "http.response.body", "body": b"", "more_body": False}
_NO_CONTENT: Final[Answer] = ({"type": "http.response.start", "status": 204, "headers": []}, _NO_BODY)

_decode_item = msgspec.json.Decoder(ItemIn).decode
_decode_product = msgspec.json.Decoder(ProductIn).decode


class FastLane:
    """An ASGI application in front of Litestar's."""

    def __init__(self, app: Litestar, carts: Callable[[], CartService]) -> None:
        """Stand in front of `app`; `carts` is asked for when a request arrives."""
        self._app = app
        self._find_carts = carts
        self._carts: CartService | None = None
        self._lanes: Final = {"/item": self._item, "/items": self._product, "/api/v1/items": self._product}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or hand it on."""
        lane = self._lanes.get(scope["path"]) if scope["type"] == ScopeType.HTTP and scope["method"] == "POST" else None
        if lane is None:
            await self._app(scope, receive, send)
            return
        cart_id = None
        for name, value in scope["headers"]:
            if name == b"cookie":
                cart_id = cart_id or cart_id_in_cookie(value)
            elif (name == b"content-type" and value not in PLAIN_CONTENT_TYPES) or (
                name == b"content-length" and len(value) > PLAIN_LENGTH_DIGITS
            ):
                await self._app(scope, receive, send)
                return
        carts = self._carts = self._carts or self._find_carts()
        message = await receive()
        answer = None
        if message["type"] == "http.request" and not message["more_body"] and len(message["body"]) <= MAX_BODY_BYTES:
            answer = await lane(carts, message["body"], cart_id, scope)
        if answer is None:
            await self._app(scope, _with_first(message, receive), send)
            return
        await send(answer[0])
        await send(answer[1])

    @staticmethod
    async def _item(carts: CartService, body: bytes, cart_id: CartId | None, scope: Scope) -> Answer | None:
        """Do what `routes.add_item` does, or return None to have it done there."""
        cart = cart_id or new_cart_id()
        try:
            item = _decode_item(body)
            await carts.accept(cart, item.external_id, item.name, item.value, item.quantity)
        except UnconfirmedError as error:
            return _unconfirmed(error, scope)
        except (TrackerError, ValueError, RecursionError):
            return None
        if cart_id is not None:
            return _NO_CONTENT
        return {"type": "http.response.start", "status": 204, "headers": [_set_cookie(cart, scope)]}, _NO_BODY

    @staticmethod
    async def _product(carts: CartService, body: bytes, cart_id: CartId | None, scope: Scope) -> Answer | None:
        """Do what `routes.add_product` does, or return None to have it done there."""
        try:
            product = _decode_product(body)
            cart = cart_id or parse_cart_id(product.cart_id_text) or new_cart_id()
            await carts.accept(cart, product.external_id, product.name, product.price, product.quantity)
        except UnconfirmedError as error:
            return _unconfirmed(error, scope)
        except (TrackerError, ValueError, RecursionError):
            return None
        # As `CartRef` is encoded: a cart id needs no escaping.
        return _answer(200, b"application/json", b'{"cart_id":"%b"}' % cart.encode(), [_set_cookie(cart, scope)])


def _answer(status: int, media_type: bytes, body: bytes, headers: list[tuple[bytes, bytes]]) -> Answer:
    all_headers = [*headers, (b"content-type", media_type), (b"content-length", b"%d" % len(body))]
    return (
        {"type": "http.response.start", "status": status, "headers": all_headers},
        {"type": "http.response.body", "body": body, "more_body": False},
    )


def _unconfirmed(error: UnconfirmedError, scope: Scope) -> Answer:
    """Answer as `routes` does; it cannot be asked to, as it would take the item a second time."""
    headers = [(b"retry-after", b"%d" % error.retry_after_s), _set_cookie(CartId(error.cart_id), scope)]
    return _answer(503, PROBLEM_MEDIA_TYPE.encode(), msgspec.json.encode(problem(503, str(error))), headers)


def _set_cookie(cart_id: CartId, scope: Scope) -> tuple[bytes, bytes]:
    return b"set-cookie", set_cookie_header(cart_id, secure=scope["scheme"] == "https").encode()


def _with_first(message: ReceiveMessage, receive: Receive) -> Receive:
    """Return a `receive` that begins with a message that was received already."""
    first: list[ReceiveMessage] = [message]

    async def replayed() -> ReceiveMessage:
        return first.pop() if first else await receive()

    return replayed

"""Answers the plain case of the tracking routes as soon as its last byte is here.

A well-formed POST of an item is what nearly every request is. Through uvicorn's task for each request,
Litestar's request objects, DTO backend and response building it costs several times what the work itself
does. So the connection (`tracker.web.server.connection`) asks here first, with the bare parts of the request, and
hands on to Litestar, untouched, whatever this does not answer. There are no rules of its own: the bodies
are the routes' DTO types, the cookie, the acceptance and the problems are the routes' functions. A
request that breaks a rule is not answered at all: the route says what is wrong.

A test sends the same requests through both ways and finds no difference in a single byte.
"""

from collections.abc import Callable
from functools import partial
from typing import Final

import msgspec

from tracker.errors import RateLimitedError, TrackerError, UnavailableError, UnconfirmedError
from tracker.features.carts.cookie import cart_id_in_cookie, set_cookie_header
from tracker.features.carts.domain import new_cart_id, parse_cart_id
from tracker.features.carts.dto import ItemIn, ProductIn
from tracker.ingest.intake import Intake
from tracker.ingest.items import CartId, ItemWrite
from tracker.web.fast_lane.interface import Answerer, FastLanes, Headers, Peer, PendingReply, Reply
from tracker.web.fast_lane.recognizer import Recognizer, refused, reply
from tracker.web.middleware.browser_policy import Admission, BrowserPolicy
from tracker.web.rate_limit import RateLimits

_decode_item = msgspec.json.Decoder(ItemIn).decode
_decode_product = msgspec.json.Decoder(ProductIn).decode


_Answer = Callable[[CartId | None, Admission, bytes, bytes, bytes], Reply | PendingReply | None]
"""Answers a request for a cart: its admission, the beginning of the answer, the client's key, the body."""


class CartFastLanes:
    """Answers plain tracking requests before they would reach Litestar."""

    def __init__(self, intake: Intake, policy: BrowserPolicy, limits: RateLimits) -> None:
        self._take: Final = intake.take
        self._recognizer: Final = Recognizer(policy)
        self._limits: Final = limits if limits.is_on else None
        item, product = partial(self._answerer_for, self._item), partial(self._answerer_for, self._product)
        self.by_path: Final[FastLanes] = {b"/item": item, b"/items": product, b"/api/v1/items": product}
        """The lanes, by the paths of their requests."""

    def _answerer_for(self, answer: _Answer, headers: Headers, peer: Peer) -> Answerer | None:
        plain = self._recognizer.recognize(headers, peer)
        if plain is None:
            return None
        found, admission, id_line = plain
        cookie = found.get(b"cookie")
        cart_id = None if cookie is None else cart_id_in_cookie(cookie)
        client = peer.key
        if self._limits is not None and peer.proxies is not None:
            client = peer.key_of_client(found.get(b"x-forwarded-for", b""))
        return partial(answer, cart_id, admission, id_line, client)

    def _item(
        self, cart_id: CartId | None, admission: Admission, id_line: bytes, client: bytes, body: bytes
    ) -> Reply | PendingReply | None:
        """Put an item into the cart, as `routes.add_item` does, or return None to leave the request to it."""
        cart = cart_id or new_cart_id()
        try:
            item = _decode_item(body)
            if self._limits is not None:
                self._limits.check(client, cart_id)
            confirmation = self._take(ItemWrite(cart, item.external_id, item.name, item.value, item.quantity))
        except (UnavailableError, RateLimitedError) as error:
            return refused(error, admission, id_line)
        except (TrackerError, ValueError, RecursionError):
            return None
        answer = (
            204,
            id_line + admission.end if cart_id is not None else id_line + _set_cookie(cart, admission) + admission.end,
        )
        if confirmation is None:
            return answer
        return PendingReply(confirmation, partial(_confirmed, answer, cart, admission, id_line))

    def _product(
        self, cart_id: CartId | None, admission: Admission, id_line: bytes, client: bytes, body: bytes
    ) -> Reply | PendingReply | None:
        """Put a product into the cart, as `routes.add_product` does, or return None to leave the request to it."""
        try:
            product = _decode_product(body)
            known = cart_id or parse_cart_id(product.cart_id_text)
            if self._limits is not None:
                self._limits.check(client, known)
            cart = known or new_cart_id()
            confirmation = self._take(
                ItemWrite(cart, product.external_id, product.name, product.price, product.quantity)
            )
        except (UnavailableError, RateLimitedError) as error:
            return refused(error, admission, id_line)
        except (TrackerError, ValueError, RecursionError):
            return None
        # As `CartRef` is encoded: a cart id needs no escaping.
        body = b'{"cart_id":"%b"}' % cart.encode()
        answer = reply(200, b"application/json", body, id_line + _set_cookie(cart, admission), admission)
        if confirmation is None:
            return answer
        return PendingReply(confirmation, partial(_confirmed, answer, cart, admission, id_line))


def _confirmed(answer: Reply, cart: CartId, admission: Admission, id_line: bytes, reason: str | None) -> Reply:
    """Return `answer`, or a 503 with the `reason` if the item was not confirmed."""
    if reason is None:
        return answer
    return refused(UnconfirmedError(cart, reason), admission, id_line, _set_cookie(cart, admission))


def _set_cookie(cart_id: CartId, admission: Admission) -> bytes:
    return b"set-cookie: %b\r\n" % set_cookie_header(cart_id, secure=admission.secure).encode()

"""Answers the plain request for a warranty without Litestar, once its group is committed.

A warranty cost 350 µs of CPU time, and its part in the group 70 of them; the rest went into a task for each request,
Litestar's request objects and its response building. As in the carts' lane there are no rules of its own, and what
breaks one is not answered here: the route says what is wrong. A test finds no difference in a single byte.
"""

import asyncio
from functools import partial
from typing import Final

import msgspec

from tracker.errors import InvalidInputError, KeyReusedError, TrackerError, UnavailableError
from tracker.features.warranties.domain import Warranty
from tracker.features.warranties.dto import WarrantyIn, sale_of, warranty_out
from tracker.features.warranties.service import Warranties
from tracker.kit.confirmation import Confirmation
from tracker.web.fast_lane.interface import Answerer, FastLanes, Headers, Peer, PendingReply, Reply
from tracker.web.fast_lane.recognizer import Recognizer, refused, reply
from tracker.web.idempotency_key import check_key
from tracker.web.middleware.browser_policy import Admission, BrowserPolicy

_decode = msgspec.json.Decoder(WarrantyIn).decode
_encode = msgspec.json.Encoder().encode


class WarrantyFastLane:
    """Answers `POST /warranties` before the request would reach Litestar."""

    def __init__(self, warranties: Warranties, policy: BrowserPolicy) -> None:
        self._warranties = warranties
        self._recognizer = Recognizer(policy)
        self.by_path: Final[FastLanes] = {b"/warranties": self._answerer_for}
        """The lane, by the path of its requests."""

    def _answerer_for(self, headers: Headers, peer: Peer) -> Answerer | None:
        plain = self._recognizer.recognize(headers, peer)
        if plain is None:
            return None
        found, admission, id_line = plain
        return partial(self._create, found.get(b"idempotency-key"), admission, id_line)

    def _create(
        self, idempotency_key: bytes | None, admission: Admission, id_line: bytes, body: bytes
    ) -> Reply | PendingReply | None:
        """Create a warranty, as `routes.create_warranty` does, or return None to leave the request to that route."""
        try:
            key = None if idempotency_key is None else check_key(idempotency_key.decode("latin-1"))
            created = self._warranties.create(sale_of(_decode(body), key))
        except UnavailableError as error:
            return refused(error, admission, id_line)
        except (TrackerError, ValueError, RecursionError):
            return None
        over = Confirmation()
        created.add_done_callback(lambda _: over.resolve(None))
        return PendingReply(over, partial(_answer, created, admission, id_line))


def _answer(created: asyncio.Future[Warranty], admission: Admission, id_line: bytes, _: str | None) -> Reply:
    try:
        warranty = created.result()
    except (InvalidInputError, KeyReusedError, UnavailableError) as error:
        return refused(error, admission, id_line)
    location = b"location: /warranties/%b\r\n" % warranty.id.encode()
    return reply(201, b"application/json", _encode(warranty_out(warranty)), id_line + location, admission)

"""uvicorn's HTTP protocol, for a public address: no client can hold it up, fill it or keep it from ending.

Measured without: 62 MB of headers were taken on one connection and held up everybody else for seconds,
half-sent requests stayed open for 20 s and more, and a stop waited for them. With: headers are bounded
in bytes, a whole request in time, pipelined requests and connections in number. A client that does not take
its answer is cut off, and a stop does not wait for half-sent requests.

The bounds are plain objects, each in a module of its own; here uvicorn's calls are translated to them. Everything of
uvicorn's that is used for it is listed in a test (`test_private_names`), for it is none of its interface.

A request that a `FastLane` answers never becomes a task: its answer is written from within the call that
brought its last byte. uvicorn's cycle, task and event for each request cost as much as all that Tracker
does for one.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, Final

import httptools
from uvicorn._types import ASGI3Application
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from tracker.telemetry.request_counts import CLIENT_LEFT, RequestCounts
from tracker.web.fast_lane.interface import Answerer, FastLanes, Peer, PendingReply, Reply
from tracker.web.limits import MAX_HEADER_BYTES
from tracker.web.problems import HEADERS_TOO_LARGE, NOT_HTTP, REQUEST_TOO_SLOW
from tracker.web.server.answers import AnswerHeads, refusal
from tracker.web.server.crowding import Turn, is_flood, reason_to_refuse
from tracker.web.server.deadline import Deadline
from tracker.web.server.head_bytes import HeadBytes, size_of_head
from tracker.web.server.stuck_clients import StuckClient

logger = logging.getLogger(__name__)

_NOBODY_WAITS: Final = asyncio.Event()


class _PendingAnswer:
    """Stands in for uvicorn's cycle while a reply of the lane waits for its confirmation."""

    def __init__(self, path: bytes, began_s: float) -> None:
        self.path = path
        self.began_s = began_s
        self.keep_alive = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.more_body = False
        self.message_event = _NOBODY_WAITS


class Protocol(HttpToolsProtocol):
    """A connection of one client."""

    def __init__(
        self,
        *,
        lanes: FastLanes,
        request_counts: RequestCounts | None,
        heads: AnswerHeads,
        **named: Any,  # noqa: ANN401  # handed on as they are
    ) -> None:
        super().__init__(**named)
        self._lanes = lanes
        self._heads = heads
        self._request_counts = request_counts
        self._began_s = 0.0
        self._answerer: Answerer | None = None
        self._body = b""
        self._turn = Turn()
        self._peer = Peer("", secure=False)
        self._head = HeadBytes()
        self._deadline = Deadline(self.loop.time())
        self._stuck = StuckClient()
        self._refused = False
        self._answering: RequestResponseCycle | _PendingAnswer | None = None

    @property
    def _over(self) -> bool:
        return self._refused or self.transport.is_closing()

    @property
    def _owes_answer(self) -> bool:
        return self._answering is not None and not self._answering.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Take a connection, unless there are far too many to tell each so."""
        super().connection_made(transport)
        address = self.client[0] if self.client else ""
        proxies = self.app.trusted_hosts if isinstance(self.app, ProxyHeadersMiddleware) else None
        self._peer = Peer(
            address,
            secure=self.scheme == "https",
            proxies=proxies if proxies is not None and address in proxies else None,
        )
        if is_flood(len(self.connections)):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request in hand that its client has left; if the client pipelines, it is not the newest request."""
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        self._unset_keepalive_if_required()
        self._turn.answered = 0
        if len(data) <= MAX_HEADER_BYTES:
            self._feed(data)
        else:
            # In slices, so that what cannot be told apart in one (where a head begins) stays small.
            rest = memoryview(data)
            while rest and not self._over:
                self._feed(rest[:MAX_HEADER_BYTES])
                rest = rest[MAX_HEADER_BYTES:]
        if self._deadline.at_s is None and self.timeout_keep_alive_task is None and not self._owes_answer:
            # Line ends between requests are no request yet.
            self._deadline.start(self.loop.time())

    def _feed(self, data: bytes | memoryview) -> None:
        self._head.start_slice(len(data))
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                if self._over:
                    return
                data = data[upgrade.args[0] :]
                self._read_without_upgrade()
            except httptools.HttpParserError:
                self.refuse(400, NOT_HTTP)
                return
            else:
                break
        if self._head.end_slice():
            self._refuse_head()

    def _read_without_upgrade(self) -> None:
        """Read the head again without its Upgrade header, which a server may ignore.

        The parser takes what follows the head for another protocol; the body would be lost.
        """
        head = [self.parser.get_method(), b" ", self.url, b" HTTP/", self.parser.get_http_version().encode(), b"\r\n"]
        for name, value in self.headers:
            if name != b"upgrade":
                head += [name, b": ", value, b"\r\n"]
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(b"".join([*head, b"\r\n"]))

    def on_message_begin(self) -> None:
        """Start the clock of a request; uvicorn begins with it when it is handed on."""
        self.url = b""
        self.headers = []
        self.expect_100_continue = False
        self._deadline.start(self.loop.time())
        head = self._head
        head.in_request = True
        head.parts += 1

    def on_headers_complete(self) -> None:
        """Hand the request on, if it is within the bounds."""
        if self._over:
            return
        if self._head.most_bytes > MAX_HEADER_BYTES and size_of_head(self.url, self.headers) > MAX_HEADER_BYTES:
            self._refuse_head()
        elif (reason := reason_to_refuse(len(self.connections), len(self.pipeline))) is not None:
            self.refuse(503, reason)
        elif (method := self.parser.get_method()) == b"CONNECT":
            self.refuse(400, "this is no proxy")
        elif not self.parser.should_upgrade():
            if method == b"POST" and self._is_free():
                self._began_s = perf_counter()  # the loop's time moves once a round, in milliseconds
                self._answerer = self._find_answerer()
            if self._answerer is None:
                self._hand_on()

    def _is_free(self) -> bool:
        """Whether an answer may be written as soon as the request is whole."""
        cycle: RequestResponseCycle | _PendingAnswer | None = self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and not self.expect_100_continue
            and not self.flow.write_paused
            and not self._turn.is_over
            and self.parser.should_keep_alive()
            and self.parser.get_http_version() == "1.1"
        )

    def _find_answerer(self) -> Answerer | None:
        lane = self._lanes.get(self.url)
        if lane is None:
            return None
        try:
            return lane(self.headers, self._peer)
        except Exception:
            logger.exception("unexpected error in the fast lane; the application is asked instead")
            return None

    def _hand_on(self) -> None:
        """Let uvicorn start the application on the request.

        Only now does it make the scope: 0.4 µs that a request which the lane answers does without.
        """
        url, headers, expect_100_continue = self.url, self.headers, self.expect_100_continue
        super().on_message_begin()
        self.url, self.expect_100_continue = url, expect_100_continue
        self.headers += headers  # the scope has this list
        super().on_headers_complete()
        self.headers = []  # trailers are no headers

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless the request was refused."""
        self._head.parts += 1
        if self._answerer is not None:
            self._body += body
        elif not self._over:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock of a request."""
        if self._over or self.parser.should_upgrade():
            return
        self._deadline.stop()
        self._head.in_request = False
        if self._answerer is not None:
            answerer, self._answerer = self._answerer, None
            body, self._body = self._body, b""
            try:
                reply = answerer(body)
            except Exception:
                logger.exception("unexpected error in the fast lane; the application is asked instead")
                reply = None
            if reply is not None:
                self._turn.answered += 1
                if isinstance(reply, PendingReply):
                    self._answer_when_confirmed(reply)
                else:
                    self._write_reply(reply, self.url, self._began_s)
                    self.on_response_complete()
                return
            self._hand_on()
            super().on_body(body)
        super().on_message_complete()
        self.cycle.more_body = False  # uvicorn leaves it when the answer came first

    def _write_reply(self, reply: Reply, path: bytes, began_s: float) -> None:
        status, rest = reply
        heads = self._heads
        if heads.headers is not self.server_state.default_headers:
            heads.renew(self.server_state.default_headers)
        self.transport.write(heads[status] + rest)
        if self._request_counts is not None:
            self._request_counts.posted(path, status, began_s)

    def _answer_when_confirmed(self, pending_reply: PendingReply) -> None:
        self._unset_keepalive_if_required()
        pending = self._answering = _PendingAnswer(self.url, self._began_s)
        self.cycle = pending  # type: ignore[assignment]  # it has what is asked of one that has its request
        pending_reply.confirmation.then(partial(self._write_pending, pending, pending_reply.reply))

    def _write_pending(self, pending: _PendingAnswer, reply: Callable[[str | None], Reply], reason: str | None) -> None:
        pending.response_complete = True
        if pending.disconnected:
            if self._request_counts is not None:
                self._request_counts.posted(pending.path, CLIENT_LEFT, pending.began_s)
            return
        try:
            status, rest = reply(reason)
        except Exception:
            logger.exception("unexpected error in the fast lane; the connection is closed")
            self.transport.close()
            return
        rest = rest if pending.keep_alive else b"connection: close\r\n" + rest
        self._write_reply((status, rest), pending.path, pending.began_s)
        if not pending.keep_alive:
            self.transport.close()  # at first: what is pipelined behind it must not be begun
        self.on_response_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        # An answer of the lane in the same read may have begun to wait for the next request.
        self._unset_keepalive_if_required()
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def shutdown(self) -> None:
        """Begin to stop: a request that is not here yet as a whole is not waited for."""
        cycle: RequestResponseCycle | _PendingAnswer | None = self.cycle
        if self._answerer is not None or (cycle is not None and cycle.more_body):
            self.refuse(503, "the service is stopping")
        else:
            super().shutdown()
            # A transport that says goodbye to TLS hands on what still comes, and says that it is not closing.
            self._refused = not self._owes_answer

    def on_response_complete(self) -> None:
        """Go on with the next request, unless the answer said that it was the last."""
        finished = self._answering
        if finished is not None and finished.response_complete and not finished.keep_alive:
            self._refused = True
            self.pipeline.clear()
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection; one whose next request has begun has until its deadline."""
        if not self._head.in_request:
            super().timeout_keep_alive_handler()

    def close_if_overdue(self, now_s: float) -> None:
        """Close the connection if its request is not here in time; `now_s` is the loop's time.

        Cut it off if the client has not taken a byte of the answer, or not let go, for as long.
        """
        if self.flow.write_paused or self.transport.is_closing():
            if self._stuck.is_stuck(self.transport.get_write_buffer_size(), now_s):
                self.transport.abort()
            return
        self._stuck.clear()
        if self._deadline.is_over(now_s):
            self.refuse(408, REQUEST_TOO_SLOW)

    def abort_if_stuck(self) -> None:
        """Cut the connection off if it waits only for the client to take the answer or to close."""
        if self.flow.write_paused or self.transport.is_closing():
            self.transport.abort()

    def _refuse_head(self) -> None:
        self.refuse(431, HEADERS_TOO_LARGE)

    def refuse(self, status: int, detail: str) -> None:
        """Refuse the request that is being read and close; whole requests before it are answered first."""
        if self._over:
            return
        self._refused = True
        self._deadline.stop()
        cycle: RequestResponseCycle | _PendingAnswer | None = self.cycle
        read_in_part = cycle if cycle is not None and cycle.more_body else None
        if self._answering is not None and self._owes_answer and self._answering is not read_in_part:
            if read_in_part is not None:
                self.pipeline.popleft()
            last = self.pipeline[0][0] if self.pipeline else self._answering
            last.keep_alive = False
            return
        if read_in_part is None or not read_in_part.response_started:
            self.transport.write(refusal(status, detail, secure=self._peer.secure))
            if self._request_counts is not None:
                self._request_counts.count_refusal(status)
        if read_in_part is not None and not read_in_part.response_complete:
            read_in_part.disconnected = True
            read_in_part.message_event.set()
        self.transport.close()


def protocol(lanes: FastLanes, request_counts: RequestCounts | None = None) -> Callable[..., Protocol]:
    """Return what makes the connections of one server: its fast lanes answer, and `request_counts` counts."""
    return partial(Protocol, lanes=lanes, request_counts=request_counts, heads=AnswerHeads())

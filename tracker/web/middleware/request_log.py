"""The outermost layer of the application: a request's id, its trace, and its line in the log if it fails.

It stands outside of all that is Litestar's, so that every answer has its id, whichever part gives it. The fast lane
sends the same header by itself, and has its own way of tracing (`tracker.web.fast_lane.traced`).
"""

import logging
import time
from typing import Final

from litestar.enums import ScopeType
from litestar.types import (
    ASGIApp,
    HTTPReceiveMessage,
    HTTPScope,
    Message,
    Receive,
    Scope,
    Send,
    WebSocketReceiveMessage,
)

from tracker.errors import NotConfiguredError
from tracker.telemetry import tracing
from tracker.telemetry.request_counts import CLIENT_LEFT
from tracker.telemetry.request_id import HEADER, current_request_id, request_id_of
from tracker.telemetry.tracing import Tracer
from tracker.web.problems import ANSWERS, UNEXPECTED

MAX_LINES_PER_S: Final = 10
"""Most lines about failed requests in a second: while PostgreSQL is away thousands may fail. The next line says how
many requests got none."""

SERVER_ERROR: Final = 500

NOT_CONFIGURED: Final = ANSWERS[NotConfiguredError].status
"""Status of an answer by a feature that is switched off; that is no error, and is not logged."""

logger = logging.getLogger(__name__)


class RequestLogMiddleware:
    """Answers each request by `app`, in a span that `tracer` begins, if there is one."""

    def __init__(self, app: ASGIApp, tracer: Tracer | None) -> None:
        self._app = app
        self._tracer = tracer
        self._second = 0
        self._lines = 0
        self._left_out = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        started_s = time.monotonic()
        request_id = request_id_of(scope["headers"])
        current_request_id.set(request_id.decode())  # for this task, which is that of the request
        status, is_gone = 0, False

        async def receive_until_gone() -> HTTPReceiveMessage | WebSocketReceiveMessage:
            nonlocal is_gone
            message = await receive()
            is_gone = is_gone or (message["type"] == "http.disconnect" and not status)
            return message

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                # What is answered to nobody is no error of ours: Litestar makes it a 500.
                status = CLIENT_LEFT if is_gone else message["status"]
                message["headers"] = [(HEADER, request_id), *message["headers"]]
            await send(message)

        span = None if self._tracer is None else self._tracer.request(scope["headers"])
        with tracing.span_until_end(span):
            await self._app(scope, receive_until_gone, send_with_id)
            if status >= SERVER_ERROR and status != NOT_CONFIGURED:
                self._say(scope, status, time.monotonic() - started_s)
            if span is not None:
                tracing.answered(span, scope["method"], scope.get("path_template", ""), status or CLIENT_LEFT)

    def _say(self, scope: HTTPScope, status: int, duration_s: float) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines >= MAX_LINES_PER_S:
            self._left_out += 1
            return
        self._lines += 1
        fields = {
            "method": scope["method"],
            "route": scope.get("path_template", ""),
            "status": status,
            "duration_ms": round(duration_s * 1000, 1),
        }
        if self._left_out:
            fields["left_out"], self._left_out = self._left_out, 0
        error = scope["state"].get(UNEXPECTED)
        # Why nothing can be served now is said where it is found out, and with its weight.
        level = logging.INFO if error is None else logging.ERROR
        logger.log(level, "a request has ended in a server error", exc_info=error, extra=fields)

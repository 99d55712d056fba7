"""uvicorn's HTTP protocol, for a public address: no client can hold it up, fill it or keep it from ending.

Measured without: 62 MB of headers were taken on one connection and held up everybody else for seconds,
half-sent requests stayed open for 20 s and more, and a stop waited for them. With: headers are bounded
in bytes, a whole request in time, the connections in number, and a stop lets go of what is half sent.

The time is not kept by a timer for each request, which cost 3 % of the throughput, but looked at for
all connections once a second.
"""

from typing import Any, Final

import msgspec
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from tracker.http import PROBLEM_MEDIA_TYPE, problem

MAX_HEADER_BYTES: Final = 16 * 1024
"""Of the request line and all headers together."""

REQUEST_TIMEOUT_S: Final = 10.0
"""From a connection or the first byte of a request to its last byte."""

MAX_CONNECTIONS: Final = 8192
"""Open at a time per worker; one costs about 10 KB."""


class Protocol(HttpToolsProtocol):
    """A connection of one client."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401  # handed on as they are
        super().__init__(*arguments, **named)
        self._deadline_s: float | None = self.loop.time() + REQUEST_TIMEOUT_S
        self._header_bytes = 0
        self._in_headers = False

    def data_received(self, data: bytes) -> None:
        """Take bytes from the client."""
        super().data_received(data)
        if self._in_headers:
            # One header without an end is no header yet: what counts is what came.
            self._header_bytes += len(data)
            if self._header_bytes > MAX_HEADER_BYTES:
                self.refuse(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")

    def on_message_begin(self) -> None:
        """Start the clock of a request."""
        super().on_message_begin()
        self._deadline_s = self.loop.time() + REQUEST_TIMEOUT_S
        self._in_headers = True
        self._header_bytes = 0

    def on_headers_complete(self) -> None:
        """Hand the request on, if it is within the bounds."""
        if self.transport.is_closing():
            return
        self._in_headers = False
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEADER_BYTES:
            self.refuse(431, f"the headers are larger than {MAX_HEADER_BYTES} bytes")
        elif len(self.connections) > MAX_CONNECTIONS:
            self.refuse(503, "too many connections are open")
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body, unless the request was refused."""
        if not self.transport.is_closing():
            super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the clock of a request."""
        self._deadline_s = None
        if not self.transport.is_closing():
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP."""
        self.refuse(400, msg)

    def shutdown(self) -> None:
        """Begin to stop: a request that is not here yet as a whole is not waited for."""
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and cycle.more_body:
            self.refuse(503, "the service is stopping")
        else:
            super().shutdown()

    def close_if_overdue(self, now_s: float) -> None:
        """Close the connection if its request is not here in time; `now_s` is the loop's time."""
        if self._deadline_s is not None and now_s > self._deadline_s:
            self.refuse(408, f"the request did not arrive within {REQUEST_TIMEOUT_S:.0f} s")

    def refuse(self, status: int, detail: str) -> None:
        """Close the connection, with an answer if none was begun."""
        if self.transport.is_closing():
            return
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or (cycle.response_complete and not cycle.more_body) or not cycle.response_started:
            self.transport.write(_answer(status, detail))
        if cycle is not None and not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.close()


def close_overdue(state: ServerState, now_s: float) -> None:
    """Close every connection whose request is not here in time; `now_s` is the loop's time."""
    for connection in list(state.connections):
        if isinstance(connection, Protocol):
            connection.close_if_overdue(now_s)


def _answer(status: int, detail: str) -> bytes:
    body = msgspec.json.encode(problem(status, detail))
    retry = b"retry-after: 1\r\n" if status == 503 else b""  # noqa: PLR2004  # HTTP's number
    return (
        STATUS_LINE[status]
        + f"content-type: {PROBLEM_MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\nconnection: close\r\n".encode()
        + retry
        + b"\r\n"
        + body
    )

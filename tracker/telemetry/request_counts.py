"""Counts and times of the answers, kept as simply as the hot path needs it, and read when somebody scrapes.

Two ways lead to an answer, and both are counted here: the fast lane tells `RequestCounts` itself, and around the
application stands `CountingMiddleware`. Routes are counted by their templates, never by what a client has sent, so that
nobody can make the lines grow. The time is that from the head of a request to its answer; a client
that takes its time over the body counts with it.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter
from typing import Any, Final

from tracker.telemetry.histogram import Histogram

ANSWER_BOUNDS_S: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
"""Upper bounds of the buckets of answer times, in seconds: from what the fast lane needs to what an answer takes only
when the database is away."""

UNMATCHED: Final = "unmatched"
"""Name that stands for the route of a request that has none."""

METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
OTHER: Final = "other"
"""Name that stands for every method not in `METHODS`: the parser knows more than thirty."""

CLIENT_LEFT: Final = 499
"""The status, as nginx counts it, of a request whose client did not wait for the answer."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application; the types of its arguments differ only in name between libraries."""

Line = tuple[str, str, int]
"""Labels of a count: method, route and status."""


class RequestCounts:
    """Counts the requests of a process."""

    def __init__(self) -> None:
        self.answers: dict[Line, Histogram] = {}
        """Answer times in seconds, by method, route and status."""
        self.refused: dict[int, int] = {}
        """Number of requests that the connection refused before they came to a route, by status."""
        self._posted: dict[tuple[bytes, int], Histogram] = {}

    def posted(self, path: bytes, status: int, began_s: float) -> None:
        """Count a POST that the fast lane has answered; `path` is one of its own, `began_s` is of `perf_counter`."""
        answers = self._posted.get((path, status))
        if answers is None:
            answers = self._posted[path, status] = self._line(("POST", path.decode(), status))
        answers.add(perf_counter() - began_s)

    def answered(self, method: str, route: str, status: int, began_s: float) -> None:
        """Count an answer of the application."""
        self._line((method if method in METHODS else OTHER, route, status)).add(perf_counter() - began_s)

    def count_refusal(self, status: int) -> None:
        """Count a request that the connection has refused."""
        self.refused[status] = self.refused.get(status, 0) + 1

    def _line(self, line: Line) -> Histogram:
        answers = self.answers.get(line)
        if answers is None:
            answers = self.answers[line] = Histogram(ANSWER_BOUNDS_S)
        return answers


class CountingMiddleware:
    """An ASGI application whose answers are counted."""

    def __init__(self, app: Application, request_counts: RequestCounts) -> None:
        self._app = app
        self._request_counts = request_counts

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Let the application answer."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began_s = perf_counter()
        status = 0

        async def hear() -> Message:
            nonlocal status
            message = await receive()
            if message["type"] == "http.disconnect" and not status:
                status = CLIENT_LEFT
            return message

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start" and not status:
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, hear, answer)
        except Exception:
            status = status or 500  # as the server answers then
            raise
        finally:
            if status:
                # Litestar notes it in the scope once it has found the route.
                self._request_counts.answered(scope["method"], scope.get("path_template", UNMATCHED), status, began_s)

"""Middleware that changes how the answers of a route go out."""

import logging

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from tracker.errors import UnavailableError

logger = logging.getLogger(__name__)


class NotStored:
    """Middleware that keeps every answer of a route, its errors as well, out of all caches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request, and its answer with one more header."""

        async def send_not_stored(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"cache-control", b"no-store")]
            await send(message)

        await self._app(scope, receive, send_not_stored)


class CutOff:
    """Middleware of a route that streams: ends the connection where an answer cannot be completed.

    The client sees that its end is missing. Raised further, the error would come out of three layers with a trace each.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand on a request; once its answer has begun, an UnavailableError ends it."""
        begun = False

        async def send_and_note(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except Exception as error:
            cause = error.__cause__ or error  # Litestar's own error stands before what a stream raises
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            if not begun or not isinstance(cause, UnavailableError):
                raise
            logger.warning("an answer was cut off", extra={"reason": str(cause)})

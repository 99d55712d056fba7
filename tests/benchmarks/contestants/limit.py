"""The limit: what uvicorn needs to read a request and answer an empty 204, and nothing else.

For whoever answers through uvicorn's tasks. Tracker's plain requests do without them, so for those it is a
measure and no bound.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

Message = dict[str, Any]

_START: Final[Message] = {"type": "http.response.start", "status": 204, "headers": []}
_BODY: Final[Message] = {"type": "http.response.body", "body": b""}


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    """Read the body and answer 204."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_BODY)

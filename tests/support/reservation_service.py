"""A stand-in for the reservation service: `python -m tests.support.reservation_service --delay 35 --fail-rate 0.2`.

`POST /reserve` answers as the real one would, slowly and not always; the same Idempotency-Key gets the same
id. `GET /calls` tells how often each key was called and granted, `PUT /behavior` changes how it behaves
from now on.
"""

import argparse
import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Final, Literal

import msgspec
import uvicorn
from msgspec import Struct

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PORT: Final = 9100

FIRST_ID: Final = 1234


_ODD: Final = {
    "no-id": b'{"reserved": true}',
    "wrong-type": b'{"reservation_id": [1]}',
    "nul": b'{"reservation_id": "a\\u0000"}',
    "nested": b'{"a": ' + b"[" * 50_000,
    "html": b"<html>" + b"x" * 10_000_000,
}
"""Answers that say nothing, by name."""


class Behavior(Struct):
    """How the service answers."""

    delay: float = 0.0
    """Seconds until it answers."""

    fail_rate: float = 0.0
    """Part of the calls that it answers with `fail_status`."""

    fail_status: int = 500
    retry_after: int | None = None
    """Seconds, sent with a failure."""

    answer: Literal["number", "text", "no-id", "wrong-type", "nul", "nested", "html", "redirect"] = "number"


class Asked(Struct):
    """What it is asked for."""

    item: str
    quantity: int


class Calls(Struct):
    """What it was called for, by idempotency key."""

    called: dict[str, int]
    granted: dict[str, int]
    asked: dict[str, Asked]
    most_at_once: int
    traceparents: dict[str, str]


class ReservationService:
    """The ASGI application."""

    def __init__(self, behavior: Behavior) -> None:
        self._behavior = behavior
        self._random = random.Random(1)
        self._numbers = itertools.count(FIRST_ID)
        self._ids: dict[str, int] = {}
        self._called: Counter[str] = Counter()
        self._granted: Counter[str] = Counter()
        self._asked: dict[str, Asked] = {}
        self._traceparents: dict[str, str] = {}
        self._at_once = self._most_at_once = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            return
        body = await _read(receive)
        match scope["method"], scope["path"]:
            case "POST", "/reserve":
                sent = dict(scope["headers"])
                key = sent.get(b"idempotency-key", b"").decode()
                self._traceparents[key] = sent.get(b"traceparent", b"").decode()
                status, headers, content = await self._reserve(key, msgspec.json.decode(body, type=Asked))
            case "GET", "/calls":
                calls = Calls(
                    dict(self._called), dict(self._granted), self._asked, self._most_at_once, self._traceparents
                )
                status, headers, content = 200, [], msgspec.json.encode(calls)
            case "PUT", "/behavior":
                self._behavior = msgspec.json.decode(body, type=Behavior)
                status, headers, content = 204, [], b""
            case _:
                status, headers, content = 404, [], b""
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": content})

    async def _reserve(self, key: str, asked: Asked) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        behavior = self._behavior
        self._called[key] += 1
        self._asked[key] = asked
        self._at_once += 1
        self._most_at_once = max(self._most_at_once, self._at_once)
        try:
            await asyncio.sleep(behavior.delay)
        finally:
            self._at_once -= 1
        if self._random.random() < behavior.fail_rate:
            wait = [] if behavior.retry_after is None else [(b"retry-after", b"%d" % behavior.retry_after)]
            return behavior.fail_status, wait, b""
        if key not in self._ids:
            self._ids[key] = next(self._numbers)
        number = self._ids[key]
        if behavior.answer == "redirect":
            return 307, [(b"location", b"/elsewhere")], b""
        if behavior.answer in _ODD:
            return 200, [], _ODD[behavior.answer]
        self._granted[key] += 1
        given: object = number if behavior.answer == "number" else f"R-{number}"
        return 200, [], msgspec.json.encode({"reservation_id": given})


async def _read(receive: Receive) -> bytes:
    body: bytes = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return body


def main() -> None:
    """Serve on 127.0.0.1 until Ctrl-C."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds until it answers")
    parser.add_argument("--fail-rate", type=float, default=0.0, help="part of the calls that fail, 0 to 1")
    arguments = parser.parse_args()
    service = ReservationService(Behavior(delay=arguments.delay, fail_rate=arguments.fail_rate))
    uvicorn.run(service, host="127.0.0.1", port=arguments.port, log_level="warning", lifespan="off")


if __name__ == "__main__":
    main()

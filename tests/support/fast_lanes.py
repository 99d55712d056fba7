"""The fast lanes beside the routes: two servers, one of which has a lane, and requests sent to both, byte for byte."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvicorn
import uvloop

from tests.conftest import Database
from tests.support.clock import ManualClock
from tests.support.settings import settings_of
from tracker.ingest.worker_folders import claim_folder
from tracker.kit.clock import Clock
from tracker.runtime.application import create_app
from tracker.runtime.context import Context
from tracker.settings import Ack
from tracker.web.fast_lane.interface import Answerer, FastLane, FastLanes, Headers, Peer, PendingReply, Reply
from tracker.web.server.connection import protocol

ANSWER_TIMEOUT_S: Final = 60.0


class CountedLanes:
    """Counts what the lanes of a process take on."""

    taken = 0


def counted(context: Context) -> FastLanes:
    """Return the lanes of a process, counted."""

    def counting(lane: FastLane, headers: Headers, peer: Peer) -> Answerer | None:
        answerer = lane(headers, peer)
        return None if answerer is None else partial(answered, answerer)

    def answered(answerer: Answerer, body: bytes) -> Reply | PendingReply | None:
        reply = answerer(body)
        CountedLanes.taken += reply is not None
        return reply

    return {path: partial(counting, lane) for path, lane in context.lanes.items()}


class Sent(NamedTuple):
    """A request, in the pieces in which it is sent."""

    method: str
    path: str
    headers: list[tuple[bytes, bytes]]
    body: list[bytes]
    chunked: bool

    def pieces(self) -> list[bytes]:
        if self.chunked:
            framing, end = b"Transfer-Encoding: chunked", b"0\r\n\r\n"
            body = [b"%x\r\n%b\r\n" % (len(piece), piece) for piece in self.body if piece]
        else:
            framing, end, body = b"Content-Length: %d" % sum(map(len, self.body)), b"", self.body
        lines = [b"%b %b HTTP/1.1" % (self.method.encode(), self.path.encode()), framing]
        lines += [b"%b: %b" % header for header in self.headers]
        return [b"\r\n".join([*lines, b"\r\n"]) + body[0] if body else b"\r\n".join([*lines, b"\r\n"]), *body[1:], end]


async def call(port: int, sent: Sent) -> bytes:
    """Return the answer of the server on `port`, byte for byte, without its Date."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            if len(sent.body) == 1:
                writer.write(b"".join(sent.pieces()))
            else:
                for piece in sent.pieces():
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.0005)  # so that they arrive one by one
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            body = await reader.readexactly(int(length[1]) if length else 0)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
    return re.sub(rb"date: [^\r]+\r\n", b"", head) + body


MakeLanes = Callable[[Context], FastLanes]
"""Gives the lanes of a process; without any, every request is left to the routes."""


@contextlib.asynccontextmanager
async def serving(
    database: Database,
    folder: Path,
    ack: Ack,
    make_lanes: MakeLanes,
    clock: Clock | None = None,
    **more: Any,  # noqa: ANN401  # settings
) -> AsyncIterator[int]:
    """Serve with `more` settings, and yield the port."""
    with claim_folder(folder, 0) as claimed:
        own = settings_of(data_dir=folder, ack=ack, flush_interval_ms=1, **more)
        context = Context(own, url=database.url, folder=claimed, clock=clock or ManualClock(1_000_000))
        http: Any = protocol(make_lanes(context))
        app = create_app(context, None)
        server = uvicorn.Server(uvicorn.Config(app, http=http, log_config=None, port=0, server_header=False))
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110  # uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield server.servers[0].sockets[0].getsockname()[1]
        server.should_exit = True
        await task


class Ways:
    """The two ways, each with a server and a database of its own."""

    def __init__(self, runner: asyncio.Runner, ports: list[int]) -> None:
        self._runner = runner
        self._ports = ports

    def both(self, sent: Sent) -> tuple[bytes, bytes]:
        async def main() -> tuple[bytes, bytes]:
            return await call(self._ports[0], sent), await call(self._ports[1], sent)

        return self._runner.run(main())


@contextlib.contextmanager
def two_ways(
    databases: list[Database],
    folder: Path,
    ack: Ack,
    make_lanes: MakeLanes,
    clock: Clock | None = None,
    **more: Any,  # noqa: ANN401  # settings
) -> Iterator[Ways]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = contextlib.AsyncExitStack()

        async def start() -> list[int]:
            return [
                await stack.enter_async_context(serving(database, folder / name, ack, lane, clock, **more))
                for database, name, lane in zip(databases, ("routes", "lane"), (lambda _: {}, make_lanes), strict=True)
            ]

        yield Ways(runner, runner.run(start()))
        runner.run(stack.aclose())

"""One serving process: its uvicorn, and how it ends."""

import asyncio
import logging
import os
import resource
import socket
from collections.abc import Callable
from functools import partial
from types import FrameType
from typing import Any, Final

import click
import uvicorn
import uvloop
from litestar import Litestar
from uvicorn.server import ServerState

from tracker.app import create_app
from tracker.carts.fast_lane import FastLane
from tracker.carts.traced import TracedCarts, TracedLane
from tracker.context import Context
from tracker.errors import ConfigurationError, LostItemsError
from tracker.kit.loading import loading
from tracker.kit.worker_folders import claim_folder
from tracker.settings import Settings, Switch, load_settings
from tracker.telemetry import tracing
from tracker.telemetry.request_counts import Counted, Traffic
from tracker.warranties.fast_lane import WarrantyLane
from tracker.web.fast_lane.interface import Lane
from tracker.web.server.connection import MAX_CONNECTIONS, REQUEST_TIMEOUT_S, Protocol
from tracker.web.server.listener import BACKLOG

REQUESTS_IN_HAND_TIMEOUT_S: Final = 3
"""For the requests under way when the process is told to stop, before they are cut off."""

CONFIRMATIONS_TIMEOUT_S: Final = 2.0
"""Of these, for the requests that wait for PostgreSQL or the disk to confirm their item."""

STUCK_TIMEOUT_S: Final = 2.5
"""Of these, for the clients to take their answers and to let go."""

LATE_COMERS_S: Final = 0.02
"""How often connections are looked for that came to be while the process stops."""

KEEP_ALIVE_TIMEOUT_S: Final = 5
"""How long an idle connection is kept for the next request."""

OTHER_FILES: Final = 256
"""Open files that are no connections of clients: the journal, PostgreSQL, what Python holds."""


class Loop(uvloop.Loop):
    """uvloop's, but with a client that connects and does not begin TLS waited for 10 s instead of 60."""

    async def create_server(  # type: ignore[override]  # handed on as they are
        self,
        *arguments: Any,  # noqa: ANN401
        **named: Any,  # noqa: ANN401
    ) -> asyncio.AbstractServer:
        """Listen."""
        if named.get("ssl") is not None:
            named["ssl_handshake_timeout"] = REQUEST_TIMEOUT_S
        return await super().create_server(*arguments, **named)


def close_overdue(state: ServerState, now_s: float) -> None:
    """Close every connection whose request is not here in time; `now_s` is the loop's time."""
    for connection in list(state.connections):
        if isinstance(connection, Protocol):
            connection.close_if_overdue(now_s)


def abort_stuck(state: ServerState) -> None:
    """Cut off every connection that waits for nothing but its client."""
    for connection in list(state.connections):
        if isinstance(connection, Protocol):
            connection.abort_if_stuck()


class Server(uvicorn.Server):
    """uvicorn's server, for which a signal is a reason to stop in order and no failure.

    uvicorn keeps the signals it gets and raises them again once it has stopped: the process then ends
    by one instead of with exit code 0.
    """

    def __init__(self, config: uvicorn.Config, stop_waiting: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop_waiting = stop_waiting

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in order; those who wait for a confirmation get their 503 before they would be cut off."""
        loop = asyncio.get_running_loop()
        loop.call_later(LATE_COMERS_S, self._send_late_comers_away)
        loop.call_later(CONFIRMATIONS_TIMEOUT_S, self._stop_waiting)
        loop.call_later(STUCK_TIMEOUT_S, abort_stuck, self.server_state)
        await super().shutdown(sockets)

    def _send_late_comers_away(self) -> None:
        """Tell the connections that uvicorn did not see when it told all: those in the middle of a TLS handshake."""
        for connection in list(self.server_state.connections):
            connection.shutdown()
        asyncio.get_running_loop().call_later(LATE_COMERS_S, self._send_late_comers_away)

    async def on_tick(self, counter: int) -> bool:
        """Do what is due ten times a second."""
        if counter % 10 == 0:
            close_overdue(self.server_state, asyncio.get_running_loop().time())
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order, also when asked twice: uvicorn would leave what is in hand at the second Ctrl-C."""
        del sig, frame
        self.should_exit = True


# Not beside `serve`, so that a worker does not load what that one checks before it serves.
@click.command(hidden=True)
@click.option("--fd", required=True, type=int)
def serve_worker(fd: int) -> None:
    """Serve on an inherited socket; started by the supervisor."""
    settings = load_settings(os.environ)
    if settings.database_url is None:
        msg = "serve-worker is started by `tracker serve`"
        raise ConfigurationError(msg)
    run_worker(settings, url=settings.database_url, listener=socket.socket(fileno=fd))


def run_worker(settings: Settings, *, url: str, listener: socket.socket) -> None:
    """Serve on `listener` until SIGINT or SIGTERM; then answer and store what is in hand.

    Raises LostItemsError when PostgreSQL did not take everything before the process had to end.
    """
    _raise_file_limit()
    # What clients do wrong is answered, and no news for the log.
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
    with tracing.tracing(os.environ), claim_folder(settings.data_dir, settings.node) as folder:
        traffic = Traffic() if settings.metrics is Switch.ON else None
        with loading():
            app = create_app(settings, url=url, folder=folder, traffic=traffic)
        guard, limits = app.state.guard, app.state.limits
        warranties = WarrantyLane(lambda: _context_of(app).warranties, guard)
        lane: Lane = FastLane(lambda: _context_of(app).carts, guard, limits, warranties)
        if tracing.is_on():
            lane = TracedLane(lane, FastLane(lambda: TracedCarts(_context_of(app).carts), guard, limits, warranties))
        config = uvicorn.Config(
            app if traffic is None else Counted(app, traffic),
            loop="tracker.worker:Loop",
            http=partial(Protocol, lane=lane, traffic=traffic),  # type: ignore[arg-type]  # called, no more
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            server_header=False,
            backlog=BACKLOG,
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=REQUESTS_IN_HAND_TIMEOUT_S,
        )
        Server(config, stop_waiting=lambda: _context_of(app).stop_waiting()).run(sockets=[listener])
        context = app.state.get("context")
        if context is not None and context.lost_items:
            msg = f"stopped with {context.lost_items} items that PostgreSQL did not take in time; they are lost"
            raise LostItemsError(msg)


def _raise_file_limit() -> None:
    """Let as many connections be open as the system allows; the usual limit of 1,024 is for programs with few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _context_of(app: Litestar) -> Context:
    """Return the context of an application that has started."""
    context: Context = app.state.context
    return context

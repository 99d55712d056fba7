"""uvicorn's server, which stops in order: it answers what is in hand, and waits for no client for long."""

import asyncio
import socket
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

import uvicorn
import uvloop
from uvicorn.server import ServerState

from tracker.web.limits import REQUEST_TIMEOUT_S
from tracker.web.server.connection import Protocol

CONFIRMATIONS_TIMEOUT_S: Final = 2.0
"""Seconds after a stop began in which PostgreSQL or the disk may still confirm items; then the requests that wait for
it get a 503."""

STUCK_TIMEOUT_S: Final = 2.5
"""Seconds after a stop began in which clients may take their answers and close; then they are cut off."""

LATE_COMERS_S: Final = 0.02
"""Seconds between two searches for connections that came to be while the process stops."""


class Loop(uvloop.Loop):
    """uvloop's event loop, but one that waits 10 s instead of 60 for a client that connects and does not begin TLS."""

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

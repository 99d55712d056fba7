"""One serving process: its application, its fast lanes and its server put together."""

import logging
import os
import resource
import socket
from functools import partial
from typing import Final

import uvicorn
from litestar import Litestar

from tracker.errors import LostItemsError
from tracker.features.carts.fast_lane import FastLane
from tracker.features.carts.fast_lane_traced import TracedCarts, TracedLane
from tracker.features.warranties.fast_lane import WarrantyLane
from tracker.kit.loading import loading
from tracker.kit.worker_folders import claim_folder
from tracker.runtime.application import create_app
from tracker.runtime.context import Context
from tracker.settings import Settings, Switch
from tracker.telemetry import tracing
from tracker.telemetry.request_counts import Counted, Traffic
from tracker.web.fast_lane.interface import Lane
from tracker.web.server.connection import MAX_CONNECTIONS, Protocol
from tracker.web.server.listener import BACKLOG
from tracker.web.server.server import Server

REQUESTS_IN_HAND_TIMEOUT_S: Final = 3
"""Seconds that requests under way may still take when the process is told to stop; then they are cut off."""

KEEP_ALIVE_TIMEOUT_S: Final = 5
"""Seconds that an idle connection is kept open for the next request."""

OTHER_FILES: Final = 256
"""Number of open files that are no clients' connections: the journal, PostgreSQL, what Python holds."""


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
            loop="tracker.web.server.server:Loop",
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

"""One serving process: its application, its fast lanes and its server put together."""

import logging
import os
import resource
import socket
from typing import Final

import uvicorn

from tracker.errors import LostItemsError
from tracker.ingest.worker_folders import claim_folder
from tracker.kit.loading import loading
from tracker.runtime.application import create_app
from tracker.runtime.context import Context
from tracker.runtime.tracer import tracer_of
from tracker.settings import FolderSettings, ProcessSettings, Settings, Switch, WebSettings
from tracker.telemetry.request_counts import CountingMiddleware, RequestCounts
from tracker.web.server.connection import protocol
from tracker.web.server.crowding import MAX_CONNECTIONS
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
    folders, web = settings[FolderSettings], settings[WebSettings]
    with tracer_of(os.environ) as tracer, claim_folder(folders.data_dir, folders.node) as folder:
        request_counts = RequestCounts() if settings[ProcessSettings].metrics is Switch.ON else None
        with loading():
            context = Context(settings, url=url, folder=folder, tracer=tracer)
            app = create_app(context, request_counts)
        config = uvicorn.Config(
            app if request_counts is None else CountingMiddleware(app, request_counts),
            loop="tracker.web.server.server:Loop",
            http=protocol(context.lanes, request_counts),  # type: ignore[arg-type]  # called, no more
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            timeout_keep_alive=KEEP_ALIVE_TIMEOUT_S,
            server_header=False,
            backlog=BACKLOG,
            proxy_headers=True,
            forwarded_allow_ips=web.trusted_proxies,
            ssl_certfile=web.tls_cert,
            ssl_keyfile=web.tls_key,
            timeout_graceful_shutdown=REQUESTS_IN_HAND_TIMEOUT_S,
        )
        Server(config, stop_waiting=context.stop_waiting).run(sockets=[listener])
        if lost := context.pipeline.lost_items:
            msg = f"stopped with {lost} items that PostgreSQL did not take in time; they are lost"
            raise LostItemsError(msg)


def _raise_file_limit() -> None:
    """Let as many connections be open as the system allows; the usual limit of 1,024 is for programs with few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_CONNECTIONS + OTHER_FILES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

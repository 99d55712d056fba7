"""The metrics of a process that serves nothing else: `tracker worker --metrics-port`.

They are served by the server that prometheus_client brings, in a thread of its own. It shows this process alone, as the
process shares no data folder with others.
"""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Final
from wsgiref.simple_server import WSGIRequestHandler

from tracker.errors import ConfigurationError
from tracker.kit.timeouts import RequestTimeouts
from tracker.metrics.database_values import WAIT_S, DatabaseValues
from tracker.metrics.exposition import Collected
from tracker.metrics.service import Metrics
from tracker.postgres.engine import create_engine, dispose
from tracker.postgres.request_database import RequestDatabase
from tracker.telemetry.families import DatabaseSource, Families, Source

if TYPE_CHECKING:
    from prometheus_client import Metric

ANSWER_TIMEOUT_S: Final = WAIT_S + 1.0
"""Seconds that a scrape waits for the event loop's values; PostgreSQL may take `WAIT_S` of them."""


class _Handler(WSGIRequestHandler):
    """Handles a scrape without a line in the log; waits for a client only until its time-out."""

    timeout = 10.0

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # as it is called there
        """Write no line."""


class _OfLoop:
    """Collects from another thread what an event loop has counted."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()

    def collect(self) -> "Iterable[Metric]":
        """Return all families."""
        values = asyncio.run_coroutine_threadsafe(self._metrics.values(), self._loop)
        return Collected(values.result(ANSWER_TIMEOUT_S)).collect()


@contextlib.asynccontextmanager
async def metrics_on(
    source: Source, stored: Sequence[DatabaseSource], *, families: Families, url: str, host: str, port: int
) -> AsyncIterator[None]:
    """Show `families` on a port: what `source` counts, and what those of `stored` read from the database at `url`.

    Raises ConfigurationError if the port cannot be had.
    """
    from prometheus_client import CollectorRegistry, make_wsgi_app  # noqa: PLC0415  # only for who wants it
    from prometheus_client.exposition import ThreadingWSGIServer  # noqa: PLC0415

    engine = create_engine(url)
    database = RequestDatabase(engine, RequestTimeouts())
    metrics = Metrics(families, [source], stored=DatabaseValues(database, families, stored), workers=None)
    registry = CollectorRegistry()
    registry.register(_OfLoop(metrics))
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        server_class = type("Server", (ThreadingWSGIServer,), {"address_family": family})
        server = server_class((host, port), _Handler)
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --metrics-host and --metrics-port"
        raise ConfigurationError(msg) from None
    server.set_app(make_wsgi_app(registry))
    serving = asyncio.create_task(asyncio.to_thread(server.serve_forever))
    try:
        yield
    finally:
        await asyncio.to_thread(server.shutdown)
        await serving
        server.server_close()
        await metrics.close()
        await dispose(engine)

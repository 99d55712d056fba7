"""One serving process: its number, its uvicorn, its end.

The worker number makes stamps unique, so no two live workers may share one: each holds a lock on a
file of that number in the data folder for as long as it lives, and the kernel lets go of it however
the process ends.
"""

import asyncio
import contextlib
import fcntl
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Final

import uvicorn
from litestar import Litestar

from tracker.app import create_app
from tracker.carts.service import CartService
from tracker.clock import MAX_WORKERS
from tracker.errors import ConfigurationError, LostItemsError
from tracker.settings import Settings

REQUESTS_IN_HAND_TIMEOUT_S: Final = 3
"""For the requests under way when the process is told to stop, before they are cut off."""

BACKLOG: Final = 2048
"""Connections that the kernel holds until they are accepted."""


CONFIRMATIONS_TIMEOUT_S: Final = 2.0
"""Of these, for the requests that wait for PostgreSQL to confirm their item."""


class Server(uvicorn.Server):
    """uvicorn's server, for which a signal is a reason to stop in order and no failure.

    uvicorn keeps the signals it gets and raises them again once it has stopped: the process then ends
    by one instead of with exit code 0.
    """

    def __init__(self, config: uvicorn.Config, stop_waiting: Callable[[], None]) -> None:
        super().__init__(config)
        self._stop_waiting = stop_waiting

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop in order; those who wait for PostgreSQL get their 503 before they would be cut off."""
        asyncio.get_running_loop().call_later(CONFIRMATIONS_TIMEOUT_S, self._stop_waiting)
        await super().shutdown(sockets)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop in order, also when asked twice: uvicorn would leave what is in hand at the second Ctrl-C."""
        del sig, frame
        self.should_exit = True


def check_tls(settings: Settings) -> None:
    """Raise ConfigurationError unless the certificate in `settings`, if any, can be used."""
    if settings.tls_cert is None:
        if settings.tls_key is not None:
            msg = "TRACKER_TLS_KEY is set, but not TRACKER_TLS_CERT"
            raise ConfigurationError(msg)
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # SSLError is one
        names = f"TRACKER_TLS_CERT={settings.tls_cert}"
        if settings.tls_key is not None:
            names += f" and TRACKER_TLS_KEY={settings.tls_key}"
        msg = f"{names} cannot be used: {error.strerror or error}"
        raise ConfigurationError(msg) from None


def run_worker(settings: Settings, *, url: str, listener: socket.socket) -> None:
    """Serve on `listener` until SIGINT or SIGTERM; then answer and store what is in hand.

    Raises LostItemsError when PostgreSQL did not take everything before the process had to end.
    """
    with worker_number(settings.data_dir) as number:
        app = create_app(settings, url=url, worker=number)
        config = uvicorn.Config(
            app,
            loop="uvloop",
            http="httptools",
            ws="none",
            lifespan="on",
            access_log=False,
            log_config=None,
            server_header=False,
            backlog=BACKLOG,
            proxy_headers=True,
            forwarded_allow_ips=settings.trusted_proxies,
            ssl_certfile=settings.tls_cert,
            ssl_keyfile=settings.tls_key,
            timeout_graceful_shutdown=REQUESTS_IN_HAND_TIMEOUT_S,
        )
        Server(config, stop_waiting=lambda: _carts_of(app).stop_waiting()).run(sockets=[listener])
        context = app.state.get("context")
        if context is not None and (left := len(context.aggregator)):
            msg = f"stopped with {left} items that PostgreSQL did not take in time; they are lost"
            raise LostItemsError(msg)


def _carts_of(app: Litestar) -> CartService:
    """Return the service of an application that has started."""
    carts: CartService = app.state.context.carts
    return carts


@contextlib.contextmanager
def worker_number(data_dir: Path) -> Iterator[int]:
    """Claim the lowest worker number that no live process of this data folder has."""
    folder = data_dir / "workers"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        msg = f"cannot create the data folder {data_dir}: {error.strerror}"
        raise ConfigurationError(msg) from None
    for number in range(MAX_WORKERS):
        descriptor = os.open(folder / f"{number:04}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield number
        finally:
            os.close(descriptor)
        return
    msg = f"all {MAX_WORKERS} worker numbers of the data folder {data_dir} are taken"
    raise ConfigurationError(msg)

"""One serving process: its number, its uvicorn, its end.

The worker number makes stamps unique, so no two live workers may share one: each holds a lock on a
file of that number in the data folder for as long as it lives, and the kernel lets go of it however
the process ends.
"""

import contextlib
import fcntl
import os
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import uvicorn

from tracker.app import create_app
from tracker.clock import MAX_WORKERS
from tracker.errors import ConfigurationError, LostItemsError
from tracker.settings import Settings

REQUESTS_IN_HAND_TIMEOUT_S: Final = 3
"""For the requests under way when the process is told to stop, before they are cut off."""

BACKLOG: Final = 2048
"""Connections that the kernel holds until they are accepted."""


class Server(uvicorn.Server):
    """uvicorn's server, for which a signal is a reason to stop in order and no failure.

    uvicorn raises the signal again once it has stopped, and the process then ends by it instead of
    with exit code 0.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Stop in order on SIGINT and SIGTERM, and leave it at that."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def check_tls(settings: Settings) -> None:
    """Raise ConfigurationError unless the certificate in `settings`, if any, can be used."""
    if settings.tls_cert is None:
        return
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(settings.tls_cert, settings.tls_key)
    except OSError as error:  # SSLError is one
        msg = f"TRACKER_TLS_CERT={settings.tls_cert} cannot be used: {error.strerror or error}"
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
        Server(config).run(sockets=[listener])
        if left := len(app.state.context.aggregator):
            msg = f"stopped with {left} items that PostgreSQL did not take in time; they are lost"
            raise LostItemsError(msg)


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

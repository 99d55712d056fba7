"""Address on which Tracker listens, and the certificate that it uses."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from tracker.errors import ConfigurationError
from tracker.settings import WebSettings

DEFAULT_PORT: Final = 8000

BACKLOG: Final = 2048
"""Number of connections that the kernel holds until they are accepted."""


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """Listen as long as the block runs; raise ConfigurationError if the address cannot be had."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host and --port"
        raise ConfigurationError(msg) from None
    with listener:
        yield listener


def check_tls(settings: WebSettings) -> None:
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

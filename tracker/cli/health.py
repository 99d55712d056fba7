"""`tracker health`, the health check of a container: asked every half minute, it loads nothing of the application."""

import http.client
import os
import signal
import ssl
import sys
from types import FrameType
from typing import Final, NoReturn

import click

from tracker.errors import UnavailableError
from tracker.runtime.features import load_settings
from tracker.settings import WebSettings
from tracker.web.server.listener import DEFAULT_PORT

TIMEOUT_S: Final = 3.0
"""Seconds that the whole check may take; a time-out of the connection would begin anew with each byte."""

MAX_ANSWER_BYTES: Final = 4096


@click.command()
@click.option(
    "--port",
    default=DEFAULT_PORT,
    show_default=True,
    type=click.IntRange(1, 65535),
    help="Where Tracker listens on this machine.",
)
def health(port: int) -> None:
    """Ask the local Tracker whether it is ready.

    Exits with 0 if it accepts items, with 1 if not.
    """
    signal.signal(signal.SIGALRM, _give_up)
    signal.setitimer(signal.ITIMER_REAL, TIMEOUT_S)
    if load_settings(os.environ)[WebSettings].tls_cert is None:
        connection = http.client.HTTPConnection("127.0.0.1", port)
    else:
        context = ssl.create_default_context()
        context.check_hostname = False  # the certificate names the public host, this asks 127.0.0.1
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        text = answer.read(MAX_ANSWER_BYTES).decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        msg = f"no Tracker answers on port {port}: {error}"
        raise UnavailableError(msg) from None
    click.echo(text)
    sys.exit(answer.status != http.HTTPStatus.OK)


def _give_up(_signal: int, _frame: FrameType | None) -> NoReturn:
    msg = f"none within {TIMEOUT_S:g} s"
    raise TimeoutError(msg)

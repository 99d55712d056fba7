"""`tracker serve-worker`: one process of those that a supervisor keeps alive.

Not beside `serve`, so that a worker does not load what that one checks before it serves.
"""

import os
import socket

import click

from tracker.errors import ConfigurationError
from tracker.runtime.serving_process import run_worker
from tracker.settings import load_settings


@click.command(hidden=True)
@click.option("--fd", required=True, type=int)
def serve_worker(fd: int) -> None:
    """Serve on an inherited socket; started by the supervisor."""
    settings = load_settings(os.environ)
    if settings.database_url is None:
        msg = "serve-worker is started by `tracker serve`"
        raise ConfigurationError(msg)
    run_worker(settings, url=settings.database_url, listener=socket.socket(fileno=fd))

"""`tracker serve-worker`: one process of those that a supervisor keeps alive.

Not beside `serve`, so that a worker does not load what that one checks before it serves.
"""

import os
import socket

import click

from tracker.errors import ConfigurationError
from tracker.runtime.features import load_settings
from tracker.runtime.serving_process import run_worker
from tracker.settings import DatabaseSettings


@click.command(hidden=True)
@click.option("--fd", required=True, type=int)
def serve_worker(fd: int) -> None:
    """Serve on an inherited socket; started by the supervisor."""
    settings = load_settings(os.environ)
    url = settings[DatabaseSettings].database_url
    if url is None:
        msg = "serve-worker is started by `tracker serve`"
        raise ConfigurationError(msg)
    run_worker(settings, url=url, listener=socket.socket(fileno=fd))

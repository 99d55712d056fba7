"""`tracker serve`.

A process that only supervises its workers loads what is needed to check the settings, the archive and the database,
and nothing else of the application.
"""

import os
import socket
from collections.abc import Callable

import click

from tracker.cli.database import migrated_database
from tracker.ingest.worker_folders import claim_folder
from tracker.kit.clock import SLOTS
from tracker.kit.loading import loading
from tracker.postgres.engine import display_of
from tracker.runtime.features import check_jobs, check_serving, load_settings
from tracker.settings import DatabaseSettings, FolderSettings, ProcessSettings, Settings, Switch, WebSettings
from tracker.web.server.listener import DEFAULT_PORT, check_tls, listening


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option(
    "--port", default=DEFAULT_PORT, show_default=True, type=click.IntRange(0, 65535), help="0 takes a free one."
)
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, SLOTS), help="Processes that serve.")
def serve(host: str, port: int, workers: int) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Then what is in hand is answered and stored, and the exit code is 0.
    """
    settings = load_settings(os.environ)
    check_tls(settings[WebSettings])
    check_serving(settings)
    with claim_folder(settings[FolderSettings].data_dir, settings[FolderSettings].node):
        pass  # what is wrong with it, as with the others, is said before anything is promised
    if settings[ProcessSettings].jobs is Switch.ON:
        check_jobs(settings)
    with migrated_database(settings, join=False, upgrades_embedded=True) as url:
        serve_on = _alone(settings, url) if workers == 1 else _supervised(workers, url)
        with listening(host, port) as listener:
            _say_ready(settings, url, listener)
            serve_on(listener)


def _alone(settings: Settings, url: str) -> Callable[[socket.socket], None]:
    """Return what serves in this process."""
    with loading():
        from tracker.runtime.serving_process import run_worker  # noqa: PLC0415  # the application: half of a start, and 26 MiB

    return lambda listener: run_worker(settings, url=url, listener=listener)


def _supervised(workers: int, url: str) -> Callable[[socket.socket], None]:
    """Return what serves in processes of their own."""
    from tracker.runtime.supervisor import Supervisor  # noqa: PLC0415  # subprocess and random, for one process for nothing

    environ = {**os.environ, "DATABASE_URL": url}
    return lambda listener: Supervisor(listener, workers=workers, environ=environ).run()


def _say_ready(settings: Settings, url: str, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings[WebSettings].tls_cert is None else "https"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    if settings[DatabaseSettings].database_url is None:
        where = f"{settings[FolderSettings].data_dir.resolve()} (an embedded PostgreSQL; it stays between starts)"
        own = (
            "\n  your own PostgreSQL  set DATABASE_URL=postgresql://user:password@host/database, then: tracker migrate"
        )
    else:
        where, own = display_of(url), ""
    body = '{"external_id": "sku-1", "name": "Mug", "value": 1250}'
    click.echo(
        f"Tracker listens on {address}\n"
        f"  try it   curl -i {address}/item -H 'Content-Type: application/json' -d '{body}'\n"
        f"  data     {where}{own}\n"
        "  stop     Ctrl-C",
    )

"""The `tracker` command."""

import asyncio
import contextlib
import http.client
import os
import socket
import ssl
import sys
from collections.abc import Iterator
from typing import Final

import click
import uvloop

from tracker import tracing
from tracker.background import Jobs, follow_up_of, run_jobs_until_told
from tracker.carts.commands import dead_letters
from tracker.carts.journal.folders import claim_folder
from tracker.catalog.commands import catalog
from tracker.clock import SLOTS
from tracker.datalife.commands import erase, export, prune
from tracker.db.database import database
from tracker.db.engine import display_of
from tracker.db.schema import check_schema, upgrade_schema
from tracker.errors import ConfigurationError, TrackerError, UnavailableError
from tracker.logs import set_up_logging
from tracker.metrics.port import metrics_on
from tracker.reservations.commands import reservations
from tracker.settings import Settings, Switch, load_settings
from tracker.supervisor import Supervisor
from tracker.warranties.archive import open_archive
from tracker.warranties.commands import warranties
from tracker.warranties.rates import load_rates
from tracker.worker import BACKLOG, check_tls, run_worker

DEFAULT_PORT: Final = 8000
HEALTH_TIMEOUT_S: Final = 3.0


class _Commands(click.Group):
    """Shows an error that the user can mend as one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (TrackerError, OSError, UnicodeError) as error:
            click.echo(f"tracker: {error}", err=True)
            sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="tracker")
@click.pass_context
def main(context: click.Context) -> None:
    """Track what shoppers put into their carts: answer at once, store in PostgreSQL.

    Settings come from the environment: DATABASE_URL names the PostgreSQL to use (without it, an
    embedded one runs in the data folder), TRACKER_DATA_DIR the data folder. The README lists all.
    """
    context.obj = follow_up_of
    log = load_settings({name: text for name, text in os.environ.items() if name.startswith("TRACKER_LOG_")})
    set_up_logging(log.log_level, log.log_format)


@main.command()
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
    check_tls(settings)
    load_rates(settings.warranty_rates)
    with claim_folder(settings.data_dir, settings.node):
        pass  # what is wrong with it, as with the others, is said before anything is promised
    if settings.jobs is Switch.ON:
        open_archive(settings)
    with database(settings, join=False) as url:
        if settings.database_url is None:
            upgrade_schema(url)
        check_schema(url)
        with _listen(host, port) as listener:
            _say_ready(settings, url, listener)
            if workers == 1:
                run_worker(settings, url=url, listener=listener)
            else:
                Supervisor(listener, workers=workers, environ={**os.environ, "DATABASE_URL": url}).run()


main.add_command(catalog)
main.add_command(dead_letters)
main.add_command(reservations)
main.add_command(warranties)
main.add_command(prune)
main.add_command(erase)
main.add_command(export)


@main.command()
@click.option(
    "--metrics-port", type=click.IntRange(1, 65535), help="Show the metrics of this process to Prometheus there."
)
@click.option("--metrics-host", default="127.0.0.1", show_default=True, help="Address of the port.")
def worker(metrics_port: int | None, metrics_host: str) -> None:
    """Run the jobs alone, until Ctrl-C or SIGTERM.

    For who wants to scale them apart from `tracker serve`, which then has TRACKER_JOBS=off.
    """
    settings = load_settings(os.environ)
    open_archive(settings)  # what is wrong with it is said before anything is promised
    with database(settings) as url:
        check_schema(url)

        def beside(jobs: Jobs) -> contextlib.AbstractAsyncContextManager[None]:
            if metrics_port is None:
                return contextlib.nullcontext()
            return metrics_on(jobs, url=url, host=metrics_host, port=metrics_port)

        click.echo("Tracker runs the jobs\n  stop     Ctrl-C")
        with tracing.tracing(os.environ), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run_jobs_until_told(settings, url=url, beside=beside))


@main.command(hidden=True)
@click.option("--fd", required=True, type=int)
def serve_worker(fd: int) -> None:
    """Serve on an inherited socket; started by the supervisor."""
    settings = load_settings(os.environ)
    if settings.database_url is None:
        msg = "serve-worker is started by `tracker serve`"
        raise ConfigurationError(msg)
    run_worker(settings, url=settings.database_url, listener=socket.socket(fileno=fd))


@main.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    The same as `alembic upgrade head`.
    """
    with database(load_settings(os.environ)) as url:
        upgrade_schema(url)
        check_schema(url)
        click.echo(f"The schema of {display_of(url)} is up to date.")


@main.command()
@click.option("--port", default=DEFAULT_PORT, show_default=True, help="Where Tracker listens on this machine.")
def health(port: int) -> None:
    """Ask the local Tracker whether it is ready.

    Exits with 0 if it accepts items, with 1 if not.
    """
    if load_settings(os.environ).tls_cert is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HEALTH_TIMEOUT_S)
    else:
        context = ssl.create_default_context()
        context.check_hostname = False  # the certificate names the public host, this asks 127.0.0.1
        context.verify_mode = ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=HEALTH_TIMEOUT_S, context=context)
    try:
        connection.request("GET", "/health/ready")
        answer = connection.getresponse()
        text = answer.read().decode()
    except (OSError, http.client.HTTPException) as error:
        msg = f"no Tracker answers on port {port}: {error}"
        raise UnavailableError(msg) from None
    click.echo(text)
    sys.exit(answer.status != http.HTTPStatus.OK)


@contextlib.contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        msg = f"cannot listen on {host}:{port}: {error.strerror}; choose another with --host and --port"
        raise ConfigurationError(msg) from None
    with listener:
        yield listener


def _say_ready(settings: Settings, url: str, listener: socket.socket) -> None:
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls_cert is None else "https"
    address = f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"
    if settings.database_url is None:
        where = f"{settings.data_dir.resolve()} (an embedded PostgreSQL; it stays between starts)"
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

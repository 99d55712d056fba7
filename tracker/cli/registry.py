"""The `tracker` command: which commands there are, and what an error looks like.

A command's module is loaded when the command is called: imports are most of what a start costs. `tracker health`, which
a container asks twice a minute, takes a twelfth of the CPU time that it would take with all of them loaded (0.11 s and
23 MiB instead of 1.3 s and 96 MiB), and a process that supervises workers half (0.7 s and 71 MiB instead of 1.4 s and
97 MiB).
"""

import importlib
import os
import signal
import sys
from typing import Final

import click

from tracker.errors import TrackerError
from tracker.kit.loading import loading
from tracker.settings import LogSettings, read_group

COMMANDS: Final = {
    "catalog": "tracker.cli.catalog:catalog",
    "dead-letters": "tracker.cli.dead_letters:dead_letters",
    "erase": "tracker.cli.data:erase",
    "export": "tracker.cli.data:export",
    "health": "tracker.cli.health:health",
    "migrate": "tracker.cli.migrate:migrate",
    "prune": "tracker.cli.data:prune",
    "reservations": "tracker.cli.reservations:reservations",
    "serve": "tracker.cli.serve:serve",
    "serve-worker": "tracker.cli.serve_worker:serve_worker",
    "warranties": "tracker.cli.warranties:warranties",
    "worker": "tracker.cli.worker:worker",
}
"""Location of each command's function: its module, and its name there."""

SERVICES: Final = {"serve", "serve-worker", "worker"}
"""Commands that run until they are told to stop; they handle signals themselves once they have something in hand."""


class _Commands(click.Group):
    """Loads a command when it is called, and shows an error that the user can mend as one line, without a traceback."""

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name].partition(":")
        with loading():
            command: click.Command = getattr(importlib.import_module(module), name)
        return command

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except (TrackerError, OSError, UnicodeError) as error:
            click.echo(f"tracker: {error}", err=True)
            sys.exit(1)


@click.group(
    cls=_Commands,
    commands=[click.Command(name) for name in COMMANDS],  # for click to list, and to suggest when one is misspelled
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(package_name="tracker")
@click.pass_context
def main(context: click.Context) -> None:
    """Track what shoppers put into their carts: answer at once, store in PostgreSQL.

    Settings come from the environment: DATABASE_URL names the PostgreSQL to use (without it, an
    embedded one runs in the data folder), TRACKER_DATA_DIR the data folder. The guide
    tracker/docs/settings.md lists all.
    """
    if context.invoked_subcommand not in SERVICES and signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # what a command has begun is to be tidied up
    log = read_group(os.environ, LogSettings)
    if context.invoked_subcommand != "health":  # the one that logs nothing
        with loading():
            from tracker.telemetry.logs import set_up_logging  # noqa: PLC0415  # structlog takes as long as all of `health`

        set_up_logging(log.log_level, log.log_format)

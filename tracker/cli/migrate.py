"""`tracker migrate`."""

import os

import click

from tracker.postgres.engine import display_of
from tracker.postgres.location import database
from tracker.postgres.schema import check_schema, upgrade_schema
from tracker.settings import load_settings


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    The same as `alembic upgrade head`.
    """
    with database(load_settings(os.environ)) as url:
        upgrade_schema(url)
        check_schema(url)
        click.echo(f"The schema of {display_of(url)} is up to date.")

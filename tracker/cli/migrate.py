"""`tracker migrate`."""

import click

from tracker.cli.database import database_of_environment
from tracker.postgres.engine import display_of
from tracker.postgres.schema import check_schema, upgrade_schema


@click.command()
def migrate() -> None:
    """Bring the database's schema up to date.

    The same as `alembic upgrade head`.
    """
    with database_of_environment() as url:
        upgrade_schema(url)
        check_schema(url)
        click.echo(f"The schema of {display_of(url)} is up to date.")

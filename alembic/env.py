"""How Alembic reaches the database and knows the tables."""

import asyncio

from alembic import context
from sqlalchemy import Connection, text

from tracker.cli.database import database_of_environment
from tracker.postgres.engine import create_engine
from tracker.runtime.features import metadata_of_all_tables

LOCK_TIMEOUT = "5s"
"""A migration that cannot get its lock gives up, instead of making every flush queue behind it."""

TURN_TIMEOUT = "10min"
"""For the migration of another replica to end."""

ONE_AT_A_TIME = 7_405_322_914
"""Advisory lock, so that two replicas which both migrate at the start do it one after the other."""


def run(connection: Connection) -> None:
    """Migrate in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata_of_all_tables(),
        compare_server_default=True,
        include_name=lambda name, kind, _: kind != "table" or not str(name).startswith("pgqueuer"),  # the queue's own
    )
    with context.begin_transaction():
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        connection.execute(text(f"SET LOCAL lock_timeout = '{TURN_TIMEOUT}'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ONE_AT_A_TIME})
        connection.execute(text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'"))
        context.run_migrations()


async def connect_and_run(url: str) -> None:
    """Migrate the database at `url`."""
    engine = create_engine(url, command_timeout_s=None)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(run)
            await connection.commit()
    finally:
        await engine.dispose()


def main() -> None:
    """Migrate the database that the caller or the settings name."""
    if url := context.config.attributes.get("url"):
        asyncio.run(connect_and_run(url))
        return
    with database_of_environment() as url:
        asyncio.run(connect_and_run(url))


main()

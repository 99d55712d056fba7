"""The schema's version: bring it up to date with Alembic, or refuse to work on another one."""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from tracker.db.engine import create_engine, display_of
from tracker.errors import ConfigurationError, StaleSchemaError

_PACKAGE = Path(__file__).parent.parent


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for the database at `url`, from a checkout or a wheel alike."""
    in_wheel = _PACKAGE / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(in_wheel if in_wheel.exists() else _PACKAGE.parent / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade_schema(url: str) -> None:
    """Bring the database at `url` to the newest schema."""
    command.upgrade(alembic_config(url), "head")


def check_schema(url: str) -> None:
    """Raise StaleSchemaError unless the database at `url` has the schema of this version.

    Raises ConfigurationError when the database cannot be reached.
    """
    expected = ScriptDirectory.from_config(alembic_config(url)).get_current_head()
    try:
        found = asyncio.run(_revision(url))
    except (OSError, SQLAlchemyError) as error:
        msg = f"cannot reach PostgreSQL at {display_of(url)}: {error}"
        raise ConfigurationError(msg) from error
    if found != expected:
        msg = (
            f"the database's schema is at {found or 'nothing'}, this version of Tracker needs {expected}; "
            "run: tracker migrate"
        )
        raise StaleSchemaError(msg)


async def _revision(url: str) -> str | None:
    def read(connection: Connection) -> str | None:
        return MigrationContext.configure(connection).get_current_revision()

    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(read)
    finally:
        await engine.dispose()

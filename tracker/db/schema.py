"""The schema's version: bring it up to date with Alembic, or refuse to work on another one."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from tracker.db.engine import create_engine, display_of
from tracker.db.failures import first_line
from tracker.errors import ConfigurationError, StaleSchemaError

_PACKAGE: Final = Path(__file__).parent.parent

T = TypeVar("T")

logger = logging.getLogger(__name__)


def alembic_config(url: str) -> Config:
    """Return Alembic's configuration for the database at `url`, from a checkout or a wheel alike."""
    in_wheel = _PACKAGE / "_migrations"
    config = Config()
    config.set_main_option("script_location", str(in_wheel if in_wheel.exists() else _PACKAGE.parent / "alembic"))
    config.attributes["url"] = url
    return config


def upgrade_schema(url: str) -> None:
    """Bring the database at `url` to the newest schema.

    Raises ConfigurationError when the database cannot be reached or refuses the migration, and
    StaleSchemaError when it is ahead of this version.
    """
    config = alembic_config(url)
    found = _current_revision(url)
    if found is not None and found not in _known_revisions(config):
        msg = f"the database's schema is at {found}, which is newer than this version of Tracker; install that version"
        raise StaleSchemaError(msg)
    try:
        command.upgrade(config, "head")
    except (OSError, SQLAlchemyError) as error:
        msg = f"the migration of {display_of(url)} failed and changed nothing: {first_line(error)}"
        raise ConfigurationError(msg) from error
    head = ScriptDirectory.from_config(config).get_current_head()
    if found != head:
        logger.info("the schema is upgraded", extra={"before": found, "now": head})


def check_schema(url: str) -> None:
    """Raise StaleSchemaError unless the database at `url` has the schema of this version.

    Raises ConfigurationError when the database cannot be reached or cannot hold every text.
    """
    encoding = _read(url, _read_encoding)
    if encoding != "UTF8":
        msg = f"the database {display_of(url)} has the encoding {encoding}; Tracker needs one with UTF8"
        raise ConfigurationError(msg)
    expected = ScriptDirectory.from_config(alembic_config(url)).get_current_head()
    found = _current_revision(url)
    if found != expected:
        msg = (
            f"the database's schema is at {found or 'nothing'}, this version of Tracker needs {expected}; "
            "run: tracker migrate"
        )
        raise StaleSchemaError(msg)


def _known_revisions(config: Config) -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}


def _current_revision(url: str) -> str | None:
    return _read(url, lambda connection: MigrationContext.configure(connection).get_current_revision())


def _read_encoding(connection: Connection) -> str:
    return str(connection.exec_driver_sql("SHOW server_encoding").scalar_one())


def _read(url: str, read: Callable[[Connection], T]) -> T:
    try:
        return asyncio.run(_connect_and_read(url, read))
    except (OSError, SQLAlchemyError, ValueError) as error:  # ValueError: of a URL, by asyncpg
        msg = f"cannot reach PostgreSQL at {display_of(url)}: {first_line(error)}"
        raise ConfigurationError(msg) from error


async def _connect_and_read(url: str, read: Callable[[Connection], T]) -> T:
    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            return await connection.run_sync(read)
    finally:
        await engine.dispose()

"""The schema's version: bring it up to date with Alembic, or refuse to work on another one.

Alembic is loaded only where there is something to migrate: it costs a start 0.1 s and 8 MiB. Which revisions there are
is told by the names of the migrations' files, which begin with them; a test holds them against what Alembic reads.
"""

import asyncio
import logging
from pathlib import Path
from typing import Final, NamedTuple

from sqlalchemy.exc import ProgrammingError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.errors import ConfigurationError, StaleSchemaError
from tracker.postgres.engine import create_engine, display_of
from tracker.postgres.error_classes import first_line

_PACKAGE: Final = Path(__file__).parent.parent

_LOOK: Final = (
    "SELECT current_setting('server_encoding') AS encoding, to_regclass('alembic_version') IS NOT NULL AS migrated"
)

logger = logging.getLogger(__name__)


class _Found(NamedTuple):
    """The state that a database was found in."""

    encoding: str
    revision: str | None
    """Revision of the schema; None if the database was never migrated."""


def upgrade_schema(url: str) -> None:
    """Bring the database at `url` to the newest schema.

    Raises ConfigurationError when the database cannot be reached or refuses the migration, and
    StaleSchemaError when it is ahead of this version.
    """
    found, known = _read(url).revision, known_revisions()
    if found == known[-1]:
        return
    if found is not None and found not in known:
        raise StaleSchemaError(_newer(found))
    from alembic import command  # noqa: PLC0415  # see above
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(_scripts()))
    config.attributes["url"] = url
    try:
        command.upgrade(config, "head")
    except (OSError, SQLAlchemyError) as error:
        msg = f"the migration of {display_of(url)} failed and changed nothing: {first_line(error)}"
        raise ConfigurationError(msg) from error
    logger.info("the schema is upgraded", extra={"before": found, "now": known[-1]})


def check_schema(url: str) -> None:
    """Raise StaleSchemaError unless the database at `url` has the schema of this version.

    Raises ConfigurationError when the database cannot be reached or cannot hold every text.
    """
    found, newest = _read(url), known_revisions()[-1]
    if found.encoding != "UTF8":
        msg = f"the database {display_of(url)} has the encoding {found.encoding}; Tracker needs one with UTF8"
        raise ConfigurationError(msg)
    if found.revision is not None and found.revision not in known_revisions():
        raise StaleSchemaError(_newer(found.revision))
    if found.revision != newest:
        msg = (
            f"the database's schema is at {found.revision or 'nothing'}, this version of Tracker needs {newest}; "
            "run: tracker migrate"
        )
        raise StaleSchemaError(msg)


def _newer(revision: str) -> str:
    return f"the database's schema is at {revision}, which this version of Tracker does not know; install a newer one"


def known_revisions() -> list[str]:
    """Return the revisions of this version of Tracker, oldest first."""
    return sorted(path.name.partition("_")[0] for path in (_scripts() / "versions").glob("[0-9]*.py"))


def _scripts() -> Path:
    """Return the folder of the migrations, in a checkout or a wheel alike."""
    in_wheel = _PACKAGE / "_migrations"
    return in_wheel if in_wheel.exists() else _PACKAGE.parent / "alembic"


def _read(url: str) -> _Found:
    try:
        return asyncio.run(_connect_and_read(url))
    except (OSError, SQLAlchemyError, ValueError) as error:  # ValueError: of a URL, by asyncpg
        verb = "use" if isinstance(error, ProgrammingError) else "reach"
        msg = f"cannot {verb} PostgreSQL at {display_of(url)}: {first_line(error)}"
        raise ConfigurationError(msg) from error


async def _connect_and_read(url: str) -> _Found:
    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            return await _look(connection)
    finally:
        await engine.dispose()


async def _look(connection: AsyncConnection) -> _Found:
    row = (await connection.exec_driver_sql(_LOOK)).one()
    if not row.migrated:
        return _Found(row.encoding, None)
    revisions = (await connection.exec_driver_sql("SELECT version_num FROM alembic_version")).scalars().all()
    return _Found(row.encoding, ", ".join(revisions) or None)

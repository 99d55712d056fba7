"""The pool of connections.

asyncpg reads the URL itself, so that it means what it means to libpq (`sslmode`, a socket folder as
`host`, `PGPASSWORD`, `~/.pgpass`); SQLAlchemy's own URL parser would hand `sslmode` on and fail.
"""

import contextlib
from collections.abc import AsyncIterator
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from tracker.errors import ConfigurationError
from tracker.kit.background_task import close_within
from tracker.postgres.connection import COMMAND_TIMEOUT_S, LOCK_TIMEOUT_S, Connector, PooledConnection

DISPOSE_TIMEOUT_S: Final = 1.0
"""Seconds that connections get to close in order; a server that hangs is not waited for."""

POOL_TIMEOUT_S: Final = 5.0
"""Seconds to get a connection from the pool; a reader waits no longer than this before it gets a 503."""


def dsn_of(url: str) -> str:
    """Return `url` as asyncpg takes it, from any of the spellings in use.

    Raises ConfigurationError unless it is a PostgreSQL URL.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or scheme not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        msg = "DATABASE_URL is not valid: expected postgresql://user:password@host:port/database"
        raise ConfigurationError(msg)
    return f"postgresql://{rest}"


def display_of(url: str) -> str:
    """Return the part of `url` that may be shown: never the password, which may also be in its query."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    place = parts.netloc.rpartition("@")[2] or query.get("host", "")
    user = unquote(parts.username or query.get("user", ""))
    return f"{parts.scheme}://{user}{'@' if user else ''}{place}{parts.path}"


async def dispose(engine: AsyncEngine) -> None:
    """Close the connections of an engine; a server that hangs is not waited for."""
    await close_within(engine.dispose, DISPOSE_TIMEOUT_S)


def create_engine(
    url: str,
    *,
    pool_size: int = 1,
    command_timeout_s: float | None = COMMAND_TIMEOUT_S,
    lock_timeout_s: float = LOCK_TIMEOUT_S,
    pool_timeout_s: float = POOL_TIMEOUT_S,
) -> AsyncEngine:
    """Return a pooled engine for `url`; it connects when first used.

    Without a `command_timeout_s` a statement may take as long as the server lets it.
    """
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=Connector(dsn_of(url), command_timeout_s=command_timeout_s, lock_timeout_s=lock_timeout_s),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_s,
        hide_parameters=True,  # an error that shows them shows carts, in the log
    )


@contextlib.asynccontextmanager
async def engine_on(
    url: str, *, command_timeout_s: float | None = COMMAND_TIMEOUT_S, lock_timeout_s: float = LOCK_TIMEOUT_S
) -> AsyncIterator[AsyncEngine]:
    """Yield an engine with one connection, for a command; the options are those of `create_engine`."""
    engine = create_engine(url, command_timeout_s=command_timeout_s, lock_timeout_s=lock_timeout_s)
    try:
        yield engine
    finally:
        await dispose(engine)


def is_pooled(connection: AsyncConnection) -> bool:
    """Return whether an open connection goes to a pooler."""
    connected = connection.sync_connection
    return connected is not None and isinstance(connected.connection.driver_connection, PooledConnection)

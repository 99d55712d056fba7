"""The connection pool, with a time-out on every wait.

asyncpg reads the URL itself, so that it means what it means to libpq (`sslmode`, a socket folder as
`host`, `PGPASSWORD`, `~/.pgpass`); SQLAlchemy's own URL parser would hand `sslmode` on and fail.
"""

import asyncio
import contextlib
from functools import partial
from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from tracker.errors import ConfigurationError

CONNECT_TIMEOUT_S: Final = 5.0
"""To reach the server and log in. Longer, and a flush after an outage would start that much later."""

STATEMENT_TIMEOUT_S: Final = 30.0
"""For one statement, asked of the server."""

COMMAND_TIMEOUT_S: Final = STATEMENT_TIMEOUT_S + 5
"""The same on this side, for a server that no longer answers at all; later, so that the server's
own word comes first."""

IDLE_TIMEOUT_S: Final = 10.0
"""For a transaction in which nothing happens: a process that is frozen in one would keep a cart locked, and
so every flush waiting that meets it."""

DISPOSE_TIMEOUT_S: Final = 1.0
"""For the connections to say goodbye; a server that hangs is not waited for."""

POOL_TIMEOUT_S: Final = 5.0
"""To get a connection from the pool; a reader waits no longer than this before it gets a 503."""


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
    """Return what may be shown of `url`: never a password, which may stand in its query too."""
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    place = parts.netloc.rpartition("@")[2] or query.get("host", "")
    user = unquote(parts.username or query.get("user", ""))
    return f"{parts.scheme}://{user}{'@' if user else ''}{place}{parts.path}"


async def dispose(engine: AsyncEngine) -> None:
    """Let go of the connections of an engine; a server that hangs is not waited for."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISPOSE_TIMEOUT_S):
            await engine.dispose()


def create_engine(
    url: str,
    *,
    pool_size: int = 1,
    command_timeout_s: float | None = COMMAND_TIMEOUT_S,
    lock_timeout_s: float = 0,
    pool_timeout_s: float = POOL_TIMEOUT_S,
) -> AsyncEngine:
    """Return a pooled engine for `url`; it connects when first used.

    Without a `command_timeout_s` a statement may take as long as the server lets it, without a `lock_timeout_s` it
    waits as long for a lock.
    """
    connect = partial(
        asyncpg.connect,
        dsn_of(url),
        timeout=CONNECT_TIMEOUT_S,
        command_timeout=command_timeout_s,
        server_settings={
            "application_name": "tracker",
            "client_encoding": "utf8",
            "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
            "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S:.0f}s",
            "lock_timeout": f"{lock_timeout_s:.0f}s",
        },
    )
    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=pool_timeout_s,
    )

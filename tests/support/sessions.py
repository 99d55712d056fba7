"""Sessions of PostgreSQL that a test's looks at the database share.

A connection for each look cost the tests 30 s of CPU time, half of it in the backends that were started for them.
"""

import asyncio
import contextlib
import threading
from typing import Any, Self

import asyncpg


class Session:
    """A connection, and an event loop for it."""

    def __init__(self, url: str) -> None:
        self._runner = asyncio.Runner()
        try:
            # Without a cache, as tests change tables and types below it.
            self._connection = self._runner.run(asyncpg.connect(url, statement_cache_size=0))
        except BaseException:
            self._runner.close()
            raise

    @property
    def is_free(self) -> bool:
        """Whether it is open, and in no transaction."""
        return not self._connection.is_closed() and not self._connection.is_in_transaction()

    def fetch(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a statement and return its rows."""
        rows = self._runner.run(self._connection.fetch(sql, *arguments))
        return [dict(row) for row in rows]

    def close(self) -> None:
        """Let go of it."""
        with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            self._runner.run(self._connection.close(timeout=5))
        self._runner.close()


class Sessions:
    """Those of one database that nobody uses at the moment; they are closed at the end of the block."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._idle: list[Session] = []
        self._open = True
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._open, idle, self._idle = False, self._idle, []
        for session in idle:
            session.close()

    def fetch(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a statement and return its rows; in any thread."""
        session = self._kept() or Session(self._url)
        try:
            return session.fetch(sql, *arguments)
        finally:
            with self._lock:
                keep = self._open and session.is_free
                if keep:
                    self._idle.append(session)
            if not keep:
                session.close()

    def _kept(self) -> Session | None:
        """Return a session that was used before, and is alive: tests end them."""
        while True:
            with self._lock:
                if not self._idle:
                    return None
                session = self._idle.pop()
            with contextlib.suppress(OSError, asyncpg.InterfaceError, asyncpg.PostgresError):
                session.fetch("SELECT")
                return session
            session.close()

"""One connection to PostgreSQL: a bound on every wait, a peer that is dead noticed, and a pooler in between borne.

A pooler such as pgbouncer in transaction mode gives each transaction another session of the server. Whether there is
one is found out for each connection, so that no setting can be forgotten, or be wrong after a move: a pooler refuses
the time-outs among the parameters of the start; one that is told to ignore them gives a process number that is not
the session's, as it must to find the session that a cancel request means. Without a pooler that costs one exchange
with each new connection, and nothing later.

Behind a pooler

- no statement has a name: each is parsed anew in the message that also executes it, in whichever session that is.
  What its parameters and rows look like stays known here, so it is one exchange still, where unique names would need
  a transaction around each statement and would stay behind in the sessions. Such names as pgbouncer itself follows
  since 1.21 would do too, but not everywhere: Debian 12 has 1.18;
- everything is in a transaction, whose time-outs come in the message of its BEGIN. A SET would be another client's
  next, and one of the role, or of the database, is for its owner to make;
- nobody listens for notifications: the jobs are found by polling.
"""

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import asyncpg

CONNECT_TIMEOUT_S: Final = 5.0
"""Seconds until an attempt to reach the server and log in is given up.

With a longer time a flush after an outage would start that much later.
"""

STATEMENT_TIMEOUT_S: Final = 30.0
"""Seconds that one statement may take; the server enforces this."""

COMMAND_TIMEOUT_S: Final = STATEMENT_TIMEOUT_S + 5
"""Seconds that one statement may take; the client enforces this, for a server that no longer answers at all.

It is longer than `STATEMENT_TIMEOUT_S`, so that the server's own error comes first.
"""

IDLE_TIMEOUT_S: Final = 10.0
"""Seconds that a transaction may stay open while nothing happens in it.

A process that is frozen in a transaction would keep a cart locked, and every flush that needs this cart would wait.
"""

LOCK_TIMEOUT_S: Final = IDLE_TIMEOUT_S + 5
"""Seconds that a statement waits for one lock, unless the caller sets another time.

It is longer than the holder of the lock may be frozen, and shorter than the statement may take, so that the log names
the lock as the reason.
"""

KEEPALIVE_IDLE_S: Final = 20
"""Seconds without traffic after which a peer is asked whether it is still there.

Firewalls and load balancers forget a connection after 60 s or more, so this time is shorter.
"""

KEEPALIVE_INTERVAL_S: Final = 10
KEEPALIVE_COUNT: Final = 3
"""Number of keepalive questions without an answer, 10 s apart, after which the peer counts as dead.

This takes 50 s in all. By default Linux sends the first question after two hours.
"""

UNACKNOWLEDGED_TIMEOUT_S: Final = KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT
"""Seconds that sent data may stay unacknowledged before the connection counts as dead.

During this time no keepalives are sent, and Linux by default goes on for 15 minutes.
"""

_SERVER_KEEPALIVES: Final = {
    "tcp_keepalives_idle": f"{KEEPALIVE_IDLE_S}s",
    "tcp_keepalives_interval": f"{KEEPALIVE_INTERVAL_S}s",
    "tcp_keepalives_count": f"{KEEPALIVE_COUNT}",
    "tcp_user_timeout": f"{UNACKNOWLEDGED_TIMEOUT_S}s",
}
"""Keepalive settings for the server's side, where a session of a dead client may hold locks.

Unix sockets ignore them.
"""

_REFUSAL: Final = "unsupported startup parameter"
"""Text of the error with which pgbouncer, and likewise Odyssey and PgCat, refuse a parameter they do not know."""


class Connection(asyncpg.Connection):  # type: ignore[misc]  # asyncpg has no types
    """A session of PostgreSQL."""

    def keep_alive(self) -> None:
        """Make the kernel notice a dead peer, also without traffic."""
        endpoint = self._transport.get_extra_info("socket")
        if endpoint.family not in {socket.AF_INET, socket.AF_INET6}:
            return
        # uvloop's is no real socket; a second one on a copy of the descriptor sets the options of both.
        with socket.fromfd(endpoint.fileno(), endpoint.family, socket.SOCK_STREAM) as copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
            copy.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_TIMEOUT_S * 1000)

    async def is_direct(self) -> bool:
        """Return whether the peer is the server's session itself, and not a pooler."""
        # In the simple protocol, as a statement with a name would stay behind in a pooler's session.
        found = await self.execute(
            f"SELECT WHERE pg_backend_pid() = {self.get_server_pid()}",
            timeout=CONNECT_TIMEOUT_S,
        )
        return bool(found == "SELECT 1")


class PooledConnection(Connection):
    """A client of a pooler that may give each of its transactions another session."""

    time_outs: str
    """SQL statements that set the time-outs for the rest of a transaction; they are appended to its BEGIN."""

    async def prepare(self, query: str, **options: Any) -> Any:  # noqa: ANN401  # as asyncpg's
        """Prepare a statement without a name: asyncpg parses it anew at each execution."""
        return await super().prepare(query, **options | {"name": ""})

    async def execute(self, query: str, *args: object, **options: Any) -> str:  # noqa: ANN401  # as asyncpg's
        """Run a statement, in a transaction of its own if there is none yet."""
        if query.startswith("BEGIN"):
            query += self.time_outs
        async with self._transaction_around(query):
            status: str = await super().execute(query, *args, **options)
        return status

    async def fetch(self, query: str, *args: object, **options: Any) -> Any:  # noqa: ANN401  # as asyncpg's
        """Run a statement, in a transaction of its own if there is none yet, and return its rows."""
        async with self._transaction_around(query):
            return await super().fetch(query, *args, **options)

    @contextlib.asynccontextmanager
    async def _transaction_around(self, query: str) -> AsyncIterator[None]:
        if self.is_in_transaction() or query.startswith("BEGIN"):
            yield
        else:
            async with self.transaction():
                yield

    async def add_listener(self, channel: str, callback: Callable[..., object]) -> None:
        """Do nothing: a moment later the session belongs to another client."""

    def get_reset_query(self) -> str:
        """Return an empty query: our transactions leave nothing to reset, and what other clients left is not ours."""
        return ""


class Connector:
    """Makes connections to one database, all with the same time-outs."""

    def __init__(
        self,
        dsn: str,
        *,
        application_name: str = "tracker",
        command_timeout_s: float | None = COMMAND_TIMEOUT_S,
        lock_timeout_s: float = LOCK_TIMEOUT_S,
    ) -> None:
        """Connect to `dsn`, as asyncpg takes it.

        Without a `command_timeout_s` a statement may take as long as the server lets it.
        """
        self._common: dict[str, Any] = {
            "dsn": dsn,
            "timeout": CONNECT_TIMEOUT_S,
            "command_timeout": command_timeout_s,
        }
        self._names = {"application_name": application_name, "client_encoding": "utf8"}
        self._time_outs = {
            "statement_timeout": f"{STATEMENT_TIMEOUT_S:.0f}s",
            "idle_in_transaction_session_timeout": f"{IDLE_TIMEOUT_S:.0f}s",
            "lock_timeout": f"{lock_timeout_s:.0f}s",
        }
        self._meets_pooler = False

    async def __call__(self, *_: object, **__: object) -> Connection:
        """Return a new connection; ignore the arguments that a pool of asyncpg passes."""
        if not self._meets_pooler and (connection := await self._direct()) is not None:
            return connection
        self._meets_pooler = True
        return await self._pooled()

    async def _direct(self) -> Connection | None:
        """Return a connection directly to a session of the server, or None if there is a pooler in between."""
        try:
            connection: Connection = await asyncpg.connect(
                **self._common,
                connection_class=Connection,
                server_settings=self._names | self._time_outs | _SERVER_KEEPALIVES,
            )
        except asyncpg.ProtocolViolationError as error:
            if _REFUSAL in str(error):
                return None
            raise
        try:
            connection.keep_alive()
            is_direct = await connection.is_direct()
        except BaseException:
            connection.terminate()
            raise
        if is_direct:
            return connection
        connection.terminate()
        return None

    async def _pooled(self) -> Connection:
        connection: PooledConnection = await asyncpg.connect(
            **self._common,
            connection_class=PooledConnection,
            server_settings=self._names,
            statement_cache_size=0,
        )
        connection.time_outs = "".join(f"SET LOCAL {name} = '{value}';" for name, value in self._time_outs.items())
        connection.keep_alive()
        return connection

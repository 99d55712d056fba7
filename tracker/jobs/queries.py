"""pgqueuer's queries, on its own driver and in a transaction of SQLAlchemy's.

The queue is pgqueuer's (MIT, on asyncpg, in active development): a table, SKIP LOCKED, heartbeats. Its
enqueueing runs here through SQLAlchemy's own connection: on the asyncpg connection below it, a job could
survive the rollback, as SQLAlchemy begins a transaction only with its own first statement.

The names of its tables are fixed here. Left to itself it takes them from the environment, even from
variables with names as common as CHANNEL.
"""

import asyncio
from typing import Final, Self

from pgqueuer.adapters.persistence.qb import QueryBuilderEnvironment, QueryQueueBuilder
from pgqueuer.adapters.persistence.queries import Queries
from pgqueuer.core.tm import TaskManager
from pgqueuer.domain.settings import DBSettings, Durability
from pgqueuer.domain.types import Channel
from pgqueuer.ports.driver import Driver, NotifyCallback
from sqlalchemy.ext.asyncio import AsyncConnection

NAMES: Final = DBSettings(
    prefix="",
    db_schema=None,
    channel=Channel("ch_pgqueuer"),
    function="fn_pgqueuer_changed",
    statistics_table="pgqueuer_statistics",
    queue_status_type="pgqueuer_status",
    queue_table="pgqueuer",
    queue_table_log="pgqueuer_log",
    trigger="tg_pgqueuer_changed",
    schedules_table="pgqueuer_schedules",
    durability=Durability.durable,
)
"""Names of pgqueuer's tables, types and functions, as the migration creates them."""


def queries_on(driver: Driver) -> Queries:
    """Return pgqueuer's queries, with our names, on a driver of pgqueuer."""
    return Queries(driver, qbe=QueryBuilderEnvironment(NAMES), qbq=QueryQueueBuilder(NAMES))


def queries_in(connection: AsyncConnection) -> Queries:
    """Return pgqueuer's queries, as a part of the transaction of a connection."""
    return queries_on(_InTransaction(connection))


class _InTransaction(Driver):
    """A driver of pgqueuer that runs its statements through SQLAlchemy.

    Enqueueing calls `fetch` alone; listening and notifying are refused, as a transaction has no use for them.
    """

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection
        self._shutdown = asyncio.Event()
        self._tasks = TaskManager()

    async def fetch(self, query: str, *args: object) -> list[dict[str, object]]:
        """Run a statement and return its rows."""
        result = await self._connection.exec_driver_sql(query, args)
        return [dict(row) for row in result.mappings()]

    async def execute(self, query: str, *args: object) -> str:
        """Run a statement."""
        await self._connection.exec_driver_sql(query, args)
        return ""

    async def add_listener(self, channel: str, callback: NotifyCallback) -> None:
        """Raise RuntimeError: a transaction ends before anybody could receive a notification."""
        del channel, callback
        raise RuntimeError("nobody listens in a transaction")

    async def notify(self, channel: str, payload: str) -> None:
        """Raise RuntimeError: the trigger on the table notifies once the jobs are committed."""
        del channel, payload
        raise RuntimeError("nobody notifies in a transaction")

    @property
    def shutdown(self) -> asyncio.Event:
        """An event that is never set."""
        return self._shutdown

    @property
    def tm(self) -> TaskManager:
        """A task manager without tasks."""
        return self._tasks

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None: ...

"""The parts of a Tracker put together for a test, and a PostgreSQL session that holds what it is told to."""

import asyncio
import contextlib
from asyncio import Future as AsyncioFuture
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Final

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import Database
from tests.support.waiting import wait_until
from tracker.features.carts.service import CartReader
from tracker.features.customer_carts.service import CustomerCarts
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.delivery import Delivery, Write
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.flusher import Flusher
from tracker.ingest.intake import Intake
from tracker.ingest.items import Batch
from tracker.ingest.journal.protocol import NoJournal
from tracker.kit.clock import Stamper, SystemClock
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.request_database import RequestDatabase
from tracker.settings import Ack

WAITS_FOR_LOCK: Final = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
"""Finds a session that waits for another's transaction."""


def wait_for_lock(database: Database, *waiting: AsyncioFuture[Any] | Future[Any], sql: str = WAITS_FOR_LOCK) -> None:
    """Return once a session waits for another's transaction; fail if one of those who are to wait ends before."""
    wait_until(lambda: any(one.done() for one in waiting) or database.fetch(sql), what="a session waits")
    assert not any(one.done() for one in waiting), "it has not waited"


async def write_nothing(batch: Batch, traces: ItemTraces) -> None:
    """Take a batch for stored."""
    del batch, traces


def new_flusher(aggregator: Aggregator, write: Write = write_nothing, *, max_items: int = 1000) -> Flusher:
    """Return a flusher that is not started yet."""
    return Flusher(
        aggregator,
        Delivery(write, DeadLetters(Path("/nonexistent"))),
        traced_items=None,
        interval_ms=1,
        max_items=max_items,
        on_flush=lambda: None,
        on_committed=lambda: None,
    )


def new_intake(aggregator: Aggregator, flusher: Flusher) -> Intake:
    """Return an intake that acknowledges once an item is in memory."""
    return Intake(
        stamper=Stamper(SystemClock(), 0),
        journal=NoJournal(),
        aggregator=aggregator,
        flusher=flusher,
        traced_items=None,
        ack=Ack.MEMORY,
        commit_timeout_s=5,
    )


def new_customer_carts(aggregator: Aggregator, flusher: Flusher, engine: AsyncEngine) -> CustomerCarts:
    """Return the carts of customers, without reservations."""
    database = RequestDatabase(engine, RequestTimeouts())
    return CustomerCarts(database, new_intake(aggregator, flusher), CartReader(database, aggregator), None)


@contextlib.contextmanager
def transaction(url: str, *statements: str) -> Iterator[None]:
    """Run statements in a transaction of a session of their own, and roll it back at the end."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(url))
        for statement in ("BEGIN", *statements):
            runner.run(connection.execute(statement))
        try:
            yield
        finally:
            runner.run(connection.execute("ROLLBACK"))
            runner.run(connection.close())

"""Everything a process shares, built once and in one place."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncEngine

from tracker.carts.aggregator import Aggregator
from tracker.carts.flusher import Flusher
from tracker.carts.service import CartService, store_batch
from tracker.clock import Clock, Stamper
from tracker.db.engine import create_engine
from tracker.settings import Settings

LAST_FLUSH_TIMEOUT_S: Final = 4.0
"""For what is left when the process stops; with the requests in hand (3 s) it stays within 10 s."""

DISPOSE_TIMEOUT_S: Final = 1.0
"""For the connections to say goodbye; a server that hangs is not waited for."""

WRITE_CONNECTIONS: Final = 1
"""Of the flusher alone: a hundred readers that wait for theirs must not keep it from writing."""

READ_CONNECTIONS: Final = 4

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a running process."""

    aggregator: Aggregator
    carts: CartService


@contextlib.asynccontextmanager
async def open_context(settings: Settings, *, url: str, worker: int, clock: Clock) -> AsyncIterator[Context]:
    """Build the parts for the database at `url` and worker number `worker`, and stop them at the end."""
    write_engine = create_engine(url, pool_size=WRITE_CONNECTIONS)
    read_engine = create_engine(url, pool_size=READ_CONNECTIONS)
    aggregator = Aggregator(settings.buffer_max_mb * MIB)
    flusher = Flusher(
        aggregator,
        partial(store_batch, write_engine),
        interval_ms=settings.flush_interval_ms,
        max_items=settings.flush_max_items,
    )
    carts = CartService(
        stamper=Stamper(clock, worker),
        aggregator=aggregator,
        flusher=flusher,
        engine=read_engine,
        ack=settings.ack,
        commit_timeout_s=settings.commit_timeout_s,
    )
    flusher.start()
    try:
        yield Context(aggregator, carts)
    finally:
        await flusher.close(LAST_FLUSH_TIMEOUT_S)
        for engine in (write_engine, read_engine):
            await _dispose(engine)


async def _dispose(engine: AsyncEngine) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISPOSE_TIMEOUT_S):
            await engine.dispose()

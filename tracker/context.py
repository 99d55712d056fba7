"""Everything a process shares, built once and in one place."""

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

LAST_FLUSH_TIMEOUT_S: Final = 5.0
"""For what is left when the process stops; with the requests in hand (3 s) it stays within 10 s."""

MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """The parts of a running process."""

    settings: Settings
    engine: AsyncEngine
    aggregator: Aggregator
    flusher: Flusher
    carts: CartService


@contextlib.asynccontextmanager
async def open_context(settings: Settings, *, url: str, worker: int, clock: Clock) -> AsyncIterator[Context]:
    """Build the parts for the database at `url` and worker number `worker`, and stop them at the end."""
    engine = create_engine(url)
    aggregator = Aggregator(settings.buffer_max_mb * MIB)
    flusher = Flusher(
        aggregator,
        partial(store_batch, engine),
        interval_ms=settings.flush_interval_ms,
        max_items=settings.flush_max_items,
    )
    carts = CartService(
        stamper=Stamper(clock, worker),
        aggregator=aggregator,
        flusher=flusher,
        engine=engine,
        ack=settings.ack,
        commit_timeout_s=settings.commit_timeout_s,
    )
    flusher.start()
    try:
        yield Context(settings, engine, aggregator, flusher, carts)
    finally:
        await flusher.close(LAST_FLUSH_TIMEOUT_S)
        await engine.dispose()

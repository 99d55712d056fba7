"""The service for reservations: a flush wants them, a job asks for them, and readers are shown them.

The row of a reservation and its job are written in the transaction of the flushed item. The job carries
nothing but the key; what to ask for stands in the row, so a job that comes too late finds nothing to do.
"""

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.reservations import store
from tracker.features.reservations.store import Wanted
from tracker.ingest.flush_traces import ItemTraces
from tracker.jobs.queue import enqueue

JOB: Final = "reserve"
"""Name of the handler that asks for reservations."""

REVIVE_AT_ONCE: Final = 1000
"""Number of failed reservations that one transaction puts back into the queue."""


async def want(connection: AsyncConnection, wanted: Sequence[Wanted], traces: ItemTraces | None = None) -> None:
    """Write the wanted reservations and their jobs, in the transaction of the flush or the request that wants them.

    In a flush each job belongs to the trace in which its item was put, if `traces` has one; without `traces` all jobs
    belong to the trace of what is going on.
    """
    keys = await store.want(connection, wanted)
    headers = None if traces is None else [traces.get(item, {}) for item in keys.values()]
    await enqueue(connection, JOB, [key.encode() for key in keys], headers=headers)


async def move(connection: AsyncConnection, source: str, target: str, wanted: Sequence[Wanted]) -> None:
    """Move the reservations of a cart with its items into another cart, where `wanted` has changed."""
    await store.move(connection, source, target)
    await want(connection, wanted)


async def retry_failed(engine: AsyncEngine) -> int:
    """Put every failed reservation back into the queue; return how many there were.

    What fails again meanwhile stays failed.
    """
    revived = 0
    async with engine.connect() as connection:
        started = await store.now(connection)
    while True:
        async with engine.begin() as connection:
            keys = await store.revive_failed(connection, started, REVIVE_AT_ONCE)
            await enqueue(connection, JOB, [key.encode() for key in keys])
        if not keys:
            return revived
        revived += len(keys)

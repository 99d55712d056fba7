"""Writes a batch of items, and in the same transaction whatever must follow from them.

Items that arrive too late for their cart are written to the cart that took its place.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.carts import chains, store
from tracker.features.carts.domain import redirected, without_erased
from tracker.features.carts.store import Elsewhere, Written
from tracker.ingest.flush_traces import NO_TRACES, ItemTraces
from tracker.ingest.items import Batch, CartId
from tracker.postgres.engine import is_pooled
from tracker.postgres.error_classes import FollowUpError

logger = logging.getLogger(__name__)


class FollowUp(NamedTuple):
    """Writes what follows from written items, in their transaction."""

    written: Callable[[AsyncConnection, Sequence[Written], ItemTraces], Awaitable[None]]
    """Called with what has changed, and the traces in which it was put."""

    moved: Callable[[AsyncConnection, CartId, CartId, Sequence[Written]], Awaitable[None]]
    """Called with the cart that all items left, the one they went to, and what has changed there."""


class BatchWriter:
    """Writes batches."""

    def __init__(self, engine: AsyncEngine, follow_up: FollowUp | None = None) -> None:
        """Write by the connections of `engine`; `follow_up` is told in the transaction what has changed.

        Without it the one statement is a transaction by itself: without BEGIN and COMMIT around it a batch of 100 takes
        0.3 ms of the event loop instead of 0.45, and one exchange with PostgreSQL instead of three. Behind a pooler
        it has BEGIN and COMMIT too, as the time-outs come with them.
        """
        self._engine = engine
        self._autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
        self._follow_up = follow_up
        self._alone = follow_up is None

    async def write(self, batch: Batch, traces: ItemTraces = NO_TRACES) -> None:
        """Write `batch`, or raise; what a raise leaves stored is unknown. What follows belongs to the items' `traces`.

        What belongs into other carts comes after it, in a transaction of its own: in one, locks would not be taken
        in the order of the carts.
        """
        while batch:
            batch = await self._write(batch, traces)

    async def _write(self, batch: Batch, traces: ItemTraces) -> Batch:
        """Write the items that belong to the cart they name; return those that must go to another cart."""
        if self._alone:
            async with self._autocommit.connect() as connection:
                if not is_pooled(connection):
                    return await _late(connection, batch, await store.write_items(connection, batch))
            self._alone = False
        async with self._engine.begin() as connection:
            if self._follow_up is None:
                return await _late(connection, batch, await store.write_items(connection, batch))
            written, elsewhere = await store.write_and_return_items(connection, batch)
            if written:
                try:
                    await self._follow_up.written(connection, written, traces)
                except SQLAlchemyError as error:
                    raise FollowUpError(str(error)) from error
            return await _late(connection, batch, elsewhere)


async def _late(connection: AsyncConnection, batch: Batch, elsewhere: Elsewhere) -> Batch:
    """Return the items of a batch that came too late for their carts, under the carts that took their place."""
    if not elsewhere:
        return {}
    late = {key: item for key, item in batch.items() if key[0] in elsewhere}
    ends = await chains.ends(connection, elsewhere)
    erased = await chains.erased(connection, ends, elsewhere.keys() - ends.keys())
    kept = without_erased(late, erased)
    if len(kept) < len(late):
        fields = {"items": len(late) - len(kept)}
        logger.warning("items are not stored: they are older than the erasing of their carts", extra=fields)
    held = await chains.held(connection, elsewhere, {external_id for _, external_id in kept})
    return redirected(kept, {**elsewhere, **ends}, held)

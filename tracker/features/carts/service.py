"""The service for carts: it accepts an item, and shows a cart.

Nothing on the accepting side waits for PostgreSQL, unless the acknowledgement level asks for it.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.errors import BufferFullError, DatabaseUnavailableError, UnconfirmedError
from tracker.features.carts import store
from tracker.features.carts.domain import Shown
from tracker.features.reservations.domain import NONE, PENDING, SHOWN, Reservation
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.flusher import Flusher
from tracker.ingest.items import CartId, Item, merge_items
from tracker.ingest.journal.protocol import Journal
from tracker.ingest.journal_record import encode_record
from tracker.kit.clock import Stamper
from tracker.kit.confirmation import Confirmation
from tracker.postgres.request_database import RequestDatabase
from tracker.settings import Ack
from tracker.telemetry import tracing

FULL_TOLD_EVERY_S: Final = 60.0
"""Minimum seconds between two log lines that say that the buffer is full: every refused item finds it full."""

logger = logging.getLogger(__name__)


Stored = tuple[dict[str, Item], dict[str, Reservation]]
"""The items of a cart, removed ones included, and their reservations, by external id."""

ReservationsOf = Callable[[AsyncConnection, CartId], Awaitable[dict[str, Reservation]]]
"""Reads the reservations of a cart by external id."""


class CartReader:
    """Reads the stored items and reservations of a cart."""

    def __init__(self, database: RequestDatabase, reservations_of: ReservationsOf | None = None) -> None:
        """Read from `database`; without `reservations_of` reservations are switched off."""
        self._database = database
        self._reservations_of = reservations_of

    @property
    def reserves(self) -> bool:
        """Whether items are reserved."""
        return self._reservations_of is not None

    async def read(self, cart_id: CartId) -> Stored:
        """Return the stored items and reservations of a cart."""
        async with self._database.transaction() as connection:
            items = await store.read_items(connection, cart_id)
            return items, await self._reservations_of(connection, cart_id) if self._reservations_of else {}


class CartService:
    """Accepts items into carts and shows carts; one instance serves the whole process."""

    def __init__(
        self,
        *,
        stamper: Stamper,
        journal: Journal,
        aggregator: Aggregator,
        flusher: Flusher,
        reader: CartReader,
        ack: Ack,
        commit_timeout_s: float,
    ) -> None:
        self._stamper = stamper
        self._journal = journal
        self._aggregator = aggregator
        self._flusher = flusher
        self._reader = reader
        self._ack = ack
        self._keeps_journal = keeps_journal(ack)
        self._confirms = ack in {Ack.FSYNC, Ack.COMMIT}
        self._commit_timeout_s = commit_timeout_s
        self._full_told_s = -FULL_TOLD_EVERY_S
        self.accepted = 0
        """Number of writes that were taken."""

    def take(
        self, cart_id: CartId, external_id: str, name: str | None, value: int | None, quantity: int | None
    ) -> Confirmation | None:
        """Take a write of an item, whose fields are valid.

        Return None if it is acknowledged at once (other levels than `fsync` and `commit`), or else a confirmation that
        tells when it is acknowledged, or why it is not. Raises BufferFullError or JournalUnavailableError when nothing
        was taken.
        """
        try:
            self._aggregator.check_room()
        except BufferFullError as error:
            self._tell_full(error)
            raise
        stamp = self._stamper.next()
        item = Item.written(stamp, name, value, quantity)
        if self._keeps_journal:
            self._journal.append(encode_record(cart_id, external_id, item), stamp)
        self._aggregator.put((cart_id, external_id), item)
        self._flusher.wake()
        self.accepted += 1
        if not self._confirms:
            return None
        if self._ack is Ack.FSYNC:
            return self._journal.synced()
        return self._flusher.committed(stamp, self._commit_timeout_s)

    def _tell_full(self, error: BufferFullError) -> None:
        now_s = time.monotonic()
        if now_s - self._full_told_s >= FULL_TOLD_EVERY_S:
            self._full_told_s = now_s
            logger.error("no items are accepted", extra={"reason": str(error)})

    def take_and_note(
        self, cart_id: CartId, external_id: str, name: str | None, value: int | None, quantity: int | None
    ) -> Confirmation | None:
        """Take a write as `take` does; if the request is traced, what the write leads to is traced with it."""
        confirmation = self.take(cart_id, external_id, name, value, quantity)
        if (span := tracing.current()) is not None:
            self._flusher.causes.note((cart_id, external_id), span.traceparent)
        return confirmation

    async def accept(
        self, cart_id: CartId, external_id: str, name: str | None, value: int | None, quantity: int | None
    ) -> None:
        """Take a write as `take_and_note` does, and return once it is acknowledged.

        Raises UnconfirmedError when it was taken but is not confirmed in time.
        """
        confirmation = self.take_and_note(cart_id, external_id, name, value, quantity)
        if confirmation is not None:
            reason = await confirmation.wait()
            if reason is not None:
                raise UnconfirmedError(cart_id, reason)

    async def items_of(self, cart_id: CartId, *, is_closed: bool = False) -> Shown:
        """Return the items of a cart; what still waits for one that `is_closed` belongs elsewhere.

        Raises DatabaseUnavailableError when PostgreSQL does not answer in time.
        """
        # What waits is looked at before what is stored: an item that is committed in between is
        # then seen twice, which merging ignores; the other way round it could be missed.
        waiting = {} if is_closed else self._aggregator.of_cart(cart_id)
        found, reserved = await self._reader.read(cart_id)
        merge_items(found, waiting)
        in_order = sorted(found.items(), key=lambda entry: entry[1].added_stamp)
        unknown = dict.fromkeys(waiting, PENDING if self._reader.reserves else NONE)
        asked = {external_id: one for external_id, one in reserved.items() if one.status in SHOWN}
        return {
            external_id: (item, asked.get(external_id) or unknown.get(external_id, NONE))
            for external_id, item in in_order
            if item.effective_quantity > 0
        }

    def stamp(self) -> int:
        """Return the stamp of now."""
        return self._stamper.next()

    async def flush(self) -> None:
        """Return once everything that was taken until now is stored.

        Raises DatabaseUnavailableError when that does not come in time.
        """
        if self._aggregator:
            reason = await self._flusher.committed(self._stamper.last, self._commit_timeout_s).wait()
            if reason is not None:
                raise DatabaseUnavailableError("PostgreSQL has not stored in time what came before")

    def stop_waiting(self) -> None:
        """Answer those who wait for a confirmation that it did not come in time."""
        self._flusher.stop_waiting()
        self._journal.stop_waiting()

    @property
    def ready(self) -> bool:
        """Whether the next item would be accepted."""
        return (
            self._flusher.running
            and self._journal.running
            and self._journal.refusal is None
            and not self._aggregator.full
        )


def keeps_journal(ack: Ack) -> bool:
    """Return whether an acknowledgement level needs the journal for what it promises."""
    return ack in {Ack.JOURNAL, Ack.FSYNC}

"""The service for carts: it shows a cart, with what is not stored yet."""

from collections.abc import Awaitable, Callable
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts import store
from tracker.features.carts.domain import CartItems, shown_items
from tracker.features.reservations.domain import NONE, PENDING, VISIBLE, Reservation
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.items import CartId, merge_items
from tracker.postgres.request_database import RequestDatabase

ReservationsOf = Callable[[AsyncConnection, CartId], Awaitable[dict[str, Reservation]]]
"""Reads the reservations of a cart by external id."""


class CartReader:
    """Shows carts; one instance serves the whole process."""

    def __init__(
        self, database: RequestDatabase, aggregator: Aggregator, reservations_of: ReservationsOf | None = None
    ) -> None:
        """Read from `database`, and what waits for it from `aggregator`.

        Without `reservations_of` reservations are switched off.
        """
        self._database: Final = database
        self._aggregator: Final = aggregator
        self._reservations_of: Final = reservations_of

    async def items_of(self, cart_id: CartId, *, is_closed: bool = False) -> CartItems:
        """Return the items of a cart; what still waits for one that `is_closed` belongs elsewhere.

        Raises DatabaseUnavailableError when PostgreSQL does not answer in time.
        """
        # What waits is looked at before what is stored: an item that is committed in between is
        # then seen twice, which merging ignores; the other way round it could be missed.
        waiting = {} if is_closed else self._aggregator.of_cart(cart_id)
        async with self._database.transaction() as connection:
            found = await store.read_items(connection, cart_id)
            reserved = await self._reservations_of(connection, cart_id) if self._reservations_of else {}
        merge_items(found, waiting)
        unknown = dict.fromkeys(waiting, PENDING if self._reservations_of else NONE)
        asked = {external_id: one for external_id, one in reserved.items() if one.status in VISIBLE}
        return {
            external_id: (item, asked.get(external_id) or unknown.get(external_id, NONE))
            for external_id, item in shown_items(found).items()
        }

"""The reservations of carts, counted, erased and exported."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.feature_data import Contents, Erasure, FeatureData, Fields, rows_by
from tracker.features.reservations import store
from tracker.ingest.items import CartId


class ExportedReservation(Struct):
    """A reservation of an item at the reservation service, and its state."""

    product_id: str
    quantity: int
    status: str
    reservation_id: int | str | None
    attempts: int
    error: str | None
    updated_at: datetime


async def _count(connection: AsyncConnection, cart_ids: Collection[CartId], _customer: str | None) -> Contents:
    return Contents({"reservations": await store.count_of_carts(connection, cart_ids)})


async def _erase_carts(connection: AsyncConnection, erasure: Erasure) -> Contents:
    return Contents({"reservations": await store.delete_of_carts(connection, erasure.cart_ids)})


async def _export_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, Fields]:
    by_cart = rows_by(await store.read_of_carts(connection, cart_ids), "cart_id")
    return {cart_id: {"reservations": [_exported(row) for row in by_cart.get(cart_id, [])]} for cart_id in cart_ids}


def _exported(row: Row[Any]) -> ExportedReservation:
    return ExportedReservation(
        row.external_id,
        row.quantity,
        row.status,
        row.reservation_id,
        row.attempts,
        row.error,
        row.updated_at.astimezone(UTC),
    )


DATA: Final = FeatureData(kinds=("reservations",), count=_count, erase_carts=_erase_carts, export_carts=_export_carts)

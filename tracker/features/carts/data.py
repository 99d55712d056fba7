"""The items of carts, counted and erased, and the carts as they are exported: prices in cents, times in UTC."""

from collections.abc import Collection, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts import removal, store
from tracker.features.feature_data import Contents, Erasure, FeatureData, Fields, rows_by
from tracker.ingest.items import CartId
from tracker.kit.clock import stamp_time


class ExportedItem(Struct):
    """An item, also one that was removed: its quantity is 0."""

    product_id: str
    name: str | None
    price: int | None
    quantity: int
    added_at: datetime
    updated_at: datetime


async def _count(connection: AsyncConnection, cart_ids: Collection[CartId], _customer: str | None) -> Contents:
    return _contents(await store.count_items(connection, cart_ids))


async def _erase_carts(connection: AsyncConnection, erasure: Erasure) -> Contents:
    return _contents(await removal.delete_items(connection, erasure.cart_ids))


def _contents(by_cart: dict[CartId, int]) -> Contents:
    return Contents({"items": sum(by_cart.values())}, by_cart.keys())


async def _export_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, Fields]:
    carts, items = await store.read_carts(connection, cart_ids)
    items_by_cart = rows_by(items, "cart_id")
    return {
        row.id: {
            "cart_id": row.id,
            "customer": row.customer,
            "owned_at": None if row.owned_at is None else row.owned_at.astimezone(UTC),
            "purchased": row.purchased,
            "closed_at": None if row.closed_stamp is None else stamp_time(row.closed_stamp),
            "next_cart_id": row.next_cart_id,
            "items": [*_exported(items_by_cart.get(row.id, []))],
        }
        for row in carts
    }


def _exported(items: Sequence[Row[Any]]) -> Iterator[ExportedItem]:
    for row in items:
        updated = max(row.added_stamp, row.name_stamp, row.value_stamp, row.quantity_stamp)
        times = stamp_time(row.added_stamp), stamp_time(updated)
        yield ExportedItem(row.external_id, row.name, row.value, row.quantity, *times)


DATA: Final = FeatureData(kinds=("items",), count=_count, erase_carts=_erase_carts, export_carts=_export_carts)

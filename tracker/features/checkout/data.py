"""The orders of customers, counted, erased and exported: prices in cents, times in UTC.

An order that was paid, or may be, stays for the books under a pseudonym; a failed one goes.
"""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Any, Final

from msgspec import Struct
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.checkout import store
from tracker.features.feature_data import Contents, ExportList, FeatureData, rows_by
from tracker.ingest.items import CartId


class ExportedOrderLine(Struct):
    """A line of an order: one product, with its data at the time when it was bought."""

    product_id: str
    title: str
    item_type: str
    price: int
    quantity: int


class ExportedOrder(Struct):
    """An order."""

    order_id: str
    cart_id: str
    customer: str
    idempotency_key: str
    processor: str
    payment_method: str
    payment_id: str | None
    status: str
    reason: str | None
    total: int
    currency: str
    created_at: datetime
    updated_at: datetime
    lines: list[ExportedOrderLine]


async def _count(connection: AsyncConnection, _cart_ids: Collection[CartId], customer: str | None) -> Contents:
    return Contents({"orders": 0 if customer is None else await store.count_of_customer(connection, customer)})


async def _erase_customer(connection: AsyncConnection, customer: str, pseudonym: str, limit: int) -> dict[str, int]:
    # Before the carts, as who settles an order locks them.
    failed = await store.delete_failed(connection, customer)
    return {"orders": failed + await store.give(connection, customer, pseudonym, limit)}


async def _read(connection: AsyncConnection, ids: Collection[str]) -> list[ExportedOrder]:
    orders, lines = await store.read(connection, ids)
    lines_by_order = rows_by(lines, "order_id")
    return [_exported(row, lines_by_order[row.id]) for row in orders]


def _exported(row: Row[Any], lines: list[Row[Any]]) -> ExportedOrder:
    return ExportedOrder(
        order_id=row.id,
        cart_id=row.cart_id,
        customer=row.customer,
        idempotency_key=row.idempotency_key,
        processor=row.processor,
        payment_method=row.payment_method,
        payment_id=row.payment_id,
        status=row.status,
        reason=row.reason,
        total=row.total,
        currency=row.currency,
        created_at=row.created_at.astimezone(UTC),
        updated_at=row.updated_at.astimezone(UTC),
        lines=[ExportedOrderLine(one.sku, one.title, one.item_type, one.price, one.quantity) for one in lines],
    )


DATA: Final = FeatureData(
    kinds=("orders",),
    count=_count,
    erase_customer=_erase_customer,
    export_lists={"orders": ExportList(store.ids, _read)},
    leads_to=store.leads_to,
)

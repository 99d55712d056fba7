"""The SQL that reads everything of some carts or orders, whichever feature it belongs to."""

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts.tables import carts, items
from tracker.features.checkout.tables import order_lines, orders
from tracker.features.data_lifecycle.domain import Whose
from tracker.features.data_lifecycle.store import among
from tracker.features.reservations.tables import reservations
from tracker.ingest.items import CartId

Rows = list[Row[Any]]


async def of_carts(
    connection: AsyncConnection, cart_ids: Collection[CartId]
) -> tuple[Rows, dict[str, Rows], dict[str, Rows]]:
    """Return some carts by their ids, and by cart their items, first added first, and reservations."""
    found = select(carts).where(among(carts.c.id, cart_ids)).order_by(carts.c.id)
    held = select(items).where(among(items.c.cart_id, cart_ids)).order_by(items.c.added_stamp)
    reserved = select(reservations).where(among(reservations.c.cart_id, cart_ids)).order_by(reservations.c.external_id)
    return (
        list(await connection.execute(found)),
        _grouped(await connection.execute(held), "cart_id"),
        _grouped(await connection.execute(reserved), "cart_id"),
    )


async def order_ids(connection: AsyncConnection, whose: Whose, cart_ids: Collection[CartId]) -> list[str]:
    """Return the orders of the customer, or of the carts, that are meant; oldest first."""
    theirs = among(orders.c.cart_id, cart_ids) if whose.customer is None else orders.c.customer == whose.customer
    statement = select(orders.c.id).where(theirs).order_by(orders.c.created_at, orders.c.id)
    return list((await connection.execute(statement)).scalars())


async def of_orders(connection: AsyncConnection, ids: Collection[str]) -> tuple[Rows, dict[str, Rows]]:
    """Return some orders, oldest first, and their lines by order."""
    found = select(orders).where(among(orders.c.id, ids)).order_by(orders.c.created_at, orders.c.id)
    lines = select(order_lines).where(among(order_lines.c.order_id, ids)).order_by(order_lines.c.line)
    return list(await connection.execute(found)), _grouped(await connection.execute(lines), "order_id")


def _grouped(rows: Iterable[Row[Any]], column: str) -> dict[str, Rows]:
    found: dict[str, Rows] = {}
    for row in rows:
        found.setdefault(getattr(row, column), []).append(row)
    return found

"""The SQL of orders. Never commits: the caller owns the transaction."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, Text, cast, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.checkout.domain import Line, Order, Status
from tracker.features.checkout.tables import order_lines, orders
from tracker.ingest.items import CartId
from tracker.postgres.conditions import among

_ORDER: Final = select(*(orders.c[field] for field in Order.__struct_fields__))


async def create(connection: AsyncConnection, order: Order, lines: Sequence[Line]) -> bool:
    """Store a new order and its lines; False if its customer has used its idempotency key before."""
    fields = {field: getattr(order, field) for field in Order.__struct_fields__}
    statement = (
        insert(orders)
        .values({**fields, "status": order.status.value})
        .on_conflict_do_nothing(index_elements=[orders.c.customer, orders.c.idempotency_key])
        .returning(orders.c.id)
    )
    if (await connection.execute(statement)).one_or_none() is None:
        return False
    rows = [
        {"order_id": order.id, "line": number, **{field: getattr(line, field) for field in Line.__struct_fields__}}
        for number, line in enumerate(lines, start=1)
    ]
    await connection.execute(insert(order_lines), rows)
    return True


async def of_key(connection: AsyncConnection, customer: str, key: str) -> Order | None:
    """Return the order that a customer placed under an idempotency key."""
    return await _one(connection, _ORDER.where(orders.c.customer == customer, orders.c.idempotency_key == key))


async def find(connection: AsyncConnection, order_id: str) -> Order | None:
    """Return an order."""
    return await _one(connection, _ORDER.where(orders.c.id == order_id))


async def lock(connection: AsyncConnection, order_id: str) -> Order | None:
    """Return an order, which nobody else changes until the transaction ends."""
    return await _one(connection, _ORDER.where(orders.c.id == order_id).with_for_update())


async def lines_of(connection: AsyncConnection, order_id: str) -> list[Line]:
    """Return the lines of an order."""
    statement = (
        select(*(order_lines.c[field] for field in Line.__struct_fields__))
        .where(order_lines.c.order_id == order_id)
        .order_by(order_lines.c.line)
    )
    return [Line(*row) for row in await connection.execute(statement)]


async def store_payment_id(connection: AsyncConnection, order_id: str, payment_id: str) -> bool:
    """Note what the processor calls the payment; False if the order is settled already."""
    statement = (
        update(orders)
        .where(orders.c.id == order_id, orders.c.status == Status.PAYING.value)
        .values(payment_id=payment_id, updated_at=func.now())
        .returning(orders.c.id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def store_outcome(connection: AsyncConnection, order_id: str, status: Status, reason: str | None) -> None:
    """Store the final state of an order, and the reason for it."""
    statement = update(orders).where(orders.c.id == order_id)
    await connection.execute(statement.values(status=status.value, reason=reason, updated_at=func.now()))


async def _one(connection: AsyncConnection, statement: Select[Any]) -> Order | None:
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Order(**{**row._mapping, "status": Status(row.status)})  # noqa: SLF001  # is public


async def delete_failed(connection: AsyncConnection, customer: str) -> int:
    """Remove the orders of a customer that nothing was charged for; return how many there were."""
    theirs = (
        select(orders.c.id)
        .where(orders.c.customer == customer, orders.c.status == Status.FAILED.value)
        .order_by(orders.c.id)
        .with_for_update()
    )
    ids = (await connection.execute(theirs)).scalars().all()
    await connection.execute(delete(order_lines).where(among(order_lines.c.order_id, ids)))
    await connection.execute(delete(orders).where(among(orders.c.id, ids)))
    return len(ids)


async def give(connection: AsyncConnection, customer: str, to: str, limit: int) -> int:
    """Make up to `limit` orders of a customer those of `to`; return how many there were.

    What else the customer has chosen goes too: the idempotency key, and the name of the payment method.
    """
    theirs = select(orders.c.id).where(orders.c.customer == customer).order_by(orders.c.id).limit(limit)
    statement = update(orders).where(orders.c.id.in_(theirs.with_for_update()))
    values = {"customer": to, "idempotency_key": cast(orders.c.id, Text)}
    done = await connection.execute(statement.values(**values, payment_method="erased", updated_at=func.now()))
    return done.rowcount


async def count_of_customer(connection: AsyncConnection, customer: str) -> int:
    """Return how many orders a customer has."""
    statement = select(func.count()).select_from(orders).where(orders.c.customer == customer)
    return int((await connection.execute(statement)).scalar_one())


def leads_to(cart_id: ColumnElement[Any]) -> ColumnElement[bool]:
    """Return the condition that there is an order of a cart."""
    order = select(orders.c.id).where(orders.c.cart_id == cart_id).limit(1).scalar_subquery()
    return order.is_not(None)


async def ids(connection: AsyncConnection, cart_ids: Collection[CartId], customer: str | None) -> list[str]:
    """Return the ids of the orders of a customer or, where none is named, of some carts; oldest first."""
    theirs = among(orders.c.cart_id, cart_ids) if customer is None else orders.c.customer == customer
    statement = select(orders.c.id).where(theirs).order_by(orders.c.created_at, orders.c.id)
    return list((await connection.execute(statement)).scalars())


async def read(connection: AsyncConnection, order_ids: Collection[str]) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """Return some orders with all their columns, oldest first, and their lines."""
    found = select(orders).where(among(orders.c.id, order_ids)).order_by(orders.c.created_at, orders.c.id)
    lines = select(order_lines).where(among(order_lines.c.order_id, order_ids)).order_by(order_lines.c.line)
    return list(await connection.execute(found)), list(await connection.execute(lines))

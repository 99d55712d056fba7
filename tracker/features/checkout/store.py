"""The SQL of orders. Never commits: the caller owns the transaction."""

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Select, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.checkout.domain import Line, Order, Status
from tracker.features.checkout.tables import order_lines, orders

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


async def note_payment(connection: AsyncConnection, order_id: str, payment_id: str) -> bool:
    """Note what the processor calls the payment; False if the order is settled already."""
    statement = (
        update(orders)
        .where(orders.c.id == order_id, orders.c.status == Status.PAYING.value)
        .values(payment_id=payment_id, updated_at=func.now())
        .returning(orders.c.id)
    )
    return (await connection.execute(statement)).one_or_none() is not None


async def end(connection: AsyncConnection, order_id: str, status: Status, reason: str | None) -> None:
    """Store the final state of an order, and the reason for it."""
    statement = update(orders).where(orders.c.id == order_id)
    await connection.execute(statement.values(status=status.value, reason=reason, updated_at=func.now()))


async def _one(connection: AsyncConnection, statement: Select[Any]) -> Order | None:
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Order(**{**row._mapping, "status": Status(row.status)})  # noqa: SLF001  # is public

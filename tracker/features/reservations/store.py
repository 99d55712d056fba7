"""The SQL of reservations. Never commits: the caller owns the transaction.

A row's key changes whenever another quantity is wanted: an answer to an older key finds no row and
changes nothing.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Column,
    Integer,
    Row,
    Text,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.dml import ReturningInsert

from tracker.features.reservations.domain import Attempt, Reservation, ReservationKey, Status
from tracker.features.reservations.tables import reservations
from tracker.ingest.items import CartId, ItemKey
from tracker.postgres.conditions import among

Wanted = tuple[str, str, int]
"""A wanted reservation: cart, item and the quantity that is wanted now; 0 is a removed item."""

_COLUMNS: Final[tuple[Column[Any], ...]] = (
    Column("cart_id", Uuid(as_uuid=False)),
    Column("external_id", Text),
    Column("quantity", Integer),
)


def _want_statement() -> ReturningInsert[Any]:
    """Build the statement that notes what is wanted, and asks anew where the quantity has changed."""
    arrays = [bindparam(column.name, type_=ARRAY(column.type)) for column in _COLUMNS]
    wanted = func.unnest(*arrays).table_valued(*_COLUMNS, name="wanted").render_derived()
    status = case((wanted.c.quantity > 0, Status.PENDING.value), else_=Status.CANCELED.value)
    rows = select(*wanted.c, func.gen_random_uuid(), status).order_by(wanted.c.cart_id, wanted.c.external_id)
    statement = insert(reservations).from_select(["cart_id", "external_id", "quantity", "key", "status"], rows)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[reservations.c.cart_id, reservations.c.external_id],
        set_={
            "quantity": new.quantity,
            "key": new.key,
            "status": new.status,
            "reservation_id": None,
            "attempts": 0,
            "error": None,
            "updated_at": func.now(),
        },
        where=reservations.c.quantity != new.quantity,
    ).returning(reservations.c.key, reservations.c.status, reservations.c.cart_id, reservations.c.external_id)


_WANT: Final = _want_statement()

_OF_KEY: Final = (
    update(reservations)
    .where(
        reservations.c.key == bindparam("of_key", type_=Uuid(as_uuid=False)),
        reservations.c.status == Status.PENDING.value,
    )
    .values(updated_at=func.now())
)
"""Update of the reservation with a key, if it is still to be granted."""


async def want(connection: AsyncConnection, wanted: Sequence[Wanted]) -> dict[ReservationKey, ItemKey]:
    """Note what is wanted, no item twice; return the keys of what must be asked for now, each with its item."""
    rows = await connection.execute(
        _WANT,
        {
            "cart_id": [cart_id for cart_id, _, _ in wanted],
            "external_id": [external_id for _, external_id, _ in wanted],
            "quantity": [quantity for _, _, quantity in wanted],
        },
    )
    return {ReservationKey(key): (cart, item) for key, status, cart, item in rows if status == Status.PENDING.value}


async def move(connection: AsyncConnection, source: str, target: str) -> None:
    """Give the reservations of a cart to another; where that has its own, those of `source` are canceled."""
    there = reservations.alias("there")
    taken = select(there.c.external_id).where(there.c.cart_id == target)
    await connection.execute(
        update(reservations)
        .where(reservations.c.cart_id == source, reservations.c.external_id.not_in(taken))
        .values(cart_id=target)
    )
    await connection.execute(
        update(reservations)
        .where(reservations.c.cart_id == source)
        .values(status=Status.CANCELED.value, quantity=0, updated_at=func.now())
    )


async def start_attempt(connection: AsyncConnection, key: ReservationKey) -> Attempt | None:
    """Count an attempt, before it is made: one that kills its process counts too.

    Return None if nothing is to be asked for under `key` any more.
    """
    statement = _OF_KEY.values(attempts=reservations.c.attempts + 1).returning(
        reservations.c.external_id, reservations.c.quantity, reservations.c.attempts
    )
    row = (await connection.execute(statement, {"of_key": key})).one_or_none()
    return None if row is None else Attempt(key, row.external_id, row.quantity, row.attempts)


async def give_back_attempt(connection: AsyncConnection, key: ReservationKey) -> None:
    """Count an attempt as not made."""
    await connection.execute(_OF_KEY.values(attempts=reservations.c.attempts - 1), {"of_key": key})


async def grant(connection: AsyncConnection, key: ReservationKey, reservation_id: int | str) -> None:
    """Store the id of the reservation that the service has granted."""
    statement = _OF_KEY.values(status=Status.RESERVED.value, reservation_id=reservation_id, error=None)
    await connection.execute(statement, {"of_key": key})


async def note_failure(connection: AsyncConnection, key: ReservationKey, reason: str, *, final: bool) -> None:
    """Note why an attempt has failed, and whether it was the last."""
    status = Status.FAILED if final else Status.PENDING
    await connection.execute(_OF_KEY.values(status=status.value, error=reason), {"of_key": key})


async def give_up(connection: AsyncConnection, key: ReservationKey, reason: str) -> None:
    """Note that it was the last attempt; `reason` is stored unless an earlier attempt has left a better one."""
    error = func.coalesce(reservations.c.error, reason)
    await connection.execute(_OF_KEY.values(status=Status.FAILED.value, error=error), {"of_key": key})


async def of_cart(connection: AsyncConnection, cart_id: str) -> dict[str, Reservation]:
    """Return the reservations of a cart by external id."""
    columns = (reservations.c.external_id, reservations.c.status, reservations.c.reservation_id)
    rows = await connection.execute(select(*columns).where(reservations.c.cart_id == cart_id))
    return {row.external_id: Reservation(Status(row.status), row.reservation_id) for row in rows}


async def with_status(connection: AsyncConnection, status: Status, limit: int) -> Sequence[Any]:
    """Return up to `limit` reservations, those that changed last first."""
    statement = (
        select(reservations)
        .where(reservations.c.status == literal(status.value, literal_execute=True))  # or no partial index serves it
        .order_by(reservations.c.updated_at.desc())
        .limit(limit)
    )
    return (await connection.execute(statement)).all()


async def count_failed(connection: AsyncConnection, at_most: int) -> int:
    """Return how many reservations have failed and were not asked for again; nothing is counted any further."""
    failed = (
        select(reservations.c.updated_at)
        .where(reservations.c.status == literal(Status.FAILED.value, literal_execute=True))
        .limit(at_most)
    )
    found: int = (await connection.execute(select(func.count()).select_from(failed.subquery()))).scalar_one()
    return found


async def now(connection: AsyncConnection) -> datetime:
    """Return PostgreSQL's time."""
    found: datetime = (await connection.execute(select(func.now()))).scalar_one()
    return found


async def revive_failed(connection: AsyncConnection, before: datetime, limit: int) -> list[ReservationKey]:
    """Make up to `limit` reservations that failed `before` pending again, with all their attempts.

    Return their keys.
    """
    failed = (
        select(reservations.c.key)
        .where(reservations.c.status == literal(Status.FAILED.value, literal_execute=True))
        .where(reservations.c.updated_at < before)
        .order_by(reservations.c.updated_at)
        .limit(limit)
        .with_for_update(skip_locked=True)
    )
    statement = (
        update(reservations)
        .where(reservations.c.key.in_(failed))
        .values(status=Status.PENDING.value, attempts=0, updated_at=func.now())
        .returning(reservations.c.key)
    )
    return [ReservationKey(key) for (key,) in await connection.execute(statement)]


async def count_of_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> int:
    """Return how many reservations some carts have."""
    statement = select(func.count()).select_from(reservations).where(among(reservations.c.cart_id, cart_ids))
    return int((await connection.execute(statement)).scalar_one())


async def delete_of_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> int:
    """Remove the reservations of some carts; return how many there were."""
    return (await connection.execute(delete(reservations).where(among(reservations.c.cart_id, cart_ids)))).rowcount


async def read_of_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> list[Row[Any]]:
    """Return the reservations of some carts with all their columns, in the order of their external ids."""
    statement = select(reservations).where(among(reservations.c.cart_id, cart_ids)).order_by(reservations.c.external_id)
    return list(await connection.execute(statement))

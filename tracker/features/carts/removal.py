"""The SQL of removing carts. Never commits: the caller does that.

Whoever removes anything of a cart holds its lock (FOR UPDATE) before looking at what it holds: a flush that has the
cart in hand is waited for, or the cart left out, and a flush that comes later sees what was left behind.

What is looked up for each cart is a scalar subquery, as PostgreSQL goes to the index for these whatever it believes
of the size of the tables.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Select,
    and_,
    delete,
    func,
    literal,
    or_,
    select,
    text,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts.tables import carts, horizon, items
from tracker.ingest.items import CartId
from tracker.kit.clock import stamp_time
from tracker.postgres.conditions import among

_NEWEST_STAMP: Final = func.max(
    func.greatest(items.c.added_stamp, items.c.name_stamp, items.c.value_stamp, items.c.quantity_stamp)
)


async def move_horizon(connection: AsyncConnection, stamp: int, lock_timeout_ms: int) -> None:
    """Have nothing that is older than `stamp` become a new cart from now on.

    The lock waits until the flushes that still go by the older horizon have ended: one of them might create a cart
    anew that is removed under its eyes.
    """
    await connection.execute(text(f"SET LOCAL lock_timeout = {lock_timeout_ms}"))
    await connection.execute(text("LOCK TABLE horizon IN ACCESS EXCLUSIVE MODE"))
    statement = insert(horizon).values(stamp=stamp)
    later = func.greatest(horizon.c.stamp, statement.excluded.stamp)
    await connection.execute(statement.on_conflict_do_update(index_elements=[horizon.c.id], set_={"stamp": later}))


async def end_of_window(connection: AsyncConnection, after: CartId | None, size: int) -> CartId | None:
    """Return the last of the next `size` carts behind `after`; None if there are fewer."""
    statement = _in_window(select(carts.c.id), after, None).order_by(carts.c.id).offset(size - 1).limit(1)
    found: CartId | None = (await connection.execute(statement)).scalar_one_or_none()
    return found


async def old_in_window(
    connection: AsyncConnection, stamp: int, after: CartId | None, upto: CartId | None
) -> set[CartId]:
    """Return the carts of a window that are too old."""
    statement = _in_window(select(carts.c.id), after, upto).where(_is_old(stamp))
    return set((await connection.execute(statement)).scalars())


async def old_among(connection: AsyncConnection, stamp: int, cart_ids: Collection[CartId]) -> set[CartId]:
    """Return those of some carts that are too old."""
    statement = select(carts.c.id).where(among(carts.c.id, cart_ids), _is_old(stamp))
    return set((await connection.execute(statement)).scalars())


async def lock_old_in_window(
    connection: AsyncConnection, stamp: int, after: CartId | None, upto: CartId | None
) -> set[CartId]:
    """Lock the carts of a window that are too old, but for those that somebody else has locked; return them."""
    return await _lock_old(connection, _in_window(select(carts.c.id), after, upto), stamp)


async def lock_old_among(connection: AsyncConnection, stamp: int, cart_ids: Collection[CartId]) -> set[CartId]:
    """Lock the carts among `cart_ids` that are too old, but for those that somebody else has locked; return them."""
    return await _lock_old(connection, select(carts.c.id).where(among(carts.c.id, cart_ids)), stamp)


async def _lock_old(connection: AsyncConnection, candidates: Select[Any], stamp: int) -> set[CartId]:
    statement = candidates.where(_is_old(stamp)).order_by(carts.c.id).with_for_update(skip_locked=True)
    locked = (await connection.execute(statement)).scalars().all()
    # What a flush has committed while they were being locked is seen only from here on.
    return await old_among(connection, stamp, locked)


def _in_window(statement: Select[Any], after: CartId | None, upto: CartId | None) -> Select[Any]:
    if after is not None:
        statement = statement.where(carts.c.id > after)
    return statement if upto is None else statement.where(carts.c.id <= upto)


def _is_old(stamp: int) -> ColumnElement[bool]:
    """Return the condition that nothing has happened to a cart since `stamp`, and that it was not purchased."""
    newest_item = select(_NEWEST_STAMP).where(items.c.cart_id == carts.c.id).scalar_subquery()
    newest = func.coalesce(func.greatest(newest_item, carts.c.closed_stamp, carts.c.erased_stamp), 0)
    owned_long = or_(carts.c.owned_at.is_(None), carts.c.owned_at <= stamp_time(stamp))
    return and_(carts.c.purchased.is_(False), newest <= literal(stamp, BigInteger), owned_long)


async def needed_among(
    connection: AsyncConnection,
    cart_ids: Collection[CartId],
    leads_to: Sequence[Callable[[ColumnElement[Any]], ColumnElement[bool]]],
) -> set[CartId]:
    """Return the carts that something, or a cart that is not among `cart_ids`, still leads to.

    Each of `leads_to` returns the condition that one more kind of row leads to the cart with an id.
    """
    previous = carts.alias("previous")
    other = (
        select(previous.c.id)
        .where(previous.c.next_cart_id == carts.c.id, ~among(previous.c.id, cart_ids))
        .limit(1)
        .scalar_subquery()
    )
    something_leads_there = or_(*(condition(carts.c.id) for condition in leads_to), other.is_not(None))
    statement = select(carts.c.id).where(among(carts.c.id, cart_ids), something_leads_there)
    return set((await connection.execute(statement)).scalars())


async def delete_items(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, int]:
    """Remove the items of some locked carts; return what `store.count_items` would have returned."""
    removed = delete(items).where(among(items.c.cart_id, cart_ids)).returning(items.c.cart_id).cte("removed")
    by_cart = select(removed.c.cart_id, func.count()).group_by(removed.c.cart_id)
    return {row.cart_id: row[1] for row in await connection.execute(by_cart)}


async def delete_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> None:
    """Remove locked, empty carts to which nothing leads but each other."""
    await connection.execute(delete(carts).where(among(carts.c.id, cart_ids)))


async def mark_erased(connection: AsyncConnection, cart_ids: Collection[CartId], stamp: int) -> None:
    """Mark some locked carts as erased: nothing that was written for them up to `stamp` is stored any more."""
    await connection.execute(update(carts).where(among(carts.c.id, cart_ids)).values(erased_stamp=later_erased(stamp)))


def later_erased(stamp: int) -> ColumnElement[Any]:
    """Return the later one of a stamp and that up to which a cart is erased already."""
    return func.greatest(carts.c.erased_stamp, literal(stamp, BigInteger))


async def newest_stamp(connection: AsyncConnection, cart_ids: Collection[CartId]) -> int:
    """Return the stamp of the newest write that is stored of some carts; 0 if none."""
    found = await connection.execute(select(func.coalesce(_NEWEST_STAMP, 0)).where(among(items.c.cart_id, cart_ids)))
    return int(found.scalar_one())

"""The SQL of removing carts, with what belongs to them in other features. Never commits: the caller does that.

Whoever removes anything of a cart holds its lock (FOR UPDATE) before looking at what it holds: a flush that has the
cart in hand is waited for, or the cart left out, and a flush that comes later sees what was left behind.

What is looked up for each cart is a scalar subquery, as PostgreSQL goes to the index for these whatever it believes
of the size of the tables.
"""

from collections.abc import Collection, Iterable
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Select,
    Text,
    Uuid,
    and_,
    cast,
    delete,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts.tables import carts, horizon, items
from tracker.features.checkout.domain import Status
from tracker.features.checkout.tables import order_lines, orders
from tracker.features.data_lifecycle.domain import Amount
from tracker.features.reservations.tables import reservations
from tracker.ingest.items import CartId
from tracker.kit.clock import stamp_time

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


async def needed_among(connection: AsyncConnection, cart_ids: Collection[CartId]) -> set[CartId]:
    """Return the carts that an order, or a cart that is not among `cart_ids`, still leads to."""
    previous = carts.alias("previous")
    order = select(orders.c.id).where(orders.c.cart_id == carts.c.id).limit(1).scalar_subquery()
    other = (
        select(previous.c.id)
        .where(previous.c.next_cart_id == carts.c.id, ~among(previous.c.id, cart_ids))
        .limit(1)
        .scalar_subquery()
    )
    leads_there = or_(order.is_not(None), other.is_not(None))
    statement = select(carts.c.id).where(among(carts.c.id, cart_ids), leads_there)
    return set((await connection.execute(statement)).scalars())


async def ways_of(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, CartId | None]:
    """Return, for each cart, the cart it leads to."""
    rows = await connection.execute(select(carts.c.id, carts.c.next_cart_id).where(among(carts.c.id, cart_ids)))
    return {row.id: row.next_cart_id for row in rows}


async def contents(connection: AsyncConnection, cart_ids: Collection[CartId]) -> tuple[Amount, set[CartId]]:
    """Return how many items and reservations some carts hold, and which of them hold items."""
    reserved = select(func.count()).select_from(reservations).where(among(reservations.c.cart_id, cart_ids))
    held = select(items.c.cart_id, func.count()).where(among(items.c.cart_id, cart_ids)).group_by(items.c.cart_id)
    return _contents(await connection.execute(held), (await connection.execute(reserved)).scalar_one())


async def empty(connection: AsyncConnection, cart_ids: Collection[CartId]) -> tuple[Amount, set[CartId]]:
    """Remove the contents of some locked carts; return what `contents` would have returned."""
    reserved = await connection.execute(delete(reservations).where(among(reservations.c.cart_id, cart_ids)))
    removed = delete(items).where(among(items.c.cart_id, cart_ids)).returning(items.c.cart_id).cte("removed")
    by_cart = select(removed.c.cart_id, func.count()).group_by(removed.c.cart_id)
    return _contents(await connection.execute(by_cart), reserved.rowcount)


def _contents(by_cart: Iterable[Any], reserved: int) -> tuple[Amount, set[CartId]]:
    held = {CartId(row[0]): int(row[1]) for row in by_cart}
    return Amount(items=sum(held.values()), reservations=reserved), set(held)


async def delete_carts(connection: AsyncConnection, cart_ids: Collection[CartId]) -> None:
    """Remove locked, empty carts to which nothing leads but each other."""
    await connection.execute(delete(carts).where(among(carts.c.id, cart_ids)))


async def mark_erased(connection: AsyncConnection, cart_ids: Collection[CartId], stamp: int) -> None:
    """Mark some locked carts as erased: nothing that was written for them up to `stamp` is stored any more."""
    await connection.execute(update(carts).where(among(carts.c.id, cart_ids)).values(erased_stamp=_later(stamp)))


async def with_merged(connection: AsyncConnection, cart_id: CartId) -> set[CartId]:
    """Return a cart, the cart it was merged into, and all carts that were merged into that one."""
    way = (
        select(carts.c.id, carts.c.next_cart_id, carts.c.purchased)
        .where(carts.c.id == cart_id)
        .cte("way", recursive=True)
    )
    following = select(carts.c.id, carts.c.next_cart_id, carts.c.purchased).join_from(
        way, carts, and_(carts.c.id == way.c.next_cart_id, ~way.c.purchased)
    )
    way = way.union(following)
    found = (await connection.execute(select(way.c.id))).scalars().all()
    return await merged_into(connection, found)


async def merged_into(connection: AsyncConnection, cart_ids: Collection[CartId]) -> set[CartId]:
    """Return some carts and all that were merged into them."""
    tree = select(carts.c.id).where(among(carts.c.id, cart_ids)).cte("tree", recursive=True)
    merged = (
        select(carts.c.id)
        .where(carts.c.next_cart_id == tree.c.id, carts.c.purchased.is_(False))
        .offset(literal_column("0"))  # or PostgreSQL may read all carts to join them
        .lateral()
    )
    found = tree.union(select(merged.c.id).select_from(tree.join(merged, true())))
    return set((await connection.execute(select(found.c.id))).scalars())


async def carts_of(connection: AsyncConnection, customer: str, limit: int | None = None) -> list[CartId]:
    """Return carts of a customer, at most `limit`."""
    statement = select(carts.c.id).where(carts.c.customer == customer).order_by(carts.c.id).limit(limit)
    return list((await connection.execute(statement)).scalars())


async def newest_stamp(connection: AsyncConnection, cart_ids: Collection[CartId]) -> int:
    """Return the stamp of the newest write that is stored of some carts; 0 if none."""
    found = await connection.execute(select(func.coalesce(_NEWEST_STAMP, 0)).where(among(items.c.cart_id, cart_ids)))
    return int(found.scalar_one())


async def disown(connection: AsyncConnection, cart_ids: Collection[CartId], stamp: int) -> None:
    """Take the owner from locked, empty carts, as new ones have none; those that were purchased keep theirs."""
    values = {"customer": None, "owned_at": None, "next_cart_id": None, "closed_stamp": None}
    statement = update(carts).where(among(carts.c.id, cart_ids), ~carts.c.purchased)
    await connection.execute(statement.values(erased_stamp=_later(stamp), **values))


async def purchased_among(connection: AsyncConnection, cart_ids: Collection[CartId]) -> list[CartId]:
    """Return those of some carts that were purchased."""
    statement = select(carts.c.id).where(among(carts.c.id, cart_ids), carts.c.purchased)
    return list((await connection.execute(statement)).scalars())


async def give_purchased(
    connection: AsyncConnection, cart_ids: Collection[CartId], customer: str, next_cart_id: CartId, stamp: int
) -> None:
    """Make purchased carts those of another customer; what still comes for them goes to `next_cart_id`."""
    values = {"customer": customer, "next_cart_id": next_cart_id, "erased_stamp": _later(stamp)}
    await connection.execute(update(carts).where(among(carts.c.id, cart_ids)).values(values))


async def delete_failed_orders(connection: AsyncConnection, customer: str) -> int:
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


async def give_orders(connection: AsyncConnection, customer: str, to: str, limit: int) -> int:
    """Make up to `limit` orders of a customer those of `to`; return how many there were.

    What else the customer has chosen goes too: the idempotency key, and the name of the payment method.
    """
    theirs = select(orders.c.id).where(orders.c.customer == customer).order_by(orders.c.id).limit(limit)
    statement = update(orders).where(orders.c.id.in_(theirs.with_for_update()))
    values = {"customer": to, "idempotency_key": cast(orders.c.id, Text)}
    done = await connection.execute(statement.values(**values, payment_method="erased", updated_at=func.now()))
    return done.rowcount


async def orders_of(connection: AsyncConnection, customer: str) -> int:
    """Return how many orders a customer has."""
    statement = select(func.count()).select_from(orders).where(orders.c.customer == customer)
    return int((await connection.execute(statement)).scalar_one())


def among(column: ColumnElement[Any], ids: Collection[str]) -> ColumnElement[bool]:
    """Return the condition that an id is one of `ids`, in one parameter: the statement is the same for any number."""
    return column == func.any(literal(list(ids), ARRAY(Uuid(as_uuid=False))))


def _later(stamp: int) -> ColumnElement[Any]:
    return func.greatest(carts.c.erased_stamp, literal(stamp, BigInteger))

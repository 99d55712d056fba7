"""The SQL of carts and whose they are. Never commits: whoever gives the connection decides when.

A cart that takes no items any more names the one that does. Who closes a cart, or opens it again, holds its
lock (`lock`): a flush that meets it waits, and then sees where its items belong.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    Column,
    ColumnElement,
    Select,
    Uuid,
    bindparam,
    cast,
    extract,
    func,
    insert,
    literal,
    literal_column,
    or_,
    select,
    true,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import LateralFromClause

from tracker.features.carts.domain import Cart, CartId, Held, Item, ItemKey
from tracker.features.carts.tables import carts, horizon, items
from tracker.kit.clock import WORKER_BITS

_ID: Final[Column[str]] = Column("id", Uuid(as_uuid=False))

_CART: Final = select(*(carts.c[field] for field in Cart.__struct_fields__))

_BY_ID: Final = _CART.where(carts.c.id == bindparam("id", type_=_ID.type))

# One parameter for all: erasing a customer may lock 100,000 carts that were merged into theirs, and PostgreSQL takes
# 32,767 parameters.
_LOCKED: Final = (
    _CART.where(carts.c.id == func.any(bindparam("ids", type_=ARRAY(_ID.type)))).order_by(carts.c.id).with_for_update()
)

_PURCHASED: Final = carts.c.purchased
_OPEN: Final = carts.c.next_cart_id.is_(None)


def _chains() -> CTE:
    """Build the walk along chains of carts: one statement, as an old cookie may have a hundred purchases behind it.

    `LATERAL` and `OFFSET 0` make PostgreSQL look each cart up in the index, as in `store`.
    """
    ids = func.unnest(bindparam("ids", type_=ARRAY(_ID.type))).table_valued(_ID, name="ids").render_derived()
    first = _looked_up(ids.c.id)
    chains = (
        select(ids.c.id.label("asked"), *first.c).select_from(ids.join(first, true())).cte("chains", recursive=True)
    )
    following = _looked_up(chains.c.next_cart_id)
    return chains.union_all(select(chains.c.asked, *following.c).select_from(chains.join(following, true())))


def _looked_up(cart_id: ColumnElement[Any]) -> LateralFromClause:
    columns = (carts.c.id, carts.c.next_cart_id, carts.c.closed_stamp, carts.c.erased_stamp)
    return select(*columns).where(carts.c.id == cart_id).offset(literal_column("0")).lateral()


_CHAINS: Final = _chains()

_ENDS: Final = select(_CHAINS.c.asked, _CHAINS.c.id).where(_CHAINS.c.next_cart_id.is_(None))

_ERASED: Final = (
    select(_CHAINS.c.asked, func.max(_CHAINS.c.erased_stamp))
    .where(_CHAINS.c.erased_stamp.is_not(None))
    .group_by(_CHAINS.c.asked)
)

_HORIZON: Final = select(func.coalesce(func.max(horizon.c.stamp), 0))

_STAMP_OF_NOW: Final = cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger) * (1 << WORKER_BITS)
"""By PostgreSQL's clock; only how old a cart is depends on it."""

_HELD: Final = (
    select(
        _CHAINS.c.asked,
        items.c.external_id,
        _CHAINS.c.closed_stamp,
        *(items.c[field] for field in Item.__struct_fields__),
    )
    .join_from(_CHAINS, items, items.c.cart_id == _CHAINS.c.id)
    .where(_CHAINS.c.next_cart_id.is_not(None))
    .where(items.c.external_id == func.any(bindparam("external_ids", type_=ARRAY(items.c.external_id.type))))
)


async def find(connection: AsyncConnection, cart_id: CartId) -> Cart | None:
    """Return a cart, or None if nothing was ever stored of it."""
    row = (await connection.execute(_BY_ID, {"id": cart_id})).one_or_none()
    return None if row is None else Cart(*row)


async def ends(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, CartId]:
    """Return, of those carts that are known, which takes their items now: itself, or the last of its chain."""
    rows = await connection.execute(_ENDS, {"ids": list(cart_ids)})
    return {row.asked: row.id for row in rows}


async def erased(
    connection: AsyncConnection, known: Collection[CartId], unknown: Collection[CartId]
) -> dict[CartId, int]:
    """Return, by cart, up to which stamp its items are erased: as the carts of its chain say, or else the horizon.

    A cart that leads to an erased one counts as erased with it: what came for the first may have gone to the other.
    """
    rows = await connection.execute(_ERASED, {"ids": list(known)})
    found = {row.asked: int(row[1]) for row in rows}
    if unknown:
        found |= dict.fromkeys(unknown, (await connection.execute(_HORIZON)).scalar_one())
    return found


async def held(
    connection: AsyncConnection, cart_ids: Collection[CartId], external_ids: Collection[str]
) -> dict[ItemKey, list[Held]]:
    """Return what the closed carts of each chain hold of some items, by the cart that was asked for and the item."""
    found: dict[ItemKey, list[Held]] = {}
    values = {"ids": list(cart_ids), "external_ids": list(external_ids)}
    for asked, external_id, closed_stamp, *fields in await connection.execute(_HELD, values):
        found.setdefault((asked, external_id), []).append((Item(*fields), closed_stamp or 0))
    return found


async def lock(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, Cart]:
    """Return carts as they are now, and keep everybody else from changing them until the transaction ends.

    In the order of their ids, as flushes lock them.
    """
    rows = await connection.execute(_LOCKED, {"ids": list(cart_ids)})
    return {cart.id: cart for cart in (Cart(*row) for row in rows)}


async def take_turn(connection: AsyncConnection, customer: str) -> None:
    """Wait until no other transaction of this customer's does the same."""
    await connection.execute(select(func.pg_advisory_xact_lock(func.hashtextextended(customer, 0))))


async def create(connection: AsyncConnection, cart_id: CartId, customer: str) -> None:
    """Create a cart that belongs to a customer."""
    await connection.execute(insert(carts).values(id=cart_id, customer=customer, owned_at=func.clock_timestamp()))


async def create_unless_known(connection: AsyncConnection, cart_id: CartId) -> None:
    """Create a guest's cart, unless there is one of that id, which stays as it is."""
    await connection.execute(postgresql.insert(carts).values(id=cart_id).on_conflict_do_nothing())


async def give(connection: AsyncConnection, cart_id: CartId, customer: str) -> None:
    """Make a guest's cart that of a customer."""
    await _update(connection, cart_id, customer=customer, owned_at=func.clock_timestamp())


async def purchase(connection: AsyncConnection, cart_id: CartId, next_cart_id: CartId, stamp: int) -> None:
    """Mark a cart as purchased at a stamp; what still comes for it goes to the next one."""
    await _update(connection, cart_id, purchased=True, next_cart_id=next_cart_id, closed_stamp=stamp)


async def reopen(connection: AsyncConnection, cart_id: CartId) -> None:
    """Mark a cart as not purchased: it takes items again."""
    await _update(connection, cart_id, purchased=False, next_cart_id=None, closed_stamp=None)


async def close(connection: AsyncConnection, cart_id: CartId, next_cart_id: CartId) -> None:
    """Have another cart take the place of one that holds nothing any more."""
    await _update(connection, cart_id, next_cart_id=next_cart_id, closed_stamp=_STAMP_OF_NOW)


async def _update(connection: AsyncConnection, cart_id: CartId, **values: Any) -> None:  # noqa: ANN401  # of columns
    await connection.execute(update(carts).where(carts.c.id == cart_id).values(**values))


async def newest_open(connection: AsyncConnection, customer: str) -> CartId | None:
    """Return the outstanding cart that a customer got last, or None."""
    statement = _newest_first(_CART.where(carts.c.customer == customer, _OPEN)).limit(1)
    row = (await connection.execute(statement)).one_or_none()
    return None if row is None else Cart(*row).id


async def of_customer(
    connection: AsyncConnection, customer: str, *, purchased: bool | None, after: Cart | None, limit: int
) -> Sequence[Cart]:
    """Return up to `limit` carts of a customer, those first that they got last, from behind `after` on."""
    kind = or_(_PURCHASED, _OPEN) if purchased is None else _PURCHASED if purchased else _OPEN
    statement = _CART.where(carts.c.customer == customer, kind)
    if after is not None:
        behind = tuple_(literal(after.owned_at, carts.c.owned_at.type), literal(after.id, carts.c.id.type))
        statement = statement.where(tuple_(carts.c.owned_at, carts.c.id) < behind)
    return [Cart(*row) for row in await connection.execute(_newest_first(statement).limit(limit))]


def _newest_first(statement: Select[Any]) -> Select[Any]:
    return statement.order_by(carts.c.owned_at.desc(), carts.c.id.desc())

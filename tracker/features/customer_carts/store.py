"""The SQL of carts and their owners. Never commits: the caller, who gives the connection, decides when.

A cart that takes no items any more names the one that does. A transaction that closes a cart, or opens it again,
holds its lock (`lock`): a flush that meets it waits, and then sees where its items belong.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Select,
    bindparam,
    cast,
    extract,
    func,
    insert,
    literal,
    or_,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts.removal import later_erased
from tracker.features.carts.tables import carts
from tracker.features.customer_carts.domain import Cart
from tracker.ingest.items import CartId
from tracker.kit.clock import STAMPS_PER_US
from tracker.postgres.conditions import among

_CART: Final = select(*(carts.c[field] for field in Cart.__struct_fields__))

_BY_ID: Final = _CART.where(carts.c.id == bindparam("id", type_=carts.c.id.type))

# One parameter for all: erasing a customer may lock 100,000 carts that were merged into theirs, and PostgreSQL takes
# 32,767 parameters.
_LOCKED: Final = (
    _CART.where(carts.c.id == func.any(bindparam("ids", type_=ARRAY(carts.c.id.type))))
    .order_by(carts.c.id)
    .with_for_update()
)

_PURCHASED: Final = carts.c.purchased
_OPEN: Final = carts.c.next_cart_id.is_(None)


_STAMP_OF_NOW: Final = cast(extract("epoch", func.clock_timestamp()) * 1_000_000, BigInteger) * STAMPS_PER_US
"""The stamp of the present moment by PostgreSQL's clock; only the age of a cart depends on it."""


async def find(connection: AsyncConnection, cart_id: CartId) -> Cart | None:
    """Return a cart, or None if nothing was ever stored of it."""
    row = (await connection.execute(_BY_ID, {"id": cart_id})).one_or_none()
    return None if row is None else Cart(*row)


async def lock(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, Cart]:
    """Return carts as they are now, and keep everybody else from changing them until the transaction ends.

    The carts are locked in the order of their ids, as flushes lock them.
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


async def ids_of_customer(connection: AsyncConnection, customer: str, limit: int | None = None) -> list[CartId]:
    """Return the ids of the carts of a customer, purchased ones included, at most `limit`."""
    statement = select(carts.c.id).where(carts.c.customer == customer).order_by(carts.c.id).limit(limit)
    return list((await connection.execute(statement)).scalars())


async def purchased_among(connection: AsyncConnection, cart_ids: Collection[CartId]) -> list[CartId]:
    """Return those of some carts that were purchased."""
    statement = select(carts.c.id).where(among(carts.c.id, cart_ids), carts.c.purchased)
    return list((await connection.execute(statement)).scalars())


async def give_purchased(
    connection: AsyncConnection, cart_ids: Collection[CartId], customer: str, next_cart_id: CartId, stamp: int
) -> None:
    """Make purchased carts those of another customer; what still comes for them goes to `next_cart_id`."""
    values = {"customer": customer, "next_cart_id": next_cart_id, "erased_stamp": later_erased(stamp)}
    await connection.execute(update(carts).where(among(carts.c.id, cart_ids)).values(values))


async def disown(connection: AsyncConnection, cart_ids: Collection[CartId], stamp: int) -> None:
    """Take the owner from locked, empty carts, as new ones have none; those that were purchased keep theirs."""
    values = {"customer": None, "owned_at": None, "next_cart_id": None, "closed_stamp": None}
    statement = update(carts).where(among(carts.c.id, cart_ids), ~carts.c.purchased)
    await connection.execute(statement.values(erased_stamp=later_erased(stamp), **values))

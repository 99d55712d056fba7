"""SQL that follows chains of carts: on to where the items of a closed cart belong, back to what was merged into one.

A cart that takes no items any more names the cart that takes them instead.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    CTE,
    Column,
    ColumnElement,
    Uuid,
    and_,
    bindparam,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import LateralFromClause

from tracker.features.carts.domain import Held
from tracker.features.carts.tables import carts, horizon, items
from tracker.ingest.items import CartId, Item, ItemKey
from tracker.postgres.conditions import among

_ID: Final[Column[str]] = Column("id", Uuid(as_uuid=False))


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


async def ends(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, CartId]:
    """Return, for each of the known carts, the cart that takes its items now: itself, or the last of its chain."""
    rows = await connection.execute(_ENDS, {"ids": list(cart_ids)})
    return {row.asked: row.id for row in rows}


async def erased(
    connection: AsyncConnection, known: Collection[CartId], unknown: Collection[CartId]
) -> dict[CartId, int]:
    """Return, for each cart, the stamp up to which its items are erased.

    A known cart takes it from the carts of its chain, an unknown cart from the horizon. A cart that leads to an erased
    one counts as erased with it: what came for the first may have gone to the other.
    """
    rows = await connection.execute(_ERASED, {"ids": list(known)})
    found = {row.asked: int(row[1]) for row in rows}
    if unknown:
        found |= dict.fromkeys(unknown, (await connection.execute(_HORIZON)).scalar_one())
    return found


async def held(
    connection: AsyncConnection, cart_ids: Collection[CartId], external_ids: Collection[str]
) -> dict[ItemKey, list[Held]]:
    """Return the given items as the closed carts of each chain hold them, by the asked cart and the item."""
    found: dict[ItemKey, list[Held]] = {}
    values = {"ids": list(cart_ids), "external_ids": list(external_ids)}
    for asked, external_id, closed_stamp, *fields in await connection.execute(_HELD, values):
        found.setdefault((asked, external_id), []).append((Item(*fields), closed_stamp or 0))
    return found


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


async def ways_of(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, CartId | None]:
    """Return, for each cart, the cart it leads to."""
    rows = await connection.execute(select(carts.c.id, carts.c.next_cart_id).where(among(carts.c.id, cart_ids)))
    return {row.id: row.next_cart_id for row in rows}

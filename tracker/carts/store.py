"""The SQL of carts and items. Never commits: whoever gives the connection decides when.

A batch is one statement whatever its size: arrays go in as nine parameters and come apart in
`unnest` (measured at about twice the rate of an executemany of VALUES, and with no limit on the
number of parameters). The new carts are a CTE of that same statement; the foreign key is checked at
its end. Rows are sorted by key, so that several workers lock them in one order: unsorted, 301 of
400 overlapping batches ended in a deadlock.

The statement keeps to what Citus, CockroachDB and YugabyteDB also speak.
"""

from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    Integer,
    Text,
    Uuid,
    bindparam,
    case,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.carts.domain import DEFAULT_QUANTITY, Batch, CartId, Item
from tracker.carts.tables import carts, items

Written = tuple[CartId, str, int]
"""Cart, item and the quantity that is stored."""

_REGISTERS: Final = ("name", "value", "quantity")
"""The fields with a stamp of their own, in the column `<field>_stamp`."""

_COLUMNS: Final[tuple[Column[Any], ...]] = (
    Column("cart_id", Uuid(as_uuid=False)),
    Column("external_id", Text),
    Column("added_stamp", BigInteger),
    Column("name", Text),
    Column("name_stamp", BigInteger),
    Column("value", BigInteger),
    Column("value_stamp", BigInteger),
    Column("quantity", Integer),
    Column("quantity_stamp", BigInteger),
)


def _upsert_statement() -> Insert:
    """Build the merge of `domain.Item.merge` in SQL, for a whole batch."""
    arrays = [bindparam(column.name, type_=ARRAY(column.type)) for column in _COLUMNS]
    rows = func.unnest(*arrays).table_valued(*_COLUMNS, name="rows").render_derived()

    new_carts = (
        insert(carts)
        .from_select(
            ["id"],
            select(rows.c.cart_id).distinct().order_by(rows.c.cart_id),
        )
        .on_conflict_do_nothing()
        .cte("new_carts")
    )
    sorted_rows = select(*rows.c).order_by(rows.c.cart_id, rows.c.external_id)
    statement = insert(items).from_select([column.name for column in _COLUMNS], sorted_rows).add_cte(new_carts)

    new, old = statement.excluded, items.c
    newer = {field: new[f"{field}_stamp"] > old[f"{field}_stamp"] for field in _REGISTERS}
    merged = {field: case((newer[field], new[field]), else_=old[field]) for field in _REGISTERS}
    stamps = {f"{field}_stamp": func.greatest(new[f"{field}_stamp"], old[f"{field}_stamp"]) for field in _REGISTERS}
    earlier = new.added_stamp < old.added_stamp
    return statement.on_conflict_do_update(
        index_elements=[items.c.cart_id, items.c.external_id],
        set_={**merged, **stamps, "added_stamp": func.least(new.added_stamp, old.added_stamp)},
        # A replay or a repeat that says nothing new writes nothing.
        where=or_(earlier, *newer.values()),
    )


_UPSERT: Final = _upsert_statement()

_UPSERT_RETURNING: Final = _UPSERT.returning(items.c.cart_id, items.c.external_id, items.c.quantity)

_CART: Final = select(items.c.external_id, *(items.c[field] for field in Item.__struct_fields__)).where(
    items.c.cart_id == bindparam("cart_id", type_=Uuid(as_uuid=False))
)


async def write_items(connection: AsyncConnection, batch: Batch) -> None:
    """Merge every item of `batch` into what is stored, creating its carts."""
    await connection.execute(_UPSERT, _parameters(batch))


async def write_and_return_items(connection: AsyncConnection, batch: Batch) -> list[Written]:
    """Do what `write_items` does; return what has changed, as it is stored now."""
    rows = await connection.execute(_UPSERT_RETURNING, _parameters(batch))
    return [(cart_id, external_id, quantity) for cart_id, external_id, quantity in rows]


def _parameters(batch: Batch) -> dict[str, list[Any]]:
    merged = batch.values()
    return {
        "cart_id": [cart_id for cart_id, _ in batch],
        "external_id": [external_id for _, external_id in batch],
        "added_stamp": [item.added_stamp for item in merged],
        "name": [item.name for item in merged],
        "name_stamp": [item.name_stamp for item in merged],
        "value": [item.value for item in merged],
        "value_stamp": [item.value_stamp for item in merged],
        "quantity": [DEFAULT_QUANTITY if item.quantity is None else item.quantity for item in merged],
        "quantity_stamp": [item.quantity_stamp for item in merged],
    }


async def read_items(connection: AsyncConnection, cart_id: CartId) -> dict[str, Item]:
    """Return the stored items of a cart by external id, removed ones included."""
    rows = await connection.execute(_CART, {"cart_id": cart_id})
    return {external_id: Item(*fields) for external_id, *fields in rows}

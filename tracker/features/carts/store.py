"""The SQL of items, and of carts as a whole. Never commits: the caller, who gives the connection, decides when.

A batch is one statement whatever its size: arrays go in as nine parameters and come apart in
`unnest` (measured at about twice the rate of an executemany of VALUES, and with no limit on the
number of parameters). The new carts are a CTE of that same statement; the foreign key is checked at
its end. Rows are sorted by key, so that several workers lock them in one order: unsorted, 301 of
400 overlapping batches ended in a deadlock.

A cart that was purchased or merged into another takes no items any more, however late they come. So the
statement locks the carts it knows (KEY SHARE, as the check of the foreign key does; a transaction that closes a cart
takes FOR UPDATE) and leaves alone the items that belong elsewhere; the caller sends these there, merged with the items
that go there anyway. It costs nothing that can be measured: 1.92 s of PostgreSQL's CPU for 200,000 items, 1.99
without.

The same look at the cart tells whether it was erased. A batch with writes to a cart from before that, or to an
unknown cart from before the horizon, comes out of a journal, or has waited: it is left alone too, and the caller sends
once more the writes that are newer.

The statement keeps to what CockroachDB and YugabyteDB also speak; on Citus the lock must go, and an item
that comes in the moment of a purchase may then stay in the purchased cart.
"""

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Column,
    CompoundSelect,
    Integer,
    Row,
    Select,
    Text,
    Uuid,
    bindparam,
    case,
    delete,
    func,
    literal_column,
    null,
    or_,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.sql.selectable import TextualSelect

from tracker.features.carts.tables import carts, horizon, items
from tracker.ingest.items import DEFAULT_QUANTITY, Batch, CartId, Item
from tracker.postgres.conditions import among

Written = tuple[CartId, str, int]
"""A written item: the cart, the item's external id and the quantity that is stored."""

Elsewhere = dict[CartId, CartId]
"""The carts that items must go to instead, by the cart they came for: its successor, or the same once more."""

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


def _merging(statement: Insert) -> Insert:
    """Return an insert of items that merges each into the stored one, as `ingest.items.Item.merge` does."""
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


def _batch_statement(*, returning: bool) -> Select[Any] | CompoundSelect[Any]:
    """Build the statement for a whole batch.

    Its rows say which carts' items must go elsewhere, and where; with `returning` also what has changed, as it is
    stored now. `LATERAL` makes PostgreSQL look each cart up in the index whatever it believes of the size of the
    table: as a join it read all of a table that was new when the plan was made. What is looked for in `NOT IN` is
    hashed; the joins that could stand there instead may be done by nested loops.
    """
    arrays = [bindparam(column.name, type_=ARRAY(column.type)) for column in _COLUMNS]
    unnested = func.unnest(*arrays).table_valued(*_COLUMNS, name="unnested").render_derived()
    rows = select(*unnested.c).cte("rows")
    wanted = (
        select(rows.c.cart_id, func.min(rows.c.added_stamp).label("oldest"))
        .group_by(rows.c.cart_id)
        .order_by(rows.c.cart_id)
        .cte("wanted")
    )
    found = (
        select(carts.c.id, carts.c.next_cart_id, carts.c.erased_stamp)
        .where(carts.c.id == wanted.c.cart_id)
        .with_for_update(read=True, key_share=True)
        .lateral("found")
    )
    known = select(*found.c, wanted.c.oldest).select_from(wanted.join(found, true())).cte("known")
    unknown = wanted.c.cart_id.not_in(select(known.c.id))
    is_young = wanted.c.oldest > func.coalesce(select(func.max(horizon.c.stamp)).scalar_subquery(), literal_column("0"))
    created = (
        insert(carts)
        .from_select(["id"], select(wanted.c.cart_id).where(unknown, is_young).order_by(wanted.c.cart_id))
        .on_conflict_do_nothing()
        .returning(carts.c.id)
        .cte("created")
    )
    elsewhere = union_all(
        select(known.c.id, func.coalesce(known.c.next_cart_id, known.c.id)).where(
            or_(known.c.next_cart_id.is_not(None), known.c.oldest <= known.c.erased_stamp)
        ),
        # Another writer has created it since this statement began: what is known of it is too old. Or it is too old.
        select(wanted.c.cart_id, wanted.c.cart_id).where(unknown, wanted.c.cart_id.not_in(select(created.c.id))),
    ).cte("elsewhere")
    to_store = (
        select(*rows.c)
        .where(rows.c.cart_id.not_in(select(elsewhere.c.id)))
        .order_by(rows.c.cart_id, rows.c.external_id)
    )
    stored = _merging(insert(items).from_select([column.name for column in _COLUMNS], to_store))
    left_out = select(*elsewhere.c, null(), null())
    if not returning:
        return left_out.add_cte(stored.cte("stored"))
    changed = stored.returning(items.c.cart_id, items.c.external_id, items.c.quantity).cte("stored")
    return union_all(left_out, select(changed.c.cart_id, null(), changed.c.external_id, changed.c.quantity))


def _compiled_once(statement: Select[Any] | CompoundSelect[Any]) -> TextualSelect:
    """Return a statement for whole batches as SQL.

    SQLAlchemy would walk all of it at each execution, to find what it has compiled in its cache: 160 µs of the event
    loop for each flush, where this takes 12.
    """
    sql = str(statement.compile(dialect=PGDialect(paramstyle="named")))  # type: ignore[no-untyped-call]  # of theirs
    arrays = [bindparam(column.name, type_=ARRAY(column.type)) for column in _COLUMNS]
    results = (
        Column("cart_id", Uuid(as_uuid=False)),
        Column("next_cart_id", Uuid(as_uuid=False)),
        Column("external_id", Text),
        Column("quantity", Integer),
    )
    return text(sql).bindparams(*arrays).columns(*results)


_WRITE: Final = _compiled_once(_batch_statement(returning=False))

_WRITE_RETURNING: Final = _compiled_once(_batch_statement(returning=True))

_MOVE: Final = _merging(
    insert(items).from_select(
        [column.name for column in _COLUMNS],
        select(
            bindparam("target", type_=Uuid(as_uuid=False)), *(items.c[column.name] for column in _COLUMNS[1:])
        ).where(items.c.cart_id == bindparam("source", type_=Uuid(as_uuid=False))),
    )
).returning(items.c.cart_id, items.c.external_id, items.c.quantity)

_CART: Final = select(items.c.external_id, *(items.c[field] for field in Item.__struct_fields__)).where(
    items.c.cart_id == bindparam("cart_id", type_=Uuid(as_uuid=False))
)


async def write_items(connection: AsyncConnection, batch: Batch) -> Elsewhere:
    """Merge the items of `batch` into the stored ones, creating their carts; return the carts whose items were not."""
    rows = await connection.execute(_WRITE, _parameters(batch))
    return {cart_id: next_cart_id for cart_id, next_cart_id, *_ in rows}


async def write_and_return_items(connection: AsyncConnection, batch: Batch) -> tuple[list[Written], Elsewhere]:
    """Merge items as `write_items` does; also return what has changed, as it is stored now."""
    written: list[Written] = []
    elsewhere: Elsewhere = {}
    for cart_id, next_cart_id, external_id, quantity in await connection.execute(_WRITE_RETURNING, _parameters(batch)):
        if next_cart_id is None:
            written.append((cart_id, external_id, quantity))
        else:
            elsewhere[cart_id] = next_cart_id
    return written, elsewhere


async def move_items(connection: AsyncConnection, source: CartId, target: CartId) -> list[Written]:
    """Merge the items of a cart into another, and leave none behind; return what has changed there.

    The caller holds both carts' locks.
    """
    rows = await connection.execute(_MOVE, {"source": source, "target": target})
    await connection.execute(delete(items).where(items.c.cart_id == source))
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


async def count_items(connection: AsyncConnection, cart_ids: Collection[CartId]) -> dict[CartId, int]:
    """Return the number of items of each cart that has any."""
    held = select(items.c.cart_id, func.count()).where(among(items.c.cart_id, cart_ids)).group_by(items.c.cart_id)
    return {row.cart_id: row[1] for row in await connection.execute(held)}


async def read_carts(
    connection: AsyncConnection, cart_ids: Collection[CartId]
) -> tuple[list[Row[Any]], list[Row[Any]]]:
    """Return some carts with all their columns, by their ids, and their items, first added first."""
    found = select(carts).where(among(carts.c.id, cart_ids)).order_by(carts.c.id)
    held = select(items).where(among(items.c.cart_id, cart_ids)).order_by(items.c.added_stamp)
    return list(await connection.execute(found)), list(await connection.execute(held))

"""The SQL of warranties. Never commits: the caller owns the transaction.

A group of sales is a few statements, whatever its size: its rows come as arrays. They always come in the same order
(new stores, new items, warranties, then items as they were last told), and each takes its locks in the order of its
table's key, so two groups never deadlock: who waits in one of them waits for a lock that the other took in the same
statement or a later one. The references of the warranties wait for nobody, as only keys are locked for them, and these
never change; nor do the items' changes wait for items that another group is adding, as adding them has waited.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    Column,
    ColumnElement,
    Row,
    Select,
    Table,
    Text,
    and_,
    bindparam,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import Insert, insert
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.warranties.domain import Selection, Warranty, WarrantyId
from tracker.features.warranties.tables import stores, warranties, warranty_items

_FIELDS: Final = Warranty.__struct_fields__
_WARRANTY: Final = select(*(warranties.c[field] for field in _FIELDS))


def _insert(table: Table, names: Sequence[str], *, order_by: Sequence[str]) -> Insert:
    """Return the statement that inserts rows which come as one array a column."""
    columns = [Column(name, table.c[name].type) for name in names]
    arrays = [bindparam(name, type_=ARRAY(table.c[name].type)) for name in names]
    rows = func.unnest(*arrays).table_valued(*columns, name="new").render_derived()
    return insert(table).from_select(list(names), select(*rows.c).order_by(*(rows.c[name] for name in order_by)))


_ADD_STORES: Final = _insert(stores, ["store_uuid", "created_at"], order_by=["store_uuid"]).on_conflict_do_nothing()

_ITEM: Final = ("item_type", "item_sku", "item_title", "item_cost", "updated_stamp")

_UNTOLD: Final = 0
"""Stamp, before all others, of an item for which no warranty was created yet."""

Items = Mapping[tuple[str, str], tuple[str, int, int]]
"""Items by type and SKU, with title, cost in cents and stamp."""

_ADD_ITEMS: Final = _insert(warranty_items, _ITEM, order_by=["item_type", "item_sku"]).on_conflict_do_nothing()


def _write_items() -> Insert:
    statement = _insert(warranty_items, _ITEM, order_by=["item_type", "item_sku"])
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[warranty_items.c.item_type, warranty_items.c.item_sku],
        set_={name: new[name] for name in ("item_title", "item_cost", "updated_stamp")},
        where=warranty_items.c.updated_stamp < new.updated_stamp,
    )


_WRITE_ITEMS: Final = _write_items()

_CREATE: Final = (
    _insert(warranties, [*_FIELDS, "idempotency_key"], order_by=["store_uuid", "idempotency_key", "id"])
    .on_conflict_do_nothing(
        index_elements=[warranties.c.store_uuid, warranties.c.idempotency_key],
        index_where=warranties.c.idempotency_key.is_not(None),
    )
    .returning(warranties.c.id)
)


_OF_IDS: Final = _WARRANTY.where(
    warranties.c.id == func.any(bindparam("of_ids", type_=ARRAY(warranties.c.id.type)))
).order_by(warranties.c.id)


def _of_keys() -> Select[Any]:
    columns = [Column("store_uuid", Text), Column("idempotency_key", Text)]
    arrays = [bindparam(name, type_=ARRAY(Text)) for name in ("of_stores", "of_keys")]
    asked = func.unnest(*arrays).table_valued(*columns, name="asked").render_derived()
    return _WARRANTY.add_columns(warranties.c.idempotency_key).join(
        asked, and_(*(warranties.c[column.name] == asked.c[column.name] for column in columns))
    )


_OF_KEYS: Final = _of_keys()


async def add_stores(connection: AsyncConnection, created: Mapping[str, Any]) -> None:
    """Store the stores that are not known yet, each with the time at which it was first heard of."""
    await connection.execute(_ADD_STORES, {"store_uuid": list(created), "created_at": list(created.values())})


async def add_items(connection: AsyncConnection, items: Items) -> None:
    """Store the items that are not known yet, so that warranties can refer to them; `write_items` stores their data.

    Their stamp is that of an item that was never told: if the sale of an item is refused, its title does not last.
    """
    rows = [(*key, title, cost, _UNTOLD) for key, (title, cost, _) in items.items()]
    await connection.execute(_ADD_ITEMS, _arrays(rows))


async def write_items(connection: AsyncConnection, items: Items) -> None:
    """Store the data of items, of which there is at least one; data that is there with a later stamp stays."""
    await connection.execute(_WRITE_ITEMS, _arrays([(*key, *values) for key, values in items.items()]))


def _arrays(rows: Sequence[tuple[object, ...]]) -> dict[str, list[object]]:
    return dict(zip(_ITEM, map(list, zip(*rows, strict=True)), strict=True))


async def create(connection: AsyncConnection, made: Sequence[tuple[Warranty, str | None]]) -> set[WarrantyId]:
    """Store warranties, each with its idempotency key; return the ids of those whose key was not used before."""
    arrays: dict[str, list[Any]] = {field: [getattr(warranty, field) for warranty, _ in made] for field in _FIELDS}
    arrays["idempotency_key"] = [key for _, key in made]
    return set((await connection.execute(_CREATE, arrays)).scalars())


async def of_keys(connection: AsyncConnection, keys: Sequence[tuple[str, str]]) -> dict[tuple[str, str], Warranty]:
    """Return the warranties that were created under these idempotency keys, by store and key."""
    columns = {"of_stores": [store for store, _ in keys], "of_keys": [key for _, key in keys]}
    rows = await connection.execute(_OF_KEYS, columns)
    return {(row.store_uuid, row.idempotency_key): _warranty(row) for row in rows}


async def find(connection: AsyncConnection, ids: Sequence[WarrantyId]) -> list[Warranty]:
    """Return those of these warranties that there are, in the order of their ids."""
    return [_warranty(row) for row in await connection.execute(_OF_IDS, {"of_ids": ids})]


async def newest_id(connection: AsyncConnection) -> WarrantyId | None:
    """Return the id that was created last."""
    found: WarrantyId | None = (
        await connection.execute(select(warranties.c.id).order_by(warranties.c.id.desc()).limit(1))
    ).scalar_one_or_none()
    return found


async def page(
    connection: AsyncConnection,
    selection: Selection | None,
    *,
    after: WarrantyId | None,
    limit: int,
    until: WarrantyId | None = None,
) -> list[Warranty]:
    """Return up to `limit` warranties behind the id `after`, not beyond `until`, of `selection` if it is given."""
    conditions: list[ColumnElement[bool]] = []
    if selection is not None:
        conditions += [warranties.c[field] == getattr(selection, field) for field in Selection.__struct_fields__]
    if after is not None:
        conditions.append(warranties.c.id > after)
    if until is not None:
        conditions.append(warranties.c.id <= until)
    statement = _WARRANTY.where(*conditions).order_by(warranties.c.id).limit(limit)
    return [_warranty(row) for row in await connection.execute(statement)]


def _warranty(row: Row[Any]) -> Warranty:
    return Warranty(*row[: len(_FIELDS)])

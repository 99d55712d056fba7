"""The SQL of products. Never commits: the caller owns the transaction.

An import goes by COPY into a temporary table of its transaction, and from there into the catalog by one
statement that writes only what differs, in the order of the SKUs: two imports at once cannot deadlock.

A search is for the beginnings of words, in titles without their punctuation.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Executable,
    Integer,
    MetaData,
    Table,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateTable

from tracker.features.catalog.domain import Numbered, Product
from tracker.features.catalog.tables import TITLE_WORDS, products

RECORDS_AT_ONCE: Final = 1000
"""Records between two checks whether the connection is still there and nobody has pressed Ctrl-C."""

_COLUMNS: Final = tuple(products.c[field] for field in Product.__struct_fields__)

_STAGED: Final = Table(
    "staged_products",
    MetaData(),
    Column("line", BigInteger),
    *(Column(column.name, column.type) for column in _COLUMNS),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)

_BY_SKU: Final = select(*_COLUMNS).where(products.c.sku == func.any(bindparam("skus", type_=ARRAY(Text))))

_PAGE: Final = (
    select(*_COLUMNS)
    .where(products.c.active, products.c.sku > bindparam("after", type_=Text))
    .order_by(products.c.sku)
    .limit(bindparam("limit", type_=Integer))
)

_FOUND_PAGE: Final = _PAGE.where(
    literal_column(TITLE_WORDS).bool_op("@@")(
        func.to_tsquery(literal_column("'simple'::regconfig"), bindparam("words", type_=Text))
    )
)


_FIRST: Final = func.min(_STAGED.c.line).over(partition_by=_STAGED.c.sku).label("first")

_NUMBERED: Final = select(_STAGED, _FIRST).subquery("numbered")
"""Query of the staged products: each line, with the line that has its SKU first."""

_REPEATS: Final = (
    select(_NUMBERED.c.line, _NUMBERED.c.first).where(_NUMBERED.c.line > _NUMBERED.c.first).order_by(_NUMBERED.c.line)
)


def _merge_statement() -> Executable:
    names = [column.name for column in _COLUMNS]
    first = (
        select(*(_NUMBERED.c[name] for name in names))
        .where(_NUMBERED.c.line == _NUMBERED.c.first)
        .order_by(_NUMBERED.c.sku)
    )
    statement = insert(products).from_select(names, first)
    new = statement.excluded
    # A row that was only inserted has no xmax; one that was changed was locked for it before.
    is_new = literal_column("products.xmax = 0", Boolean).label("is_new")
    written = (
        statement.on_conflict_do_update(
            index_elements=[products.c.sku],
            set_={name: new[name] for name in names if name != "sku"},
            where=or_(*(products.c[name] != new[name] for name in names if name != "sku")),
        )
        .returning(is_new)
        .cte("written")
    )
    return select(func.count().filter(written.c.is_new), func.count().filter(~written.c.is_new)).select_from(written)


_MERGE: Final = _merge_statement()

_EXPORT: Final = """
SELECT sku, title, description, item_type, price, currency, active::text AS active FROM products ORDER BY sku
"""


async def by_sku(connection: AsyncConnection, skus: Sequence[str]) -> dict[str, Product]:
    """Return the products with these SKUs, active or not; the unknown ones are missing."""
    rows = await connection.execute(_BY_SKU, {"skus": list(skus)})
    return {row.sku: Product(*row) for row in rows}


async def page(connection: AsyncConnection, *, after: str, limit: int, words: Sequence[str]) -> list[Product]:
    """Return the first `limit` active products whose SKU comes behind `after`, in the order of the SKUs.

    Each of the `words` begins a word of their title.
    """
    values: dict[str, object] = {"after": after, "limit": limit}
    if words:
        rows = await connection.execute(_FOUND_PAGE, values | {"words": _tsquery(words)})
    else:
        rows = await connection.execute(_PAGE, values)
    return [Product(*row) for row in rows]


def _tsquery(words: Sequence[str]) -> str:
    """Return the query for titles with all `words`: quoted, so that nothing in them is an operator."""
    quoted = (word.replace("\\", "\\\\").replace("'", "''") for word in words)
    return " & ".join(f"'{word}':*" for word in quoted)


async def prepare_long_transaction(connection: AsyncConnection) -> None:
    """Let the statements of this transaction take their time, but wait for no lock longer than a minute."""
    await connection.execute(text("SET LOCAL statement_timeout = 0"))
    await connection.execute(text("SET LOCAL lock_timeout = '60s'"))
    await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))  # bad lines go to a slow pager


async def stage(connection: AsyncConnection, numbered: Iterable[Numbered]) -> int:
    """Put products beside the catalog for the rest of the transaction; return how many there are."""
    await connection.execute(CreateTable(_STAGED))
    status = await _while_connected(
        connection, lambda driver: driver.copy_records_to_table(_STAGED.name, records=_records(numbered))
    )
    return int(status.split()[-1])


async def _records(numbered: Iterable[Numbered]) -> AsyncIterator[tuple[object, ...]]:
    for count, (line, one) in enumerate(numbered):
        if count % RECORDS_AT_ONCE == 0:
            await asyncio.sleep(0)
        yield line, one.sku, one.title, one.description, one.item_type, one.price, one.currency, one.active


async def repeats(connection: AsyncConnection) -> AsyncIterator[tuple[int, int]]:
    """Yield each staged line that repeats the SKU of an earlier one, with the line that has it first."""
    async with connection.stream(_REPEATS) as rows:
        async for line, first in rows:
            yield line, first


async def merge_staged(connection: AsyncConnection) -> tuple[int, int]:
    """Write the staged products into the catalog, for each SKU the first line; return how many are new, and changed."""
    new, changed = (await connection.execute(_MERGE)).one()
    # Until autovacuum came by, a search in a million new products read the wrong index and took up to 3 s.
    if new or changed:
        await connection.execute(text("ANALYZE products"))
    return new, changed


async def export(connection: AsyncConnection, write: Callable[[bytes], Awaitable[None]]) -> int:
    """Write all products as CSV, in the order of the SKUs; return how many there are."""
    status = await _while_connected(
        connection, lambda driver: driver.copy_from_query(_EXPORT, output=write, format="csv", header=True)
    )
    return int(status.split()[-1])


async def _while_connected(connection: AsyncConnection, copy: Callable[[Any], Awaitable[str]]) -> str:
    """Run a COPY, in the transaction that an earlier statement has begun.

    asyncpg waits for ever when the connection is lost while PostgreSQL is not reading.
    """
    driver: Any = (await connection.get_raw_connection()).driver_connection
    copying = asyncio.ensure_future(copy(driver))

    def cancel(_: object) -> None:
        copying.cancel()

    driver.add_termination_listener(cancel)
    try:
        return await copying
    except asyncio.CancelledError:
        if driver.is_closed():
            raise ConnectionResetError("the connection was lost") from None
        raise
    finally:
        driver.remove_termination_listener(cancel)

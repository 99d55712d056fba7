"""The service for the catalog: it shows products, and imports or exports all of them."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass

import asyncpg
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.errors import DatabaseUnavailableError
from tracker.features.catalog import store
from tracker.features.catalog.domain import Numbered, Product
from tracker.postgres.error_classes import first_line
from tracker.postgres.request_database import RequestDatabase


class Catalog:
    """Finds products for requests.

    Its methods raise DatabaseUnavailableError when PostgreSQL does not answer in time.
    """

    def __init__(self, database: RequestDatabase) -> None:
        self._database = database

    async def describe(self, skus: Sequence[str]) -> tuple[list[Product], list[str]]:
        """Return the products with these SKUs, active or not, and the SKUs that are unknown.

        Both are in the order asked, each once.
        """
        async with self._database.transaction() as connection:
            found = await store.by_sku(connection, skus)
        asked = list(dict.fromkeys(skus))
        return [found[sku] for sku in asked if sku in found], [sku for sku in asked if sku not in found]

    async def page(self, *, after: str, limit: int, words: Sequence[str] = ()) -> tuple[list[Product], str | None]:
        """Return up to `limit` active products behind the SKU `after`, and where the next page begins.

        That is `after` of the next page, None if there is none. Each of the `words` begins a word of
        their title.
        """
        async with self._database.transaction() as connection:
            found = await store.page(connection, after=after, limit=limit + 1, words=words)
        return found[:limit], found[limit - 1].sku if len(found) > limit else None


async def active_products(connection: AsyncConnection, skus: Sequence[str]) -> dict[str, Product]:
    """Return those of these products that are sold now, by SKU, as the caller's transaction sees them."""
    found = await store.by_sku(connection, skus)
    return {sku: product for sku, product in found.items() if product.active}


@dataclass(frozen=True, slots=True)
class Imported:
    """Result of an import, in numbers of products."""

    new: int
    changed: int
    unchanged: int

    @property
    def total(self) -> int:
        """Number of products that are in the catalog now because they stood in the file."""
        return self.new + self.changed + self.unchanged


async def import_products(
    engine: AsyncEngine,
    products: Iterable[Numbered],
    *,
    report: Callable[[int, str], None],
    confirm: Callable[[], None],
) -> Imported:
    """Put products into the catalog in one transaction; a product replaces the one with the same SKU.

    If several products have one SKU, the first counts; `report` is told the line of each other one. `confirm` is
    called before anything is written: what it raises leaves the catalog as it was. Raises
    DatabaseUnavailableError.
    """
    async with _long_transaction(engine) as connection:
        staged = await store.stage(connection, products)
        async for line, first in store.repeats(connection):
            report(line, f"sku repeats the SKU of line {first}")
            staged -= 1
        confirm()
        new, changed = await store.merge_staged(connection)
    return Imported(new, changed, staged - new - changed)


async def export_products(engine: AsyncEngine, write: Callable[[bytes], Awaitable[None]]) -> int:
    """Write all products, active or not, as a CSV that can be imported; return how many there are.

    Raises DatabaseUnavailableError.
    """
    async with _long_transaction(engine) as connection:
        return await store.export(connection, write)


@contextlib.asynccontextmanager
async def _long_transaction(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    try:
        async with engine.begin() as connection:
            await store.prepare_long_transaction(connection)
            yield connection
    # A COPY goes past SQLAlchemy, and so do its errors.
    except (OSError, SQLAlchemyError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        msg = f"PostgreSQL did not do it, so run it again: {first_line(error)}"
        raise DatabaseUnavailableError(msg) from error

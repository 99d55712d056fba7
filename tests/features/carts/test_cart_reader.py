"""How a cart is put together from what waits and what is stored, and what a statement may take."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.conftest import Database
from tests.support.parts import transaction
from tracker.errors import DatabaseUnavailableError
from tracker.features.carts import store
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.service import CartReader
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.items import CartId, Item
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres import request_database
from tracker.postgres.engine import create_engine
from tracker.postgres.request_database import RequestDatabase

Scenario = Callable[[Aggregator, CartReader, AsyncEngine], Awaitable[None]]


def new_cart() -> CartId:
    return CartId(str(uuid.uuid4()))


def run(database: Database, scenario: Scenario) -> None:
    """Run `scenario` with carts beside which nothing is flushed."""

    async def main() -> None:
        aggregator = Aggregator(max_bytes=10**9)
        engine = create_engine(database.url, pool_size=2)
        try:
            await scenario(aggregator, CartReader(RequestDatabase(engine, RequestTimeouts()), aggregator), engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


def test_an_item_that_waits_stands_before_those_added_later_and_already_stored(database: Database) -> None:
    cart_id = new_cart()

    async def scenario(aggregator: Aggregator, carts: CartReader, engine: AsyncEngine) -> None:
        later = {"a": 20, "b": 40}
        await BatchWriter(engine).write(
            {(cart_id, sku): Item.written(stamp, None, None, 1) for sku, stamp in later.items()}
        )
        for sku, stamp in {"d": 30, "c": 10}.items():
            aggregator.put((cart_id, sku), Item.written(stamp, None, None, 1))
        assert list(await carts.items_of(cart_id)) == ["c", "a", "d", "b"]

    run(database, scenario)


def test_an_item_that_is_stored_while_its_cart_is_read_is_shown(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    cart_id = new_cart()

    async def scenario(aggregator: Aggregator, carts: CartReader, engine: AsyncEngine) -> None:
        async def read_then_let_the_flusher_store(connection: AsyncConnection, of: CartId) -> dict[str, Item]:
            found = await read_items(connection, of)
            await BatchWriter(engine).write(aggregator.drain(10))
            aggregator.release()
            return found

        read_items = store.read_items
        monkeypatch.setattr(store, "read_items", read_then_let_the_flusher_store)
        aggregator.put((cart_id, "a"), Item.written(1, "Mug", None, 1))
        assert list(await carts.items_of(cart_id)) == ["a"]

    run(database, scenario)
    assert set(database.items(cart_id)) == {"a"}


def test_a_cart_that_postgresql_does_not_show_in_time_is_unavailable(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_database, "TRANSACTION_TIMEOUT_S", 0.3)

    async def scenario(_: Aggregator, carts: CartReader, __: AsyncEngine) -> None:
        async with asyncio.timeout(15):
            with pytest.raises(DatabaseUnavailableError):
                await carts.items_of(new_cart())

    with transaction(database.url, "LOCK TABLE items IN ACCESS EXCLUSIVE MODE"):
        run(database, scenario)


def test_no_statement_may_take_longer_than_30_seconds(database: Database) -> None:
    async def scenario(_: Aggregator, __: CartReader, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            assert (await connection.exec_driver_sql("SHOW statement_timeout")).scalar_one() == "30s"

    run(database, scenario)

"""PostgreSQL's merge is the same function as Python's, and writes no more rows than it must."""

import asyncio
import uuid
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import Database
from tests.support.strategies import Write, fold, writes
from tests.support.waiting import wait_until
from tracker.features.carts import store
from tracker.features.carts.batch_writer import BatchWriter
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.items import CartId, Item
from tracker.postgres.engine import create_engine


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def engine(database: Database, runner: asyncio.Runner) -> Iterator[AsyncEngine]:
    engine = create_engine(database.url)
    yield engine
    runner.run(engine.dispose())


def new_cart() -> CartId:
    return CartId(str(uuid.uuid4()))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    some=st.lists(writes(max_size=8), min_size=1, max_size=3),
    order=st.randoms(use_true_random=False),
    batch_size=st.integers(1, 6),
)
def test_any_order_duplication_and_split_gives_what_a_fold_gives(
    runner: asyncio.Runner,
    engine: AsyncEngine,
    some: list[list[Write]],
    order: Random,
    batch_size: int,
) -> None:
    cart_id = new_cart()
    operations = [(f"sku-{index}", write) for index, of_item in enumerate(some) for write in of_item]
    operations += operations[:3]
    order.shuffle(operations)

    async def store_all() -> dict[str, Item]:
        for start in range(0, len(operations), batch_size):
            aggregator = Aggregator(max_bytes=10**9)
            for external_id, write in operations[start : start + batch_size]:
                aggregator.put((cart_id, external_id), Item.written(*write))
            await BatchWriter(engine).write(aggregator.drain(batch_size))
        async with engine.connect() as connection:
            return await store.read_items(connection, cart_id)

    stored = runner.run(store_all())
    assert set(stored) == {external_id for external_id, _ in operations}
    for index, of_item in enumerate(some):
        item = stored[f"sku-{index}"]
        in_python = Item(of_item[0].stamp)
        for write in of_item:
            in_python.merge(Item.written(*write))
        if in_python.quantity is None:
            in_python.quantity = 1
        assert item == in_python
        assert (item.name, item.value, item.quantity) == fold(of_item)


def test_a_batch_sent_again_writes_no_row(runner: asyncio.Runner, engine: AsyncEngine, database: Database) -> None:
    cart_id = new_cart()
    batch = {(cart_id, f"sku-{n}"): Item.written(n + 1, "name", n, n) for n in range(50)}
    versions = "SELECT external_id, xmin::text, ctid::text FROM items ORDER BY external_id"
    runner.run(BatchWriter(engine).write(batch))
    before = database.fetch(versions)
    runner.run(BatchWriter(engine).write(batch))
    assert len(before) == 50
    assert database.fetch(versions) == before


def test_updates_stay_on_their_page(runner: asyncio.Runner, engine: AsyncEngine, database: Database) -> None:
    keys = [(new_cart(), f"sku-{n}") for n in range(3000)]

    async def fill_pages_and_update_each_row_now_and_then() -> None:
        await BatchWriter(engine).write({key: Item.written(1, "a name", 5, 1) for key in keys})
        for stamp, start in enumerate(range(0, 3000, 300), start=2):
            some = [keys[n] for n in range(start // 300, 3000, 10)]
            await BatchWriter(engine).write({key: Item.written(stamp, None, None, 2) for key in some})
        await engine.dispose()

    runner.run(fill_pages_and_update_each_row_now_and_then())
    counts = "SELECT n_tup_upd AS updated, n_tup_hot_upd AS hot FROM pg_stat_user_tables WHERE relname = 'items'"
    wait_until(lambda: database.fetch(counts)[0]["updated"] >= 3000)  # a session reports when it ends
    (row,) = database.fetch(counts)
    assert row["hot"] >= 0.9 * row["updated"]


def test_four_writers_of_the_same_carts_converge_without_a_deadlock(
    runner: asyncio.Runner, engine: AsyncEngine, database: Database
) -> None:
    keys = [(new_cart(), f"sku-{n}") for n in range(20) for _ in range(5)]

    async def write(worker: int) -> None:
        for round_ in range(25):
            batch = {key: Item.written((round_ * 4 + worker + 1) << 10 | worker, f"{worker}", round_, worker)
                     for key in (keys if worker % 2 else reversed(keys))}  # fmt: skip
            await BatchWriter(engine).write(batch)

    async def main() -> None:
        await asyncio.gather(*(write(worker) for worker in range(4)))

    runner.run(main())
    rows = database.fetch("SELECT DISTINCT name, value, quantity FROM items")
    assert [tuple(row.values()) for row in rows] == [("3", 24, 3)]

"""Warranties where what matters happens between statements: other workers, slow readers, a clock that steps back."""

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import Database, StartTracker
from tests.support.archives import store_some
from tests.support.clock import ManualClock
from tests.support.parts import WAITS_FOR_LOCK, transaction, wait_for_lock
from tests.support.settings import settings_of
from tests.support.waiting import wait_until
from tracker.errors import DatabaseUnavailableError, KeyReusedError
from tracker.features.warranties import store
from tracker.features.warranties.domain import Sale, Warranty, WarrantyId
from tracker.features.warranties.rates import load_rates
from tracker.features.warranties.service import Warranties
from tracker.ingest.worker_folders import WorkerFolder
from tracker.kit.clock import Stamper, SystemClock
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.engine import create_engine
from tracker.postgres.request_database import RequestDatabase
from tracker.runtime.context import Context
from tracker.settings import DatabaseSettings

LONG_AGO = datetime(2024, 2, 29, tzinfo=UTC)


def sale(sku: str = "sku", *, title: str = "title", cost: int = 100, key: str | None = None) -> Sale:
    return Sale("store", "type", sku, title, cost, key)


@contextlib.asynccontextmanager
async def engine_for(database: Database, *, pool_size: int = 2) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(database.url, pool_size=pool_size)
    try:
        yield engine
    finally:
        await engine.dispose()


def warranties_on(engine: AsyncEngine) -> Warranties:
    timeouts = RequestTimeouts()
    connections = RequestDatabase(engine, timeouts)
    return Warranties(
        writing=connections,
        reading=connections,
        timeouts=timeouts,
        stamper=Stamper(SystemClock(), 0),
        keep_stamp=lambda: None,
        rates=load_rates(None),
    )


def service_of(context: Context) -> Warranties:
    """Return the service of a process that serves."""
    [service] = [one.dependencies["warranties"] for one in context.features if "warranties" in one.dependencies]
    found: Warranties = service.dependency()
    return found


@contextlib.asynccontextmanager
async def key_used_elsewhere(database: Database, key: str) -> AsyncIterator[asyncpg.Connection]:
    """Create a warranty of the same store under a key, in a transaction that is not committed yet."""
    connection = await asyncpg.connect(database.url)
    try:
        await connection.execute("BEGIN")
        await connection.execute(
            "INSERT INTO warranties SELECT gen_random_uuid(), store_uuid, item_type, item_sku, item_title, item_cost,"
            " term_months, price, terms_version, created_at, $1 FROM warranties WHERE idempotency_key IS NULL LIMIT 1",
            key,
        )
        yield connection
    finally:
        await connection.close()


def items(database: Database) -> dict[str, tuple[str, int]]:
    rows = database.fetch("SELECT item_sku, item_title, item_cost FROM warranty_items")
    return {row["item_sku"]: (row["item_title"], row["item_cost"]) for row in rows}


def test_a_sale_that_is_refused_because_another_worker_was_first_leaves_the_item(database: Database) -> None:
    async def run() -> None:
        async with engine_for(database) as engine:
            warranties = warranties_on(engine)
            await warranties.create(sale())
            async with key_used_elsewhere(database, "taken") as other:
                late = warranties.create(sale(title="refused", cost=200, key="taken"))
                await asyncio.to_thread(wait_for_lock, database)
                await other.execute("COMMIT")
                with pytest.raises(KeyReusedError):
                    await late

    asyncio.run(run())
    assert items(database) == {"sku": ("title", 100)}


def test_of_a_new_item_what_is_refused_at_the_same_moment_says_nothing(database: Database) -> None:
    async def run() -> None:
        async with engine_for(database) as engine:
            warranties = warranties_on(engine)
            await warranties.create(sale())
            async with key_used_elsewhere(database, "first") as first, key_used_elsewhere(database, "second") as second:
                ahead = warranties.create(sale(title="refused", key="first"))
                await asyncio.to_thread(wait_for_lock, database)
                one = warranties.create(sale("new", title="told", cost=300))
                late = warranties.create(sale("new", title="refused", cost=400, key="second"))
                await asyncio.sleep(0)  # both have begun to wait, so they are the next group
                await first.execute("COMMIT")
                with pytest.raises(KeyReusedError):
                    await ahead
                await asyncio.to_thread(wait_for_lock, database)
                await second.execute("COMMIT")
                await one
                with pytest.raises(KeyReusedError):
                    await late

    asyncio.run(run())
    assert items(database) == {"sku": ("title", 100), "new": ("told", 300)}


def test_without_its_job_no_warranty_is_created(database: Database) -> None:
    async def run() -> None:
        async with engine_for(database) as engine:
            with pytest.raises(DatabaseUnavailableError):
                await warranties_on(engine).create(sale())

    database.fetch("ALTER TABLE pgqueuer RENAME TO gone")
    asyncio.run(run())
    assert database.fetch("SELECT 1 FROM warranties") == []


def test_an_item_that_was_told_later_stays(database: Database) -> None:
    async def run() -> None:
        async with engine_for(database) as engine:
            for stamp in (2, 1):
                async with engine.begin() as connection:
                    await store.write_items(connection, {("type", "sku"): (f"title {stamp}", stamp, stamp)})

    asyncio.run(run())
    assert items(database) == {"sku": ("title 2", 2)}


async def rest_of(pages: AsyncIterator[list[Warranty]]) -> list[WarrantyId]:
    return [warranty.id async for page in pages for warranty in page]


def test_readers_that_take_their_time_hold_no_connection(database: Database) -> None:
    ids = store_some(database, 1100, created_at=LONG_AGO)

    async def run() -> None:
        async with engine_for(database) as engine:
            warranties = warranties_on(engine)
            lists = [await warranties.stream(None) for _ in range(5)]
            taken = [[one.id for _ in range(2) for one in await anext(pages)] for pages in lists]
            assert (await warranties.find(ids[0])).id == ids[0]
            open_ones = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %'"
            assert await asyncio.to_thread(database.fetch, open_ones) == []
            assert [begin + await rest_of(pages) for begin, pages in zip(taken, lists, strict=True)] == [ids] * 5

    asyncio.run(run())


def test_what_is_created_while_a_list_is_read_is_not_in_it(database: Database) -> None:
    ids = store_some(database, 600, created_at=LONG_AGO)

    async def run() -> None:
        async with engine_for(database) as engine:
            warranties = warranties_on(engine)
            pages = await warranties.stream(None)
            first = [one.id for one in await anext(pages)]
            made = await warranties.create(sale())
            assert first + await rest_of(pages) == ids
            assert await rest_of(await warranties.stream(None)) == [*ids, made.id]

    asyncio.run(run())


def test_readers_that_wait_do_not_keep_others_from_creating(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    body = {"store_uuid": "s", "item_type": "t", "item_sku": "i", "item_title": "n", "item_cost": 1}
    # The catalog is read by the same connections; each waits 1 s for the lock, and these are many times as many.
    readers = DatabaseSettings().request_connections * 12
    with ThreadPoolExecutor(readers) as pool, transaction(database.url, "LOCK products IN ACCESS EXCLUSIVE MODE"):
        for _ in range(readers):
            pool.submit(tracker.client.get, "/catalog")
        wait_until(lambda: len(database.fetch(WAITS_FOR_LOCK)) == DatabaseSettings().request_connections)
        assert tracker.client.post("/warranties", json=body).status_code == 201


def test_ids_grow_also_when_the_clock_was_turned_back_after_a_kill(database: Database, tmp_path: Path) -> None:
    async def life(folder: Path, now: datetime) -> Warranty:
        context = Context(
            settings_of(data_dir=tmp_path),
            url=database.url,
            folder=WorkerFolder(folder, 0),
            clock=ManualClock(int(now.timestamp()) * 1_000_000),
        )
        async with context.running():
            warranty = await service_of(context).create(sale())
            shutil.copytree(folder, f"{folder}.killed")  # an orderly end keeps the stamp as well
            return warranty

    (tmp_path / "worker").mkdir()
    first = asyncio.run(life(tmp_path / "worker", datetime(2031, 1, 1, tzinfo=UTC)))
    second = asyncio.run(life(tmp_path / "worker.killed", datetime(2030, 1, 1, tzinfo=UTC)))
    assert first.created_at < second.created_at
    assert first.id < second.id

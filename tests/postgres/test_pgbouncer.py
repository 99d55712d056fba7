"""Everything works behind pgbouncer in transaction mode, where each transaction may come to another session."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from tests.conftest import Database, Tracker, cart_of, copied, starter
from tests.support.oidc import Provider
from tests.support.parts import transaction
from tests.support.pgbouncer import IGNORED, SESSIONS, PgBouncer, running_pgbouncer
from tests.support.reservations import reservation_service
from tests.support.shopper import Shopper, new_shopper, sell, settle_now
from tests.support.waiting import wait_until
from tracker.cli.registry import main
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.domain import new_cart_id
from tracker.features.carts.store import read_items
from tracker.ingest.items import Item
from tracker.kit.clock import Stamper, SystemClock
from tracker.postgres import connection
from tracker.postgres.connection import LOCK_TIMEOUT_S, Connection, Connector, PooledConnection
from tracker.postgres.engine import create_engine


@pytest.fixture(scope="module")
def pgbouncer(server_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    with running_pgbouncer(server_url, tmp_path_factory.mktemp("b")) as running:
        yield running


@pytest.fixture(scope="module")
def store_database(pgbouncer: PgBouncer, server_url: str, template: str) -> Iterator[Database]:
    del pgbouncer
    yield from copied(server_url, template)


@pytest.fixture(scope="module")
def env(pgbouncer: PgBouncer, store_database: Database, provider: Provider) -> Iterator[Mapping[str, str]]:
    with reservation_service() as service:
        yield {
            "DATABASE_URL": pgbouncer.url_of(store_database),
            "TRACKER_PAYMENT": "sandbox",
            "TRACKER_RESERVATION_URL": service.url,
            **provider.env(),
        }


@pytest.fixture(scope="module")
def behind(env: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    """A server of two processes, with everything that can be switched on."""
    for start in starter(tmp_path_factory.mktemp("behind")):
        yield start("--workers", "2", env=env)


@pytest.fixture
def anna(behind: Tracker, provider: Provider) -> Shopper:
    return new_shopper(behind, provider)


def connected(url: str, run: Callable[[Connection], Awaitable[Any]], lock_timeout_s: float = LOCK_TIMEOUT_S) -> Any:  # noqa: ANN401  # what `run` returns
    """Run something on a connection of Tracker's own."""

    async def do() -> Any:  # noqa: ANN401  # as above
        connection = await Connector(url, lock_timeout_s=lock_timeout_s)()
        try:
            return await run(connection)
        finally:
            await connection.close()

    return asyncio.run(do())


async def kind(connection: Connection) -> type:
    return type(connection)


def test_a_pooler_that_refuses_the_time_outs_is_found(pgbouncer: PgBouncer, database: Database) -> None:
    assert connected(pgbouncer.url_of(database), kind) is PooledConnection
    assert "unsupported startup parameter" in pgbouncer.log.read_text()


def test_a_pooler_that_ignores_the_time_outs_is_found(server_url: str, database: Database, tmp_path: Path) -> None:
    with running_pgbouncer(server_url, tmp_path, ignored=IGNORED) as pgbouncer:
        assert connected(pgbouncer.url_of(database), kind) is PooledConnection
        assert "unsupported startup parameter" not in pgbouncer.log.read_text()


def test_the_statements_of_one_connection_wander_and_leave_nothing_behind(
    pgbouncer: PgBouncer, database: Database
) -> None:
    url = pgbouncer.url_of(database)

    async def run() -> None:
        engine = create_engine(url, pool_size=6)
        writer = BatchWriter(engine)
        stamper = Stamper(SystemClock(), 0)
        sessions: dict[int, set[int]] = {}

        async def shop() -> None:
            for _ in range(20):
                cart_id = new_cart_id()
                await writer.write({(cart_id, "mug"): Item.written(stamper.next(), "Mug", 1, 2)})
                async with engine.begin() as connection:
                    assert (await read_items(connection, cart_id))["mug"].quantity == 2
                    raw = (await connection.get_raw_connection()).driver_connection
                    pid = (await connection.exec_driver_sql("SELECT pg_backend_pid()")).scalar_one()
                    sessions.setdefault(id(raw), set()).add(pid)

        await asyncio.gather(*(shop() for _ in range(6)))
        async with engine.begin() as first, engine.begin() as second:
            for connection in (first, second):
                left = await connection.exec_driver_sql("SELECT count(*) FROM pg_prepared_statements WHERE name <> ''")
                assert left.scalar_one() == 0
        await engine.dispose()
        assert max(map(len, sessions.values())) == SESSIONS

    asyncio.run(run())
    assert database.fetch("SELECT count(*) FROM items")[0]["count"] == 120


def test_the_time_outs_hold_in_each_transaction_and_reach_nobody_else(pgbouncer: PgBouncer, database: Database) -> None:
    names = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout")
    shown = "SELECT " + ", ".join(f"current_setting('{name}')" for name in names)
    url = pgbouncer.url_of(database)

    async def in_a_transaction() -> list[object]:
        engine = create_engine(url)
        async with engine.begin() as connection:
            row = (await connection.exec_driver_sql(shown)).one()
        await engine.dispose()
        return list(row)

    async def without_one(connection: Connection) -> list[object]:
        return list((await connection.fetch(shown))[0])

    async def another(client: asyncpg.Connection) -> list[object]:
        return list(await client.fetchrow(shown))

    async def as_another() -> list[object]:
        client = await asyncpg.connect(url, statement_cache_size=0)
        try:
            return await another(client)
        finally:
            await client.close()

    assert asyncio.run(in_a_transaction()) == ["30s", "15s", "10s"]
    assert connected(url, without_one) == ["30s", "15s", "10s"]
    assert connected(url, without_one, lock_timeout_s=1) == ["30s", "1s", "10s"]
    assert asyncio.run(as_another()) == ["0", "0", "0"]


def test_postgresql_itself_ends_a_statement_that_takes_too_long(
    pgbouncer: PgBouncer, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "STATEMENT_TIMEOUT_S", 1)
    with pytest.raises(asyncpg.QueryCanceledError, match="due to statement timeout"):
        connected(pgbouncer.url_of(database), lambda connection: connection.fetch("SELECT pg_sleep(60)"))


def test_a_flush_that_waits_for_a_lock_is_ended_by_postgresql(pgbouncer: PgBouncer, database: Database) -> None:
    async def write() -> None:
        engine = create_engine(pgbouncer.url_of(database), lock_timeout_s=1)
        try:
            await BatchWriter(engine).write({(new_cart_id(), "mug"): Item.written(1 << 10, "Mug", 1, 1)})
        finally:
            await engine.dispose()

    with transaction(database.url, "LOCK TABLE items"), pytest.raises(Exception, match="due to lock timeout"):
        asyncio.run(write())


def test_the_migration_runs_behind_it(pgbouncer: PgBouncer, empty_database: str) -> None:
    env = {"DATABASE_URL": pgbouncer.url_of(Database(empty_database))}
    for _ in range(2):
        done = CliRunner().invoke(main, ["migrate"], env=env)
        assert done.exit_code == 0, done.output


def test_items_are_tracked_and_shown(behind: Tracker, store_database: Database) -> None:
    def shop(number: int) -> None:
        cart_id = cart_of(behind.post_item({"external_id": "mug", "name": "O'Brien's", "value": number}))
        for quantity in (1, 2, 3):
            assert behind.post_item({"external_id": f"pen-{quantity}", "quantity": quantity}, cart_id).is_success
        store_database.wait_for_items(cart_id, 4)
        shown = behind.get_items(cart_id)
        assert [(item["product_id"], item["quantity"]) for item in shown][1:] == [
            ("pen-1", 1),
            ("pen-2", 2),
            ("pen-3", 3),
        ]
        assert (shown[0]["name"], shown[0]["price"]) == ("O'Brien's", number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(shop, range(24)))


def test_items_survive_the_end_of_every_session(behind: Tracker, store_database: Database) -> None:
    cart_id = cart_of(behind.post_item({"external_id": "first"}))
    store_database.wait_for_items(cart_id)
    for number in range(5):
        store_database.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        assert behind.post_item({"external_id": f"item-{number}"}, cart_id).status_code == 204
    store_database.wait_for_items(cart_id, 6)


def test_the_jobs_find_their_work_by_polling(behind: Tracker, store_database: Database) -> None:
    cart_id = cart_of(behind.post_item({"external_id": "mug", "quantity": 2}))
    store_database.wait_for_items(cart_id)
    wait_until(lambda: [item["reservation_status"] for item in behind.get_items(cart_id)] == ["reserved"])
    sale = {
        "store_uuid": str(uuid.uuid4()),
        "item_type": "furniture",
        "item_sku": "sofa",
        "item_cost": 150.0,
        "item_title": "Sofa",
    }
    answer = behind.client.post("/warranties", json=sale)
    assert answer.status_code == 201, answer.text
    assert behind.client.get(answer.headers["location"]).json() == answer.json()
    wait_until(lambda: store_database.fetch("SELECT count(*) FROM pgqueuer")[0]["count"] == 0)


def test_a_cart_is_bought_and_a_payment_settled(anna: Shopper, store_database: Database) -> None:
    sell(store_database, "mug", price=1250)
    cart_id = anna.cart_with(mug=2)
    answer = anna.check_out(cart_id)
    assert (answer.status_code, answer.json()["total"]) == (200, 2500), answer.text
    late = anna.check_out(anna.cart_with(mug=1), "times-out-paid").json()
    settle_now(store_database)
    wait_until(lambda: anna.call("GET", f"/orders/{late['order_id']}").json()["status"] == "paid")


def test_a_catalog_goes_in_and_comes_out(env: Mapping[str, str], store_database: Database, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    lines = [f"import-{number},Title,gift,{number},EUR" for number in range(3000)]
    file.write_text("\n".join(["sku,title,item_type,price,currency", *lines, lines[0]]) + "\n")
    done = CliRunner().invoke(main, ["catalog", "import", "--skip-bad", str(file)], env=env)
    assert "3000 new" in done.stdout, done.output
    count = store_database.fetch("SELECT count(*) FROM products WHERE sku LIKE 'import-%'")
    assert count == [{"count": 3000}]
    out = CliRunner().invoke(main, ["catalog", "export", "-"], env=env)
    assert out.stdout.count("import-") == 3000, out.output


def test_a_server_behind_it_stops_in_order(
    pgbouncer: PgBouncer, database: Database, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for start in starter(tmp_path_factory.mktemp("stop")):
        tracker = start(env={"DATABASE_URL": pgbouncer.url_of(database), "TRACKER_FLUSH_INTERVAL_MS": "5000"})
        cart_id = cart_of(tracker.post_item({"external_id": "last"}))
        assert tracker.stop() == 0
        assert database.items(cart_id).keys() == {"last"}

"""What to do about an error is decided on the errors that PostgreSQL and its driver really raise."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.conftest import Database
from tests.support.faults.outages import Outage, Role, login
from tracker.features.carts.batch_writer import BatchWriter
from tracker.ingest.items import Batch, CartId, Item
from tracker.postgres.engine import create_engine
from tracker.postgres.error_classes import Failure, failure_of

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")

GOOD: Batch = {(CART, "good"): Item.written(1 << 20, "Mug", 1, 1)}


@contextlib.asynccontextmanager
async def engine_for(url: str, *, command_timeout_s: float = 20) -> AsyncIterator[AsyncEngine]:
    engine = create_engine(url, pool_size=2, command_timeout_s=command_timeout_s)
    try:
        yield engine
    finally:
        await engine.dispose()


async def error_of(work: Awaitable[object]) -> Exception:
    try:
        await work
    except Exception as error:  # noqa: BLE001  # whatever it is, it is what is looked at
        return error
    pytest.fail("there was no error")


def error_of_write(url: str, batch: Batch, *, command_timeout_s: float = 20) -> Exception:
    async def run() -> Exception:
        async with engine_for(url, command_timeout_s=command_timeout_s) as engine:
            return await error_of(BatchWriter(engine).write(batch))

    return asyncio.run(run())


def error_of_sql(url: str, *statements: str) -> Exception:
    async def run() -> Exception:
        async with engine_for(url) as engine, engine.connect() as connection:

            async def execute() -> None:
                for statement in statements:
                    await connection.execute(text(statement))

            return await error_of(execute())

    return asyncio.run(run())


def sqlstate_of(error: BaseException) -> str | None:
    """Return the SQLSTATE at the bottom of an error."""
    cause: BaseException | None = error
    while cause is not None:
        state: str | None = getattr(cause, "sqlstate", None)
        if state is not None:
            return state
        cause = getattr(cause, "orig", None) or cause.__cause__
    return None


@pytest.fixture
def role(database: Database) -> Iterator[Role]:
    """A login that is bound by the limits that a superuser is not."""
    with login(database) as role:
        yield role


@pytest.mark.parametrize(
    ("external_id", "item", "sqlstate"),
    [
        ("a\0b", Item.written(1, None, None, None), "22021"),
        ("a", Item.written(1, "a\0b", None, None), "22021"),
        ("a", Item.written(1, None, None, -1), "23514"),
        ("x" * 256, Item.written(1, None, None, None), "23514"),
        ("a", Item.written(1, "\ud800", None, None), None),
        ("\udfff", Item.written(1, None, None, None), None),
        ("a", Item.written(1, None, 2**63, None), None),
        ("a", Item.written(1, None, None, 2**31), None),
        ("a", Item.written(2**63, None, None, None), None),
        ("a", Item.written(1, None, "1", None), None),  # type: ignore[arg-type]  # as damage might have it
    ],
    ids=[
        "NUL in the id",
        "NUL in the name",
        "negative quantity",
        "long id",
        "surrogate in the name",
        "surrogate in the id",
        "65 bits",
        "33 bits",
        "stamp of 65 bits",
        "text for a number",
    ],
)
def test_a_row_that_will_never_be_taken_is_bad_data(
    database: Database, external_id: str, item: Item, sqlstate: str | None
) -> None:
    error = error_of_write(database.url, {(CART, external_id): item})
    assert sqlstate is None or sqlstate_of(error) == sqlstate
    assert failure_of(error) is Failure.BAD_DATA, repr(error)


def test_a_cart_that_is_no_uuid_is_bad_data(database: Database) -> None:
    error = error_of_write(database.url, {(CartId("no uuid"), "a"): Item.written(1, None, None, None)})
    assert failure_of(error) is Failure.BAD_DATA, repr(error)


def test_a_key_too_long_for_its_index_is_bad_data(database: Database) -> None:
    database.fetch("ALTER TABLE items DROP CONSTRAINT ck_items_external_id_length")
    random_text = secrets.token_hex(4000)  # does not compress below the limit
    error = error_of_write(database.url, {(CART, random_text): Item.written(1, None, None, None)})
    assert sqlstate_of(error) == "54000"
    assert failure_of(error) is Failure.BAD_DATA, repr(error)


@pytest.mark.parametrize(
    ("change", "sqlstate"),
    [
        ("DROP TABLE items", "42P01"),
        ("ALTER TABLE items DROP COLUMN name_stamp", "42703"),
        ("ALTER TABLE items DROP CONSTRAINT pk_items", "42P10"),
    ],
)
def test_a_schema_that_somebody_must_mend_is_broken(database: Database, change: str, sqlstate: str) -> None:
    database.fetch(change)
    error = error_of_write(database.url, GOOD)
    assert sqlstate_of(error) == sqlstate
    assert failure_of(error) is Failure.BROKEN, repr(error)


def test_rights_that_are_missing_are_broken(role: Role) -> None:
    error = error_of_write(role.url, GOOD)
    assert sqlstate_of(error) == "42501"
    assert failure_of(error) is Failure.BROKEN, repr(error)


@pytest.mark.parametrize(
    ("old", "new", "sqlstate"), [("/tracker_test_", "/nowhere_", "3D000"), ("//", "//no_", "28000")]
)
def test_a_database_or_login_that_does_not_exist_is_broken(
    database: Database, old: str, new: str, sqlstate: str
) -> None:
    error = error_of_write(database.url.replace(old, new, 1), GOOD)
    assert sqlstate_of(error) in {sqlstate, "28P01"}  # the second where the server asks for a password
    assert failure_of(error) is Failure.BROKEN, repr(error)


@pytest.mark.parametrize(
    ("statements", "sqlstate"),
    [
        (["SET statement_timeout = '10ms'", "SELECT pg_sleep(5)"], "57014"),
        (["SELECT pg_cancel_backend(pg_backend_pid())", "SELECT pg_sleep(5)"], "57014"),
        (["SELECT pg_terminate_backend(pg_backend_pid())", "SELECT pg_sleep(5)"], "57P01"),
        (["SET default_transaction_read_only = on", "COMMIT", "INSERT INTO carts VALUES (gen_random_uuid())"], "25006"),
    ],
    ids=["statement timeout", "cancelled", "terminated", "read only"],
)
def test_a_state_of_the_server_that_passes_is_transient(
    database: Database, statements: list[str], sqlstate: str
) -> None:
    error = error_of_sql(database.url, *statements)
    assert sqlstate_of(error) in {sqlstate, "08003"}  # SQLAlchemy's, of a connection that is gone
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


Steps = Callable[[AsyncConnection, AsyncConnection], Awaitable[Exception]]


def error_between_two(url: str, steps: Steps) -> Exception:
    """Return the error of `steps`, which use two connections."""

    async def run() -> Exception:
        async with engine_for(url) as engine, engine.connect() as one, engine.connect() as other:
            return await steps(one, other)

    return asyncio.run(run())


def test_a_deadlock_is_transient(database: Database) -> None:
    async def cross(one: AsyncConnection, other: AsyncConnection) -> Exception:
        for connection, table in ((one, "carts"), (other, "items")):
            await connection.execute(text("SET deadlock_timeout = '20ms'"))
            await connection.execute(text(f"LOCK TABLE {table}"))
        waits = [
            asyncio.create_task(connection.execute(text(f"LOCK TABLE {table}")))
            for connection, table in ((one, "items"), (other, "carts"))
        ]
        done, pending = await asyncio.wait(waits, return_when=asyncio.FIRST_EXCEPTION)
        victim = next(error for wait in done if isinstance(error := wait.exception(), Exception))
        for connection, wait in zip((one, other), waits, strict=True):
            if wait in done:
                await connection.rollback()
        await asyncio.gather(*pending)
        return victim

    error = error_between_two(database.url, cross)
    assert sqlstate_of(error) == "40P01"
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


def test_a_serialization_failure_is_transient(database: Database) -> None:
    database.fetch("INSERT INTO carts VALUES ($1)", CART)

    async def race(one: AsyncConnection, other: AsyncConnection) -> Exception:
        for connection in (one, other):
            await connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ"))
            await connection.execute(text("SELECT count(*) FROM carts"))
        await one.execute(text("DELETE FROM carts"))
        await one.commit()
        return await error_of(other.execute(text("DELETE FROM carts")))

    error = error_between_two(database.url, race)
    assert sqlstate_of(error) == "40001"
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


def test_a_lock_timeout_is_transient(database: Database) -> None:
    async def wait(one: AsyncConnection, other: AsyncConnection) -> Exception:
        await one.execute(text("LOCK TABLE items"))
        await other.execute(text("SET lock_timeout = '20ms'"))
        return await error_of(other.execute(text("LOCK TABLE items")))

    error = error_between_two(database.url, wait)
    assert sqlstate_of(error) == "55P03"
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


def test_no_free_connection_is_transient(server_url: str, role: Role) -> None:
    name = role.url.partition("?")[0].rpartition("/")[2]
    Database(server_url).fetch(f'ALTER DATABASE "{name}" CONNECTION LIMIT 0')  # a superuser would not be bound by it
    error = error_of_write(role.url, GOOD)
    assert sqlstate_of(error) == "53300"
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


def test_a_database_that_takes_no_connections_is_transient(server_url: str, database: Database) -> None:
    outage = Outage(server_url, database)
    outage.begin()
    error = error_of_write(database.url, GOOD)
    outage.end()
    assert sqlstate_of(error) == "55000"
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


def test_a_server_that_is_not_there_is_transient() -> None:
    error = error_of_write("postgresql://tracker@127.0.0.1:1/postgres", GOOD)
    assert isinstance(error, OSError)
    assert failure_of(error) is Failure.TRANSIENT


def test_a_server_that_does_not_answer_is_transient(database: Database) -> None:
    async def run() -> Exception:
        async with engine_for(database.url) as holder, holder.connect() as connection:
            await connection.execute(text("LOCK TABLE items"))
            async with engine_for(database.url, command_timeout_s=0.1) as engine:
                return await error_of(BatchWriter(engine).write(GOOD))

    error = asyncio.run(run())
    assert failure_of(error) is Failure.TRANSIENT, repr(error)


def test_a_pool_without_a_free_connection_is_transient(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracker.postgres.engine.POOL_TIMEOUT_S", 0.1)

    async def run() -> Exception:
        async with engine_for(database.url) as engine, engine.connect(), engine.connect():
            return await error_of(BatchWriter(engine).write(GOOD))

    assert failure_of(asyncio.run(run())) is Failure.TRANSIENT

"""What was written before a cart was erased or pruned is not stored, however late it comes; what is newer is."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import Database
from tests.support.parts import wait_for_lock
from tests.support.settings import settings_of
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.domain import new_cart_id
from tracker.features.carts.wiring import follow_up_of
from tracker.features.customer_carts import service as customer_service
from tracker.ingest.items import Batch, Item
from tracker.postgres.engine import create_engine

WRITERS = {
    "alone": None,
    "with-reservations": follow_up_of(settings_of(reservation_url="http://127.0.0.1:9/reserve")),
}

ERASED = 100


def run(database: Database, scenario: Callable[[AsyncEngine], Awaitable[None]]) -> None:
    async def main() -> None:
        engine = create_engine(database.url, pool_size=2)
        try:
            await scenario(engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


def write(database: Database, kind: str, *batches: Batch) -> None:
    async def scenario(engine: AsyncEngine) -> None:
        for batch in batches:
            await BatchWriter(engine, WRITERS[kind]).write(batch)

    run(database, scenario)


def carts(database: Database) -> set[str]:
    return {row["id"] for row in database.fetch("SELECT id::text FROM carts")}


def fields(database: Database, cart_id: str) -> dict[str, tuple[object, ...]]:
    return {
        external_id: (row["name"], row["value"], row["quantity"])
        for external_id, row in database.items(cart_id).items()
    }


CASES = [
    (Item.written(99, "A", 1, 2), None),
    (Item.written(100, "A", 1, 2), None),
    (Item.written(100, None, None, None), None),
    (Item.written(101, "A", 1, 2), ("A", 1, 2)),
    (Item.written(101, None, None, None), (None, None, 1)),
    (Item(50, "A", 50, 1, 100, 2, 101), (None, None, 2)),
    (Item(50, "A", 101, 1, 100, 2, 99), ("A", None, 1)),
    (Item(50, "A", 50, 1, 102, 0, 101), (None, 1, 0)),
]


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("item", "stored"), CASES)
def test_of_an_erased_cart_only_what_is_newer_is_stored(
    database: Database, kind: str, item: Item, stored: tuple[object, ...] | None
) -> None:
    erased, other = new_cart_id(), new_cart_id()
    database.fetch("INSERT INTO carts (id, erased_stamp) VALUES ($1, $2)", erased, ERASED)
    write(database, kind, {(erased, "a"): item, (other, "b"): Item.written(1, "B", None, None)})
    assert fields(database, erased) == ({} if stored is None else {"a": stored})
    assert fields(database, other) == {"b": ("B", None, 1)}
    if kind == "with-reservations":
        rows = database.fetch("SELECT external_id FROM reservations WHERE quantity > 0")
        assert {row["external_id"] for row in rows} == {"b"} | ({"a"} if stored and stored[2] else set())


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("item", "stored"), CASES)
def test_of_an_unknown_cart_only_what_is_younger_than_the_horizon_is_stored(
    database: Database, kind: str, item: Item, stored: tuple[object, ...] | None
) -> None:
    unknown, known = new_cart_id(), new_cart_id()
    database.fetch("INSERT INTO horizon (stamp) VALUES ($1)", ERASED)
    database.fetch("INSERT INTO carts (id) VALUES ($1)", known)
    write(database, kind, {(unknown, "a"): item, (known, "b"): Item.written(1, "B", None, None)})
    assert fields(database, unknown) == ({} if stored is None else {"a": stored})
    assert carts(database) == {known} | (set() if stored is None else {unknown})
    assert fields(database, known) == {"b": ("B", None, 1)}, "a cart that is there takes what is older too"


@pytest.mark.parametrize("kind", WRITERS)
def test_newer_items_of_an_erased_cart_are_stored_beside_older_ones_and_merged_as_ever(
    database: Database, kind: str
) -> None:
    erased = new_cart_id()
    database.fetch("INSERT INTO carts (id, erased_stamp) VALUES ($1, $2)", erased, ERASED)
    batches: list[Batch] = [
        {(erased, "old"): Item.written(10, "O", 1, 1), (erased, "new"): Item.written(110, "N", None, 1)},
        {(erased, "old"): Item.written(120, None, 2, None), (erased, "new"): Item.written(105, "older", 7, 9)},
    ]
    write(database, kind, *batches)
    assert fields(database, erased) == {"new": ("N", 7, 1), "old": (None, 2, 1)}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("erased", [0, 1, 2])
def test_what_comes_for_a_closed_cart_is_as_old_as_the_youngest_erasing_in_its_chain(
    database: Database, kind: str, erased: int
) -> None:
    chain = [new_cart_id() for _ in range(3)]
    for cart_id in chain:
        database.fetch("INSERT INTO carts (id) VALUES ($1)", cart_id)
    for cart_id, next_cart_id in itertools.pairwise(chain):
        database.fetch("UPDATE carts SET next_cart_id = $2 WHERE id = $1", cart_id, next_cart_id)
    database.fetch("UPDATE carts SET erased_stamp = $2 WHERE id = $1", chain[erased], ERASED)
    write(
        database,
        kind,
        {(chain[0], "old"): Item.written(99, "A", 1, 2), (chain[0], "new"): Item.written(101, "A", 1, 2)},
    )
    assert fields(database, chain[2]) == {"new": ("A", 1, 2)}
    assert fields(database, chain[0]) == fields(database, chain[1]) == {}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_flush_that_meets_an_erasing_waits_for_it_and_goes_by_it(database: Database, kind: str) -> None:
    erased = new_cart_id()
    database.fetch("INSERT INTO carts (id) VALUES ($1)", erased)

    async def scenario(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await customer_service.lock(connection, erased)
            batch: Batch = {(erased, "old"): Item.written(99, "A", 1, 2), (erased, "new"): Item.written(101, "A", 1, 2)}
            flush = asyncio.create_task(BatchWriter(engine, WRITERS[kind]).write(batch))
            await asyncio.to_thread(wait_for_lock, database, flush)
            await connection.exec_driver_sql(f"UPDATE carts SET erased_stamp = {ERASED} WHERE id = '{erased}'")
        await flush

    run(database, scenario)
    assert fields(database, erased) == {"new": ("A", 1, 2)}


def test_a_batch_of_nothing_but_what_is_too_old_writes_no_row(database: Database) -> None:
    database.fetch("INSERT INTO horizon (stamp) VALUES ($1)", ERASED)
    batch: Batch = {(new_cart_id(), "a"): Item.written(stamp, "A", 1, 2) for stamp in range(1, 101)}
    write(database, "alone", batch)
    assert carts(database) == set()

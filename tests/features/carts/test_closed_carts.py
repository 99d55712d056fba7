"""What comes for a cart that takes no items any more goes to the one that took its place."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.conftest import Database
from tests.support.parts import new_customer_carts, new_flusher, new_intake, wait_for_lock
from tests.support.settings import settings_of
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.domain import new_cart_id
from tracker.features.carts.wiring import follow_up_of
from tracker.features.customer_carts import service as customer_service
from tracker.features.customer_carts import store as customer_store
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.items import Batch, Item, ItemWrite
from tracker.postgres.engine import create_engine

WRITERS = {
    "alone": None,
    "with-reservations": follow_up_of(settings_of(reservation_url="http://127.0.0.1:9/reserve")),
}


def run(database: Database, scenario: Callable[[AsyncEngine], Awaitable[None]], *, pool_size: int = 2) -> None:
    async def main() -> None:
        engine = create_engine(database.url, pool_size=pool_size)
        try:
            await scenario(engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


def chain(database: Database, *cart_ids: str) -> None:
    """Store carts, each of which has the one after it in its place."""
    for cart_id in cart_ids:
        database.fetch("INSERT INTO carts (id) VALUES ($1) ON CONFLICT DO NOTHING", cart_id)
    for cart_id, next_cart_id in itertools.pairwise(cart_ids):
        database.fetch("UPDATE carts SET next_cart_id = $2 WHERE id = $1", cart_id, next_cart_id)


def written(stamp: int, quantity: int) -> Item:
    return Item.written(stamp, f"name {stamp}", None, quantity)


def quantities(database: Database, cart_id: str) -> dict[str, int]:
    return {external_id: row["quantity"] for external_id, row in database.items(cart_id).items()}


@pytest.mark.parametrize("kind", WRITERS)
def test_items_of_a_closed_cart_are_stored_in_the_last_of_its_chain(database: Database, kind: str) -> None:
    first, second, last, other = (new_cart_id() for _ in range(4))
    chain(database, first, second, last)

    async def scenario(engine: AsyncEngine) -> None:
        batch: Batch = {
            (first, "a"): written(1, 1),
            (second, "b"): written(2, 2),
            (other, "a"): written(3, 3),
            (last, "c"): written(4, 4),
        }
        await BatchWriter(engine, WRITERS[kind]).write(batch)
        assert batch[first, "a"] == written(1, 1), "a batch may be written again, so it stays as it was"

    run(database, scenario)
    assert quantities(database, first) == quantities(database, second) == {}
    assert quantities(database, last) == {"a": 1, "b": 2, "c": 4}
    assert quantities(database, other) == {"a": 3}
    if kind == "with-reservations":
        rows = database.fetch("SELECT cart_id::text, external_id FROM reservations")
        assert {tuple(row.values()) for row in rows} == {(last, "a"), (last, "b"), (last, "c"), (other, "a")}


@pytest.mark.parametrize("kind", WRITERS)
def test_one_item_under_several_carts_of_a_chain_is_merged_by_its_last_write(database: Database, kind: str) -> None:
    first, second, last = (new_cart_id() for _ in range(3))
    chain(database, first, second, last)

    async def scenario(engine: AsyncEngine) -> None:
        for stamps in ((5, 9, 7), (14, 12, 13), (22, 23, 24)):
            carts = zip((first, second, last), stamps, strict=True)
            await BatchWriter(engine, WRITERS[kind]).write(
                {(cart, "a"): written(stamp, stamp) for cart, stamp in carts}
            )
            async with engine.connect() as connection:
                assert await customer_service.quantities(connection, last) == {"a": max(stamps)}

    run(database, scenario)
    (row,) = database.items(last).values()
    assert (row["quantity"], row["name"], row["added_stamp"]) == (24, "name 24", 5)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_flush_that_meets_a_purchase_waits_for_it_and_stores_its_items_in_the_next_cart(
    database: Database, kind: str
) -> None:
    bought, other = new_cart_id(), new_cart_id()
    database.fetch("INSERT INTO carts (id, customer, owned_at) VALUES ($1, 'anna', now())", bought)

    async def scenario(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            assert await customer_service.lock(connection, bought)
            flush = asyncio.create_task(
                BatchWriter(engine, WRITERS[kind]).write({(bought, "late"): written(1, 1), (other, "x"): written(2, 1)})
            )
            await asyncio.to_thread(wait_for_lock, database, flush)
            await customer_service.purchase(connection, bought, "anna", 100)
        await flush

    run(database, scenario)
    (row,) = database.fetch("SELECT next_cart_id::text AS next FROM carts WHERE id = $1", bought)
    assert quantities(database, bought) == {}
    assert quantities(database, row["next"]) == {"late": 1}
    assert quantities(database, other) == {"x": 1}


def test_a_cart_that_another_writer_creates_and_closes_meanwhile_gets_no_items(database: Database) -> None:
    """The flush begins before the cart exists, and goes on once it was bought already."""
    held, bought, successor = sorted(new_cart_id() for _ in range(3))
    database.fetch("INSERT INTO carts (id) VALUES ($1)", held)

    async def scenario(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await customer_service.lock(connection, held)
            batch: Batch = {(held, "a"): written(1, 1), (bought, "late"): written(2, 1)}
            flush = asyncio.create_task(BatchWriter(engine).write(batch))
            await asyncio.to_thread(wait_for_lock, database, flush)
            await asyncio.to_thread(chain, database, bought, successor)
        await flush

    run(database, scenario)
    assert quantities(database, bought) == {}
    assert quantities(database, successor) == {"late": 1}
    assert quantities(database, held) == {"a": 1}


def test_an_old_cookie_may_have_a_thousand_purchases_behind_it(database: Database) -> None:
    carts = [new_cart_id() for _ in range(1001)]
    database.fetch(
        "INSERT INTO carts (id, next_cart_id) SELECT * FROM unnest($1::uuid[], $2::uuid[])", carts, [*carts[1:], None]
    )

    async def scenario(engine: AsyncEngine) -> None:
        await BatchWriter(engine).write({(carts[0], "a"): written(1, 1), (carts[500], "b"): written(2, 2)})

    run(database, scenario)
    assert quantities(database, carts[-1]) == {"a": 1, "b": 2}


CLOSED = 100
"""The stamp at which the cart was bought that holds `a` by a write at 10, with a quantity set at 20."""

BARE = (None, None, None)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(
    ("write", "late"),
    [
        (Item.written(10, "A", 1, None), None),
        (Item.written(20, None, None, 3), None),
        (Item.written(5, "older", 9, 9), None),
        (Item.written(15, *BARE), None),
        (Item.written(90, *BARE), None),
        (Item(10, "A", 10, 1, 10, 3, 20), None),
        (Item.written(90, None, None, 4), (None, None, 4)),
        (Item.written(101, *BARE), (None, None, 1)),
        (Item.written(101, "A", 1, None), ("A", 1, 1)),
        (Item(10, "A", 10, 1, 10, 0, 101), (None, None, 0)),
        (Item(10, "new", 101, 1, 10, 3, 20), ("new", None, 1)),
    ],
)
def test_what_was_bought_does_not_come_again_and_what_is_new_does(
    database: Database, kind: str, write: Item, late: tuple[str | None, int | None, int] | None
) -> None:
    """As when a journal is replayed after a purchase: most of what stands in it is long stored."""
    guest, bought, successor = (new_cart_id() for _ in range(3))
    chain(database, guest, bought, successor)
    database.fetch("UPDATE carts SET closed_stamp = $2 WHERE id = $1", bought, CLOSED)
    database.fetch(
        "INSERT INTO items (cart_id, external_id, added_stamp, name, name_stamp, value, value_stamp, quantity,"
        " quantity_stamp) VALUES ($1, 'a', 10, 'A', 10, 1, 10, 3, 20)",
        bought,
    )

    async def scenario(engine: AsyncEngine) -> None:
        for cart_id in (bought, guest):
            await BatchWriter(engine, WRITERS[kind]).write({(cart_id, "a"): write})

    run(database, scenario)
    stored = database.items(successor)
    assert {tuple(row[field] for field in ("name", "value", "quantity")) for row in stored.values()} == (
        set() if late is None else {late}
    )
    assert quantities(database, bought) == {"a": 3}


@pytest.mark.parametrize("kind", WRITERS)
def test_a_flush_that_goes_on_elsewhere_holds_no_lock_meanwhile(database: Database, kind: str) -> None:
    low, high = sorted(new_cart_id() for _ in range(2))
    closed = new_cart_id()
    chain(database, closed, low)
    chain(database, high)

    async def scenario(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await customer_service.lock(connection, low)
            batch: Batch = {(closed, "a"): written(1, 1), (high, "b"): written(2, 1)}
            flush = asyncio.create_task(BatchWriter(engine, WRITERS[kind]).write(batch))
            await asyncio.to_thread(wait_for_lock, database, flush)
            await customer_service.lock(connection, high)  # a deadlock, if the flush still held this one
        await flush

    run(database, scenario)
    assert (quantities(database, low), quantities(database, high)) == ({"a": 1}, {"b": 1})


def test_claims_of_carts_that_are_just_being_stored_do_not_deadlock(database: Database) -> None:
    async def scenario(engine: AsyncEngine) -> None:
        outstanding = new_cart_id()
        await asyncio.to_thread(
            database.fetch, "INSERT INTO carts (id, customer, owned_at) VALUES ($1, 'anna', now())", outstanding
        )
        aggregator = Aggregator(1_000_000)
        customers = new_customer_carts(aggregator, new_flusher(aggregator), engine)
        for number in range(100):
            guest = new_cart_id()
            batch: Batch = {(outstanding, "a"): written(2 * number + 1, 1), (guest, f"of {number}"): written(2, 1)}
            await asyncio.gather(BatchWriter(engine).write(batch), customers.claim("anna", guest))
            await BatchWriter(engine).write(batch)
        assert len(await asyncio.to_thread(database.items, outstanding)) == 101

    run(database, scenario, pool_size=4)
    (row,) = database.fetch("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0


def test_carts_are_locked_in_the_order_of_their_ids(database: Database) -> None:
    low, high = sorted(new_cart_id() for _ in range(2))
    chain(database, high)
    chain(database, low)
    database.fetch("ANALYZE carts")  # then a table of two rows is read as it lies

    async def scenario(engine: AsyncEngine) -> None:
        async def lock_both() -> None:
            async with engine.begin() as connection:
                await customer_store.lock(connection, {low, high})

        async with engine.begin() as connection:
            await customer_service.lock(connection, low)
            other = asyncio.create_task(lock_both())
            await asyncio.to_thread(wait_for_lock, database, other)
            await customer_service.lock(connection, high)  # a deadlock, if the other one had it already
        await other

    run(database, scenario)


def test_a_quantity_that_a_merge_changes_is_asked_for_anew(database: Database) -> None:
    source, target = new_cart_id(), new_cart_id()
    follow_up = WRITERS["with-reservations"]

    async def scenario(engine: AsyncEngine) -> None:
        batch: Batch = {(target, "a"): written(1, 1), (source, "a"): written(2, 5)}
        await BatchWriter(engine, follow_up).write(batch)
        async with engine.begin() as connection:
            await customer_service.merge(connection, source, target, follow_up)

    run(database, scenario)
    (row,) = database.fetch("SELECT quantity, status FROM reservations WHERE cart_id = $1", target)
    assert (row["quantity"], row["status"]) == (5, "pending")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_bare_item_that_was_bought_does_not_come_again(database: Database, kind: str) -> None:
    bought = new_cart_id()
    database.fetch("INSERT INTO carts (id, customer, owned_at) VALUES ($1, 'anna', now())", bought)
    batch: Batch = {(bought, "a"): Item.written(10, None, None, None)}

    async def scenario(engine: AsyncEngine) -> None:
        await BatchWriter(engine, WRITERS[kind]).write(batch)
        async with engine.begin() as connection:
            next_cart_id = await customer_service.purchase(connection, bought, "anna", 100)
        await BatchWriter(engine, WRITERS[kind]).write(batch)
        assert await asyncio.to_thread(database.items, next_cart_id) == {}

    run(database, scenario)


def test_a_bought_cart_shows_nothing_that_still_waits(database: Database) -> None:
    bought = new_cart_id()
    database.fetch("INSERT INTO carts (id, customer, owned_at) VALUES ($1, 'anna', now())", bought)

    async def scenario(engine: AsyncEngine) -> None:
        await BatchWriter(engine).write({(bought, "a"): written(1, 1)})
        async with engine.begin() as connection:
            await customer_service.purchase(connection, bought, "anna", 2)
        aggregator = Aggregator(1_000_000)
        flusher = new_flusher(aggregator)
        await new_intake(aggregator, flusher).accept(ItemWrite(bought, "late", quantity=1))
        _, shown = await new_customer_carts(aggregator, flusher, engine).find("anna", bought)
        assert shown.keys() == {"a"}

    run(database, scenario)

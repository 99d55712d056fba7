"""`tracker prune`: what is old goes, what is needed stays, and no write is lost to it."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.conftest import Database
from tests.support.data_lifecycle import (
    DAY,
    cart_ids,
    days_ago,
    everything,
    owned,
    run,
    store_item,
    stored_cart,
    stored_order,
)
from tests.support.parts import WAITS_FOR_LOCK, new_customer_carts, new_flusher, transaction, wait_for_lock
from tests.support.terminal import shown_on_terminal
from tests.support.waiting import wait_until
from tracker.errors import DatabaseUnavailableError
from tracker.features.carts import removal
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.domain import new_cart_id
from tracker.features.data_lifecycle import service
from tracker.features.data_lifecycle.domain import Amount
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.items import CartId, Item
from tracker.kit.clock import Stamper, SystemClock
from tracker.postgres import retries
from tracker.postgres.engine import create_engine
from tracker.runtime.features import all_data


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "WINDOW_CARTS", 3)
    monkeypatch.setattr(service, "PAUSE_S", 0)


def prune(database: Database, age: str = "90d", *options: str) -> str:
    done = run(database, "prune", "--older-than", age, *options)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    head, _, said = done.stdout.strip().partition(": ")
    assert head.startswith("older than 20")
    return said


def in_loop(database: Database, scenario: Callable[[AsyncEngine], Awaitable[None]], *, pool_size: int = 4) -> None:
    async def main() -> None:
        engine = create_engine(database.url, pool_size=pool_size, lock_timeout_s=2)
        try:
            await scenario(engine)
        finally:
            await engine.dispose()

    asyncio.run(main())


async def pruned(engine: AsyncEngine) -> Amount:
    before = datetime.now(UTC) - 90 * DAY
    return await service.prune(engine, all_data(), before, dry_run=False, on_progress=lambda _: None)


def stored_shop(database: Database) -> tuple[set[CartId], set[CartId]]:
    """Store carts of every kind; return those that must go and those that must stay, once 90 days are too old."""
    going = {
        stored_cart(database, 91, "a", "b"),
        stored_cart(database, 400, "a", **owned("anna", 91)),
        stored_cart(database, 0, **owned("anna", 91)),
        stored_cart(database, 0, erased_stamp=days_ago(91)),
        stored_cart(database, 0),
    }
    bought = stored_cart(database, 400, "a", **owned("bert", 400, purchased=True))
    database.fetch(
        "INSERT INTO orders SELECT gen_random_uuid(), $1, 'bert', 'k', 's', 'm', 'p', 'paid', null, 1, 'EUR'", bought
    )
    used = stored_cart(database, 91, "a", "b")
    store_item(database, used, "c", 89)
    changed = stored_cart(database, 91, "a")
    database.fetch("UPDATE items SET quantity_stamp = $2 WHERE cart_id = $1", changed, days_ago(89))
    staying = {
        bought,
        used,
        changed,
        stored_cart(database, 89, "a"),
        stored_cart(database, 91, "a", **owned("anna", 89)),
        stored_cart(database, 0, erased_stamp=days_ago(89)),
    }
    return going, staying


@pytest.mark.usefixtures("small_windows")
def test_old_carts_go_with_all_they_hold_and_a_dry_run_says_the_same_and_changes_nothing(database: Database) -> None:
    going, staying = stored_shop(database)
    before = everything(database)
    assert prune(database, "90d", "--dry-run") == "5 carts, 3 items, 3 reservations would be removed"
    assert everything(database) == before
    assert prune(database) == "5 carts, 3 items, 3 reservations removed"
    assert cart_ids(database) == staying
    after = everything(database)
    for table in ("carts", "items", "reservations"):
        kept = [row for row in before[table] if str(row.get("cart_id", row.get("id"))) not in going]
        assert after[table] == kept
    assert (after["orders"], after["order_lines"]) == (before["orders"], before["order_lines"])
    assert prune(database) == "nothing removed"
    assert prune(database, "90d", "--dry-run") == "nothing would be removed"


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("seed", range(5))
def test_merged_carts_go_with_what_they_were_merged_into(database: Database, seed: int) -> None:
    ids = [new_cart_id() for _ in range(8)]
    random.Random(seed).shuffle(ids)  # the order of the windows must not matter
    end, *merged = ids
    stored_cart(database, 91, "a", cart_id=end, **owned("anna", 91))
    for cart_id, next_cart_id in zip(merged, [end, end, merged[0], merged[2], merged[2], end, merged[5]], strict=True):
        stored_cart(database, 0, cart_id=cart_id, next_cart_id=next_cart_id, closed_stamp=days_ago(91))
    assert prune(database, "90d", "--dry-run") == "8 carts, 1 item, 1 reservation would be removed"
    assert prune(database) == "8 carts, 1 item, 1 reservation removed"
    assert cart_ids(database) == set()


@pytest.mark.usefixtures("small_windows")
def test_what_an_order_or_a_younger_cart_leads_to_stays_as_an_empty_row(database: Database) -> None:
    after_purchase = stored_cart(database, 91, "a", **owned("anna", 91))
    bought = stored_cart(
        database, 91, "a", **owned("anna", 91, purchased=True, next_cart_id=after_purchase, closed_stamp=days_ago(91))
    )
    stored_order(database, bought, "anna")
    refused = stored_cart(database, 91, "a", "b", **owned("anna", 91))
    stored_order(database, refused, "anna", status="failed", key="another")
    target = stored_cart(database, 91, "a", **owned("bert", 91))
    middle = stored_cart(database, 0, next_cart_id=target, closed_stamp=days_ago(91))
    young = stored_cart(database, 0, next_cart_id=middle, closed_stamp=days_ago(1))
    gone = stored_cart(database, 0, next_cart_id=middle, closed_stamp=days_ago(91))
    emptied = {after_purchase, refused, target}
    for options, verb in ((["--dry-run"], "would be removed"), ([], "removed")):
        assert prune(database, "90d", *options) == f"4 carts, 4 items, 4 reservations {verb}"
    assert cart_ids(database) == emptied | {bought, middle, young}
    assert gone not in cart_ids(database)
    assert set(database.items(bought)) == {"a"}
    (horizon,) = database.fetch("SELECT stamp FROM horizon")
    rows = database.fetch("SELECT id::text, erased_stamp FROM carts WHERE erased_stamp IS NOT NULL")
    assert {row["id"]: row["erased_stamp"] for row in rows} == dict.fromkeys(emptied, horizon["stamp"])
    assert prune(database) == "nothing removed"


def test_the_horizon_never_comes_back_nearer_to_the_past(database: Database) -> None:
    prune(database, "90d")
    (first,) = database.fetch("SELECT stamp FROM horizon")
    assert abs(first["stamp"] - days_ago(90)) < days_ago(0) - days_ago(0.01)
    prune(database, "2w")
    (second,) = database.fetch("SELECT stamp FROM horizon")
    assert second["stamp"] > first["stamp"]
    prune(database, "90d")
    assert database.fetch("SELECT stamp FROM horizon") == [second]


@pytest.mark.parametrize("age", ["90", "0d", "three weeks", "-1d"])
def test_a_bad_age_is_refused_with_its_rule_before_anything_happens(age: str) -> None:
    done = run(Database("postgresql://nobody@127.0.0.1:1/nothing"), "prune", "--older-than", age)
    assert done.exit_code == 2
    assert "must be a number of hours, days or weeks, such as 12h, 90d or 2w" in " ".join(done.stderr.split())
    assert repr(age) in done.stderr


@pytest.mark.parametrize(
    "command",
    [["prune", "--older-than", "1d"], ["erase", "--customer", "anna", "--yes"], ["export", "--customer", "a"]],
)
def test_a_database_that_is_not_there_or_not_migrated_is_one_line(empty_database: str, command: list[str]) -> None:
    for url, reason in (
        (empty_database, "tracker migrate"),
        ("postgresql://nobody@127.0.0.1:1/nothing", "cannot reach"),
    ):
        done = run(Database(url), *command)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert reason in done.stderr


@pytest.mark.usefixtures("small_windows")
def test_a_cart_that_somebody_has_locked_is_left_for_the_next_time(database: Database) -> None:
    carts = sorted(stored_cart(database, 91, "a") for _ in range(7))
    with transaction(database.url, f"SELECT FROM carts WHERE id = '{carts[3]}' FOR KEY SHARE"):
        assert prune(database) == "6 carts, 6 items, 6 reservations removed"
    assert cart_ids(database) == {carts[3]}
    assert prune(database) == "1 cart, 1 item, 1 reservation removed"


def test_an_item_that_was_stored_while_its_cart_was_being_locked_keeps_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock comes after the look: a flush may have committed in between."""
    cart_id = stored_cart(database, 91, "a")
    look = removal.old_among

    async def store_first(connection: AsyncConnection, stamp: int, cart_ids: set[CartId]) -> set[CartId]:
        if cart_ids:
            await connection.exec_driver_sql(
                f"INSERT INTO items (cart_id, external_id, added_stamp) VALUES ('{cart_id}', 'b', {days_ago(0)})"
            )
        return set(await look(connection, stamp, cart_ids))

    monkeypatch.setattr(removal, "old_among", store_first)
    assert prune(database) == "nothing removed"
    assert set(database.items(cart_id)) == {"a", "b"}


def test_a_flush_that_finds_its_cart_removed_stores_its_item_in_a_new_one(database: Database) -> None:
    cart_id = stored_cart(database, 91, "old")

    async def scenario(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            old = await removal.lock_old_among(connection, days_ago(90), [cart_id])
            flush = asyncio.create_task(
                BatchWriter(engine).write({(cart_id, "new"): Item.written(days_ago(0), "Mug", 1, 2)})
            )
            await asyncio.to_thread(wait_for_lock, database, flush)
            await removal.delete_items(connection, old)
            await removal.delete_carts(connection, old)
        await flush

    in_loop(database, scenario)
    assert {name: row["quantity"] for name, row in database.items(cart_id).items()} == {"new": 2}


def test_a_cart_that_is_removed_while_it_is_claimed_is_claimed_all_the_same(database: Database) -> None:
    guest, outstanding = stored_cart(database, 91, "a"), stored_cart(database, 91, "a", **owned("anna", 91))

    async def scenario(engine: AsyncEngine) -> None:
        aggregator = Aggregator(1_000_000)
        customers = new_customer_carts(aggregator, new_flusher(aggregator), engine)
        async with engine.begin() as connection:
            old = await removal.lock_old_among(connection, days_ago(90), [guest, outstanding])
            claim = asyncio.create_task(customers.claim("anna", guest))
            await asyncio.to_thread(wait_for_lock, database, claim)
            await removal.delete_items(connection, old)
            await removal.delete_carts(connection, old)
        assert await claim == guest

    in_loop(database, scenario)
    assert [tuple(row.values()) for row in database.fetch("SELECT id::text, customer FROM carts")] == [(guest, "anna")]


@pytest.mark.usefixtures("small_windows")
def test_flushes_and_prunes_of_the_same_carts_at_once_lose_no_write_and_bring_nothing_back(database: Database) -> None:
    carts = [stored_cart(database, 91, "old") for _ in range(60)]
    stamper = Stamper(SystemClock(), 1)
    written = set[tuple[str, str]]()

    async def scenario(engine: AsyncEngine) -> None:
        async def flush(numbers: range) -> None:
            for number in numbers:
                batch = {
                    (cart_id, f"new-{number}"): Item.written(stamper.next(), "Mug", 1, 1)
                    for cart_id in random.Random(number).sample(carts, 2)
                }
                batch |= {
                    (cart_id, "old"): Item.written(days_ago(91), "Mug", None, None)
                    for cart_id in random.Random(-number).sample(carts, 10)
                }
                await BatchWriter(engine).write(batch)
                written.update(key for key in batch if key[1] != "old")

        async def prune_again_and_again() -> None:
            for _ in range(10):
                await pruned(engine)

        await asyncio.gather(flush(range(1, 50)), flush(range(100, 150)), prune_again_and_again())

    in_loop(database, scenario)
    rows = database.fetch("SELECT cart_id::text, external_id FROM items")
    stored = {(row["cart_id"], row["external_id"]) for row in rows}
    assert written <= stored
    touched = {cart_id for cart_id, _ in written}
    assert {key for key in stored if key[0] not in touched} == set(), "a cart without a new item came back"
    (row,) = database.fetch("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert row["deadlocks"] == 0


def test_flushes_that_go_by_the_older_horizon_are_waited_for(database: Database) -> None:
    """One of them might create a cart anew that is removed under its eyes."""
    held, old = stored_cart(database, 1, "a"), stored_cart(database, 91, "old")

    async def scenario(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            await removal.lock_old_among(connection, days_ago(0), [held])
            batch = {
                (held, "b"): Item.written(days_ago(0), "Mug", 1, 2),
                (old, "old"): Item.written(days_ago(91), "Mug", None, None),
            }
            flush = asyncio.create_task(BatchWriter(engine).write(batch))
            await asyncio.to_thread(wait_for_lock, database, flush)
            pruning = asyncio.create_task(pruned(engine))
            await asyncio.to_thread(
                wait_for_lock, database, pruning, sql=f"{WAITS_FOR_LOCK} AND query LIKE 'LOCK TABLE%'"
            )
            assert not await asyncio.to_thread(database.fetch, "SELECT 1 FROM horizon")
        await flush
        assert await pruning == Amount(carts=1, items=1, reservations=1)

    in_loop(database, scenario)
    assert cart_ids(database) == {held}


def test_a_prune_that_cannot_move_the_horizon_gives_up_and_removes_nothing(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retries, "TRIES", 2)
    stored_cart(database, 91, "a")
    before = everything(database)
    with transaction(database.url, "SELECT * FROM horizon"):
        done = run(database, "prune", "--older-than", "90d")
    assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "run it again: " in done.stderr
    assert "lock timeout" in done.stderr
    assert everything(database) == before


def test_a_lock_that_is_let_go_in_time_does_not_end_a_prune(database: Database) -> None:
    stored_cart(database, 91, "a")
    with ThreadPoolExecutor() as pool:
        with transaction(database.url, "SELECT * FROM horizon"):
            pruning = pool.submit(prune, database)
            wait_for_lock(database, pruning)
        assert pruning.result(60) == "1 cart, 1 item, 1 reservation removed"


def test_an_error_that_does_not_pass_ends_the_tries_at_once(database: Database) -> None:
    database.fetch("ALTER TABLE horizon RENAME TO elsewhere")

    async def scenario(engine: AsyncEngine) -> None:
        with pytest.raises(DatabaseUnavailableError, match=r"run it again: .*horizon"):
            await pruned(engine)

    in_loop(database, scenario)


def test_the_carts_of_a_large_table_are_looked_up_and_no_table_is_read_for_each_window(database: Database) -> None:
    """Also before PostgreSQL knows how large it is."""
    database.fetch("INSERT INTO carts (id) SELECT gen_random_uuid() FROM generate_series(1, 20000)")
    database.fetch(
        "INSERT INTO items (cart_id, external_id, added_stamp)"
        " SELECT id, n::text, CASE WHEN id < 'f0000000-0000-0000-0000-000000000000' THEN $1::bigint ELSE $2 END"
        " FROM carts, generate_series(1, 3) AS n",
        days_ago(1),
        days_ago(91),
    )
    assert prune(database).endswith(" items removed")
    numbers = "SELECT relname, seq_tup_read AS read FROM pg_stat_user_tables WHERE relname IN ('carts', 'items')"
    wait_until(lambda: sum(row["read"] for row in database.fetch(numbers)))  # a session reports when it ends
    reads = {row["relname"]: row["read"] for row in database.fetch(numbers)}
    assert reads["carts"] < 10 * 20_000
    assert reads["items"] < 10 * 60_000


def test_a_terminal_shows_how_far_it_is(database: Database, tmp_path: Path) -> None:
    stored_cart(database, 91, "a")
    shown = shown_on_terminal(database, "prune", "--older-than", "90d", data_dir=tmp_path)
    assert re.search(rb"carts .*100%", shown), shown

"""What was erased or pruned does not come back: from a killed process, a running one, or a journal of elsewhere."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database, StartTracker, Tracker, cart_of
from tests.support.data_lifecycle import (
    cart_ids,
    days_ago,
    left_journal,
    owned,
    run,
    store_item,
    stored_cart,
    wait_until_gone,
)
from tests.support.faults.outages import Proxy
from tests.support.waiting import wait_until
from tracker.features.carts.domain import new_cart_id
from tracker.ingest.items import Item


@pytest.fixture
def proxy(database: Database) -> Iterator[Proxy]:
    with Proxy(database.url) as proxy:
        yield proxy


def segments(data_dir: Path) -> list[Path]:
    return list(data_dir.glob("workers/*/*.journal"))


def erase(database: Database, *whose: str, data_dir: Path) -> None:
    done = run(database, "erase", *whose, "--yes", data_dir=data_dir)
    assert done.exit_code == 0, done.stderr


def prune(database: Database) -> None:
    done = run(database, "prune", "--older-than", "90d")
    assert done.exit_code == 0, done.stderr


def stored(database: Database) -> set[tuple[str, str, int]]:
    rows = database.fetch("SELECT cart_id::text, external_id, quantity FROM items")
    return {(row["cart_id"], row["external_id"], row["quantity"]) for row in rows}


def add(tracker: Tracker, cart_id: str, external_id: str, quantity: int) -> None:
    tracker.post_item({"external_id": external_id, "quantity": quantity}, cart_id).raise_for_status()


def wait_until_stored(database: Database, cart_id: str, external_id: str) -> None:
    wait_until(lambda: external_id in database.items(cart_id), what=f"{external_id} to be stored")


@pytest.mark.parametrize("whose", ["cart", "customer", "unknown cart"])
def test_a_journal_of_a_killed_service_brings_nothing_back_that_was_erased(
    start_tracker: StartTracker, database: Database, proxy: Proxy, tmp_path: Path, whose: str
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": proxy.url})
    other = cart_of(tracker.post_item({"external_id": "other"}))
    erased = new_cart_id()
    if whose != "unknown cart":
        add(tracker, erased, "stored", 1)
        database.wait_for_items(erased)
        if whose == "customer":
            database.fetch("UPDATE carts SET customer = 'anna', owned_at = now() WHERE id = $1", erased)
    database.wait_for_items(other)
    proxy.set("hold")
    add(tracker, erased, "stored", 2)
    add(tracker, erased, "waits", 2)
    add(tracker, other, "waits", 2)
    tracker.stop(signal.SIGKILL)
    assert segments(tmp_path)
    proxy.set("reset")

    erase(database, *(["--customer", "anna"] if whose == "customer" else ["--cart", erased]), data_dir=tmp_path)
    assert database.items(erased) == {}

    tracker = start_tracker(env={"DATABASE_URL": database.url})
    add(tracker, erased, "new", 3)
    wait_until_stored(database, other, "waits")
    wait_until_stored(database, erased, "new")
    assert tracker.stop() == 0
    assert segments(tmp_path) == [], "all of it was replayed"
    assert stored(database) == {(other, "other", 1), (other, "waits", 2), (erased, "new", 3)}


def test_items_that_wait_in_a_running_service_do_not_come_back_and_what_follows_is_stored(
    start_tracker: StartTracker, database: Database, proxy: Proxy, tmp_path: Path
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": proxy.url})
    erased = cart_of(tracker.post_item({"external_id": "stored"}))
    database.wait_for_items(erased)
    proxy.set("hold")
    add(tracker, erased, "in hand", 1)
    add(tracker, erased, "waits", 1)
    add(tracker, erased, "both", 1)
    erase(database, "--cart", erased, data_dir=tmp_path)
    add(tracker, erased, "both", 2)
    add(tracker, erased, "new", 3)
    proxy.set("pass")
    wait_until_stored(database, erased, "new")

    def shown() -> dict[str, int]:
        return {item["product_id"]: item["quantity"] for item in tracker.get_items(erased)}

    # What is being written is shown until the process has heard that it is: a moment after others can read it.
    wait_until(lambda: shown() == {"both": 2, "new": 3}, what=lambda: str(shown()))
    assert tracker.stop() == 0
    assert stored(database) == {(erased, "both", 2), (erased, "new", 3)}


@pytest.mark.parametrize("jobs", ["reservations", "no reservations"])
def test_a_journal_from_elsewhere_brings_nothing_back_that_was_pruned(
    start_tracker: StartTracker, database: Database, tmp_path: Path, jobs: str
) -> None:
    old = stored_cart(database, 91, "a", "b")
    customers = stored_cart(database, 91, "a", **owned("anna", 91))
    merged = stored_cart(database, 0, next_cart_id=customers, closed_stamp=days_ago(91))
    needed = stored_cart(database, 91, "a", **owned("bert", 91))
    bought = stored_cart(database, 91, "a", **owned("bert", 91, purchased=True, next_cart_id=needed))
    young = stored_cart(database, 91, "a")
    store_item(database, young, "b", 89)
    prune(database)
    assert cart_ids(database) == {needed, bought, young}
    before = stored(database)

    stamp = days_ago(91)
    left = {
        (cart, name): Item.written(stamp, "Mug", 1, 1) for cart in (old, customers, merged, needed) for name in "ab"
    }
    left[old, "young"] = Item(stamp, "Mug", stamp, 1, stamp, 5, days_ago(89))
    left[new_cart_id(), "never stored"] = Item.written(stamp, "Mug", 1, 1)
    left[young, "a"] = Item.written(stamp + 1, None, None, 7)
    journal = left_journal(tmp_path, left)
    env = {"DATABASE_URL": database.url}
    if jobs == "reservations":
        env |= {"TRACKER_RESERVATION_URL": "http://127.0.0.1:9/reserve", "TRACKER_JOBS": "off"}
    tracker = start_tracker(env=env)
    wait_until_gone(journal)
    assert tracker.stop() == 0
    assert stored(database) == before - {(young, "a", 1)} | {(young, "a", 7), (old, "young", 5)}
    assert cart_ids(database) == {needed, bought, young, old}
    reserved = {(str(row["cart_id"]), row["external_id"]) for row in database.fetch("SELECT * FROM reservations")}
    asked = {(young, "a"), (old, "young")} if jobs == "reservations" else {(young, "a")}
    assert reserved == asked | {(bought, "a")}


def test_an_erased_cart_stays_erased_when_its_row_was_pruned_too(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    cart_id = stored_cart(database, 100, "a")
    erase(database, "--cart", cart_id, data_dir=tmp_path)
    database.fetch("UPDATE carts SET erased_stamp = $1", days_ago(95))  # as time goes by
    prune(database)
    assert cart_ids(database) == set()
    journal = left_journal(tmp_path, {(cart_id, "a"): Item.written(days_ago(100), "Mug", 1, 1)})
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    wait_until_gone(journal)
    assert tracker.stop() == 0
    assert cart_ids(database) == set()


def test_dead_letters_of_an_erased_cart_do_not_come_back_from_another_machine(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(elsewhere)})
    database.fetch("ALTER TABLE items ADD CONSTRAINT no_mugs CHECK (external_id <> 'mug')")
    erased = cart_of(tracker.post_item({"external_id": "mug"}))
    letters = elsewhere / "workers" / "0000" / "dead-letters.jsonl"
    wait_until(letters.exists, what="the dead letter")
    assert tracker.stop() == 0
    erase(database, "--cart", erased, data_dir=tmp_path)
    database.fetch("ALTER TABLE items DROP CONSTRAINT no_mugs")
    done = run(database, "dead-letters", "retry", data_dir=elsewhere)
    assert (done.exit_code, letters.exists()) == (0, False), done.stderr
    assert stored(database) == set()

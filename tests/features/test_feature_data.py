"""A feature of which nobody else knows: it hands in its `FeatureData`, and its data ends with that of all others."""

import json
from collections.abc import Collection, Iterator
from typing import Any

import pytest
from sqlalchemy import ColumnElement, text
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import Database
from tests.support.data_lifecycle import cart_ids, owned, run, stored_cart, stored_order
from tracker.cli import data
from tracker.features.data_lifecycle import service
from tracker.features.feature_data import Contents, Erasure, ExportList, FeatureData, Fields
from tracker.ingest.items import CartId
from tracker.runtime.features import all_data


async def count(connection: AsyncConnection, carts: Collection[CartId], customer: str | None) -> Contents:
    sql = text("SELECT cart_id::text FROM notes WHERE cart_id = ANY(:ids)")
    notes = (await connection.execute(sql, {"ids": list(carts)})).scalars().all()
    emails = await connection.execute(text("SELECT FROM emails WHERE customer = :name"), {"name": customer})
    return Contents({"notes": len(notes), "emails": emails.rowcount}, frozenset(notes))


async def erase_carts(connection: AsyncConnection, erasure: Erasure) -> Contents:
    sql = text("DELETE FROM notes WHERE cart_id = ANY(:ids) RETURNING cart_id::text")
    gone = (await connection.execute(sql, {"ids": list(erasure.cart_ids)})).scalars().all()
    return Contents({"notes": len(gone)}, frozenset(gone))


limits: set[int] = set()
"""Numbers of rows that the feature was asked to take at most."""


async def erase_customer(connection: AsyncConnection, customer: str, _pseudonym: str, limit: int) -> dict[str, int]:
    limits.add(limit)
    sql = "DELETE FROM emails WHERE address IN (SELECT address FROM emails WHERE customer = :name LIMIT :limit)"
    return {"emails": (await connection.execute(text(sql), {"name": customer, "limit": limit})).rowcount}


async def export_carts(connection: AsyncConnection, carts: Collection[CartId]) -> dict[CartId, Fields]:
    notes: dict[CartId, list[str]] = {cart_id: [] for cart_id in carts}
    sql = text("SELECT cart_id::text, words FROM notes WHERE cart_id = ANY(:ids)")
    for cart_id, words in await connection.execute(sql, {"ids": list(carts)}):
        notes[cart_id].append(words)
    return {cart_id: {"notes": words} for cart_id, words in notes.items()}


async def email_ids(connection: AsyncConnection, _carts: Collection[CartId], customer: str | None) -> list[str]:
    sql = text("SELECT address FROM emails WHERE customer = :name ORDER BY address")
    return list((await connection.execute(sql, {"name": customer})).scalars())


async def read_emails(_connection: AsyncConnection, ids: Collection[str]) -> list[dict[str, str]]:
    return [{"address": address} for address in ids]


def leads_to(cart_id: ColumnElement[Any]) -> ColumnElement[bool]:
    return cart_id.in_(text("SELECT cart_id FROM pinned"))


NOTES = FeatureData(
    kinds=("notes", "emails"),
    count=count,
    erase_carts=erase_carts,
    erase_customer=erase_customer,
    export_carts=export_carts,
    export_lists={"emails": ExportList(email_ids, read_emails)},
    leads_to=leads_to,
)


@pytest.fixture(autouse=True)
def notes(database: Database, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(data, "all_data", lambda: [*all_data(), NOTES])
    database.fetch(
        "CREATE TABLE notes (cart_id uuid NOT NULL REFERENCES carts, external_id text, words text NOT NULL,"
        " FOREIGN KEY (cart_id, external_id) REFERENCES items)"  # so its rows must go before the items
    )
    database.fetch("CREATE TABLE emails (address text PRIMARY KEY, customer text NOT NULL)")
    database.fetch("CREATE TABLE pinned (cart_id uuid NOT NULL)")
    yield
    database.fetch("DROP TABLE notes, emails, pinned")


def note(database: Database, cart_id: str, *all_words: str, item: str | None = "a") -> None:
    for words in all_words:
        database.fetch("INSERT INTO notes VALUES ($1, $2, $3)", cart_id, item, words)


def left(database: Database) -> tuple[set[str], set[str]]:
    notes = database.fetch("SELECT words FROM notes")
    return {row["words"] for row in notes}, {row["address"] for row in database.fetch("SELECT address FROM emails")}


def stored_example(database: Database) -> str:
    """Store carts, an order, notes and email addresses of two customers; return the cart of the first."""
    cart_id = stored_cart(database, 1, "a", **owned("anna", 1))
    other = stored_cart(database, 1, "a", **owned("bert", 1))
    stored_order(database, cart_id, "anna")
    note(database, cart_id, "wrap it", "red")
    note(database, other, "blue")
    database.fetch("INSERT INTO emails VALUES ('a@x', 'anna'), ('b@x', 'anna'), ('c@x', 'bert')")
    return cart_id


def test_its_data_is_counted_and_erased_with_a_customer(database: Database) -> None:
    stored_example(database)
    amount = "1 cart, 1 item, 1 reservation, 1 order, 2 notes, 2 emails"
    asked = run(database, "erase", "--customer", "anna", answer="n\n")
    assert f"customer 'anna': {amount}. Erase that for good?" in asked.stderr
    assert left(database) == ({"wrap it", "red", "blue"}, {"a@x", "b@x", "c@x"})
    assert run(database, "erase", "--customer", "anna", "--yes").stdout == f"customer 'anna': {amount} erased\n"
    assert left(database) == ({"blue"}, {"c@x"})
    assert run(database, "erase", "--customer", "anna", "--yes").stdout == "customer 'anna': nothing erased\n"


def test_its_data_is_erased_with_a_cart(database: Database) -> None:
    cart_id = stored_example(database)
    done = run(database, "erase", "--cart", cart_id, "--yes")
    assert done.stdout == f"cart {cart_id}: 1 cart, 1 item, 1 reservation, 2 notes erased\n"
    assert left(database) == ({"blue"}, {"a@x", "b@x", "c@x"})


def test_a_cart_that_holds_only_its_data_counts_as_one_that_is_not_empty(database: Database) -> None:
    cart_id = stored_cart(database, 1)
    note(database, cart_id, "wrap it", item=None)
    done = run(database, "erase", "--cart", cart_id, "--yes")
    assert done.stdout == f"cart {cart_id}: 1 cart, 1 note erased\n"


def test_a_customers_data_goes_before_that_which_it_belongs_to_and_no_more_at_once_than_allowed(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def erase_replies(connection: AsyncConnection, customer: str, _: str, limit: int) -> dict[str, int]:
        limits.add(limit)
        sql = text("DELETE FROM replies USING emails WHERE address = reply_to AND customer = :name")
        return {"replies": (await connection.execute(sql, {"name": customer})).rowcount}

    replies = FeatureData(kinds=("replies",), erase_customer=erase_replies)
    monkeypatch.setattr(data, "all_data", lambda: [*all_data(), NOTES, replies])
    monkeypatch.setattr(service, "ERASE_AT_ONCE", 2)
    limits.clear()
    for number in range(5):
        database.fetch("INSERT INTO emails VALUES ($1, 'anna')", f"{number}@x")
    database.fetch("CREATE TABLE replies (reply_to text NOT NULL REFERENCES emails)")
    database.fetch("INSERT INTO replies SELECT address FROM emails")
    done = run(database, "erase", "--customer", "anna", "--yes")
    database.fetch("DROP TABLE replies")
    assert done.stdout == "customer 'anna': 5 emails, 5 replies erased\n"
    assert limits == {2}


def test_its_data_is_exported_in_each_cart_and_as_a_list_of_its_own(database: Database) -> None:
    cart_id = stored_example(database)
    done = run(database, "export", "--customer", "anna")
    assert done.stderr == "customer 'anna': 1 cart, 1 item, 1 reservation, 1 order, 2 notes, 2 emails\n"
    document = json.loads(done.stdout)
    assert [*document] == ["exported_at", "carts", "orders", "emails", "dead_letters"]
    (cart,) = document["carts"]
    assert (cart["cart_id"], [*cart][-3:], cart["notes"]) == (
        cart_id,
        ["items", "reservations", "notes"],
        ["wrap it", "red"],
    )
    assert document["emails"] == [{"address": "a@x"}, {"address": "b@x"}]


def test_customers_of_whom_only_it_stores_something_are_exported_and_erased(database: Database) -> None:
    database.fetch("INSERT INTO emails VALUES ('a@x', 'anna')")
    done = run(database, "export", "--customer", "anna")
    assert (json.loads(done.stdout)["emails"], done.stderr) == ([{"address": "a@x"}], "customer 'anna': 1 email\n")
    assert run(database, "erase", "--customer", "anna", "--yes").stdout == "customer 'anna': 1 email erased\n"


def test_its_data_is_pruned_with_a_cart_and_keeps_the_row_that_it_leads_to(database: Database) -> None:
    old, pinned, young = (stored_cart(database, age, "a") for age in (91, 91, 1))
    note(database, old, "old")
    note(database, pinned, "pinned")
    note(database, young, "young")
    database.fetch("INSERT INTO pinned VALUES ($1)", pinned)
    for options, verb in ((["--dry-run"], "would be removed"), ([], "removed")):
        done = run(database, "prune", "--older-than", "90d", *options)
        assert done.stdout.endswith(f": 2 carts, 2 items, 2 reservations, 2 notes {verb}\n")
    assert cart_ids(database) == {pinned, young}
    assert left(database) == ({"young"}, set())


def test_a_cart_is_emptied_whichever_feature_has_something_in_it(database: Database) -> None:
    with_item, with_note, empty = stored_cart(database, 91, "a"), stored_cart(database, 91), stored_cart(database, 91)
    note(database, with_note, "old", item=None)
    for cart_id in (with_item, with_note, empty):
        database.fetch("INSERT INTO pinned VALUES ($1)", cart_id)
    for options, verb in ((["--dry-run"], "would be removed"), ([], "removed")):
        done = run(database, "prune", "--older-than", "90d", *options)
        assert done.stdout.endswith(f": 2 carts, 1 item, 1 reservation, 1 note {verb}\n")
    assert cart_ids(database) == {with_item, with_note, empty}

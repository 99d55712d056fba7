"""`tracker export`: everything that is stored of a cart or a customer, as one JSON document."""

import json
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Database, run_tracker
from tests.support.data_lifecycle import everything, owned, run, stored_cart, stored_order
from tracker.features.carts.domain import new_cart_id
from tracker.features.data_lifecycle import export
from tracker.ingest.dead_letter_data import DeadLetterData
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.items import CartId, Item
from tracker.kit.clock import STAMPS_PER_US

TIME = datetime(2026, 3, 1, 12, 0, 0, 5, tzinfo=UTC)
STAMP = (int(TIME.timestamp()) * 1_000_000 + 5) * STAMPS_PER_US + 7
SHOWN = "2026-03-01T12:00:00.000005Z"
LATER = "2026-03-01T12:00:01.000005Z"
LATER_STAMP = STAMP + 1_000_000 * STAMPS_PER_US


def exported(database: Database, *whose: str, data_dir: Path | str = "/nonexistent") -> dict[str, Any]:
    done = run(database, "export", *whose, data_dir=data_dir)
    assert done.exit_code == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z", document.pop("exported_at"))
    return document


def stored_example(database: Database) -> tuple[str, str, str, str]:
    """Store a customer with a guest's cart, a purchased one with an order, and the cart after it; return the ids."""
    after = stored_cart(database, 0, customer="anna", owned_at=TIME)
    bought = stored_cart(
        database, 0, customer="anna", owned_at=TIME, purchased=True, next_cart_id=after, closed_stamp=LATER_STAMP
    )
    guest = stored_cart(database, 0, next_cart_id=bought, closed_stamp=STAMP)
    insert = (
        "INSERT INTO items (cart_id, external_id, name, name_stamp, value, value_stamp, quantity, quantity_stamp,"
        " added_stamp) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    )
    database.fetch(insert, bought, "z", 'Mug "é"\n\u2028', STAMP, -(2**63), LATER_STAMP, 2**31 - 1, STAMP, STAMP)
    database.fetch(insert, bought, "a", None, 0, None, 0, 0, LATER_STAMP, LATER_STAMP)
    reserve = (
        "INSERT INTO reservations (cart_id, external_id, quantity, key, status, reservation_id, attempts, error,"
        " updated_at) VALUES ($1, $2, 3, gen_random_uuid(), $3, $4, 2, $5, $6)"
    )
    database.fetch(reserve, bought, "z", "reserved", '"R-1"', None, TIME)
    database.fetch(reserve, after, "q", "failed", None, "sold out", TIME)
    order = stored_order(database, bought, "anna")
    database.fetch("INSERT INTO order_lines VALUES ($1, 2, 'b', 'Pen', 'pen', 1, 7)", order)
    database.fetch("UPDATE orders SET created_at = $1, updated_at = $1", TIME)
    stored_order(database, stored_cart(database, 1, "a", **owned("annabel", 1)), "annabel")
    return after, bought, guest, order


def document_of(after: str, bought: str, guest: str, order: str) -> dict[str, Any]:
    carts = [
        {
            "cart_id": after,
            "customer": "anna",
            "owned_at": SHOWN,
            "purchased": False,
            "closed_at": None,
            "next_cart_id": None,
            "items": [],
            "reservations": [
                {
                    "product_id": "q",
                    "quantity": 3,
                    "status": "failed",
                    "reservation_id": None,
                    "attempts": 2,
                    "error": "sold out",
                    "updated_at": SHOWN,
                }
            ],
        },
        {
            "cart_id": bought,
            "customer": "anna",
            "owned_at": SHOWN,
            "purchased": True,
            "closed_at": LATER,
            "next_cart_id": after,
            "items": [
                {
                    "product_id": "z",
                    "name": 'Mug "é"\n\u2028',
                    "price": -(2**63),
                    "quantity": 2**31 - 1,
                    "added_at": SHOWN,
                    "updated_at": LATER,
                },
                {
                    "product_id": "a",
                    "name": None,
                    "price": None,
                    "quantity": 0,
                    "added_at": LATER,
                    "updated_at": LATER,
                },
            ],
            "reservations": [
                {
                    "product_id": "z",
                    "quantity": 3,
                    "status": "reserved",
                    "reservation_id": "R-1",
                    "attempts": 2,
                    "error": None,
                    "updated_at": SHOWN,
                }
            ],
        },
        {
            "cart_id": guest,
            "customer": None,
            "owned_at": None,
            "purchased": False,
            "closed_at": SHOWN,
            "next_cart_id": bought,
            "items": [],
            "reservations": [],
        },
    ]
    orders = [
        {
            "order_id": order,
            "cart_id": bought,
            "customer": "anna",
            "idempotency_key": "the key",
            "processor": "sandbox",
            "payment_method": "accepted",
            "payment_id": "p-1",
            "status": "paid",
            "reason": None,
            "total": 500,
            "currency": "EUR",
            "created_at": SHOWN,
            "updated_at": SHOWN,
            "lines": [
                {"product_id": "a", "title": "Mug", "item_type": "cup", "price": 500, "quantity": 1},
                {"product_id": "b", "title": "Pen", "item_type": "pen", "price": 1, "quantity": 7},
            ],
        }
    ]
    return {"carts": sorted(carts, key=lambda cart: str(cart["cart_id"])), "orders": orders, "dead_letters": []}


def test_all_of_a_customer_is_exported_and_nothing_of_another(database: Database) -> None:
    example = stored_example(database)
    before = everything(database)
    assert exported(database, "--customer", "anna") == document_of(*example)
    assert everything(database) == before


@pytest.mark.parametrize("named", [1, 2])
def test_a_cart_is_exported_with_what_was_merged_into_it_and_its_order(database: Database, named: int) -> None:
    example = stored_example(database)
    expected = document_of(*example)
    expected["carts"] = [cart for cart in expected["carts"] if cart["cart_id"] in example[1:3]]
    assert exported(database, "--cart", example[named]) == expected


def test_a_document_of_many_carts_and_orders_comes_in_parts(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "AT_ONCE", 3)
    carts = sorted(stored_cart(database, 1, "a", "b", **owned("anna", 1)) for _ in range(10))
    orders = {stored_order(database, cart_id, "anna", key=cart_id) for cart_id in carts}
    document = exported(database, "--customer", "anna")
    assert [cart["cart_id"] for cart in document["carts"]] == carts
    assert {len(cart["items"]) for cart in document["carts"]} == {2}
    assert {order["order_id"] for order in document["orders"]} == orders
    assert {len(order["lines"]) for order in document["orders"]} == {1}


def test_a_cart_that_is_removed_meanwhile_is_left_out(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    gone, there = (stored_cart(database, 1, "a", **owned("anna", 1)) for _ in range(2))

    def remove(*_: object) -> list[bytes]:  # it is called after the carts were found, and before they are read
        with ThreadPoolExecutor() as pool:
            for table, column in (("items", "cart_id"), ("carts", "id")):
                pool.submit(database.fetch, f"DELETE FROM {table} WHERE {column} = $1", gone).result(60)
        return []

    monkeypatch.setattr(DeadLetterData, "export", remove)
    assert [cart["cart_id"] for cart in exported(database, "--customer", "anna")["carts"]] == [there]


def test_dead_letters_are_exported_whatever_their_texts_are(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "workers" / "0000"
    folder.mkdir(parents=True)
    letters = DeadLetters(folder)
    cart_id = stored_cart(database, 0)
    letters.bury((cart_id, "\ud800"), Item.written(1, "\udfff", 2**70, 3), "refused")
    letters.bury((CartId(new_cart_id()), "b"), Item.written(1, "B", 1, 1), "refused")
    (letter,) = exported(database, "--cart", cart_id, data_dir=tmp_path)["dead_letters"]
    assert letter.pop("refused_at")
    assert letter == {
        "cart_id": cart_id,
        "product_id": "\ud800",
        "name": "\udfff",
        "price": 2**70,
        "quantity": 3,
        "error": "refused",
    }


def test_a_file_is_written_for_nobody_else_to_read(database: Database, tmp_path: Path) -> None:
    cart_id = stored_cart(database, 1, "a")
    file = tmp_path / "export.json"
    env = {"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(tmp_path)}
    done = run_tracker("export", "--cart", cart_id, str(file), env=env)
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"cart {cart_id}: 1 cart, 1 item, 1 reservation\n"
    assert json.loads(file.read_text(encoding="utf-8"))["carts"][0]["cart_id"] == cart_id
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert run_tracker("export", "--cart", cart_id, env=env).stdout.count("\n") == 5


def test_who_is_unknown_is_said_in_one_line_and_no_file_is_written(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    for whose, name in ((["--customer", "o'nobody"], '"o\'nobody"'), (["--cart", cart := new_cart_id()], cart)):
        done = run(database, "export", *whose, str(file))
        assert (done.exit_code, done.stdout) == (1, "")
        assert re.fullmatch(rf"tracker: nothing is stored of (customer|cart) {re.escape(name)}\n", done.stderr)
        assert not file.exists()


def test_a_file_that_cannot_be_written_is_one_line(database: Database) -> None:
    cart_id = stored_cart(database, 1, "a")
    for file in ("/dev/full", "/nonexistent/export.json"):
        done = run(database, "export", "--cart", cart_id, file)
        assert (done.exit_code, done.stdout, done.stderr.count("\n")) == (1, "", 1), done.stderr
        assert "export.json" in done.stderr or "No space" in done.stderr

"""`tracker erase`: what belongs to a cart or a customer goes, and what must stay leads to nobody."""

import re
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Database, Tracker, cart_of
from tests.support.data_lifecycle import cart_ids, days_ago, everything, owned, run, stored_cart, stored_order
from tests.support.oidc import Provider
from tests.support.parts import transaction, wait_for_lock
from tests.support.shopper import new_shopper, sell, settle_now
from tests.support.waiting import wait_until
from tracker.features.carts.domain import new_cart_id
from tracker.features.data_lifecycle import service
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.items import CartId, Item
from tracker.ingest.last_stamp import save_stamp
from tracker.kit.files import SystemFiles

NOBODY = {"customer": None, "owned_at": None, "purchased": False, "next_cart_id": None, "closed_stamp": None}


def erase(database: Database, *whose: str, data_dir: Path | str = "/nonexistent") -> str:
    done = run(database, "erase", *whose, "--yes", data_dir=data_dir)
    assert (done.exit_code, done.stderr) == (0, ""), done.output
    said = done.stdout.strip()
    assert said.endswith(" erased")
    return said.removesuffix(" erased").rpartition(": ")[2]


def cart_row(database: Database, cart_id: str) -> dict[str, object]:
    (row,) = database.fetch(
        "SELECT customer, owned_at, purchased, next_cart_id::text, closed_stamp FROM carts WHERE id = $1", cart_id
    )
    return row


def erased_stamp(database: Database, cart_id: str) -> int:
    stamp: int = database.fetch("SELECT erased_stamp FROM carts WHERE id = $1", cart_id)[0]["erased_stamp"]
    return stamp


def test_a_cart_is_emptied_and_all_others_stay_as_they_are(database: Database) -> None:
    erased = stored_cart(database, 1, "a", "b")
    stored_cart(database, 1, "a", **owned("anna", 1))
    before = everything(database)
    began = days_ago(0)
    assert erase(database, "--cart", erased.upper()) == "1 cart, 2 items, 2 reservations"
    after = everything(database)
    for table in ("items", "reservations"):
        assert after[table] == [row for row in before[table] if str(row["cart_id"]) != erased]
    assert began < erased_stamp(database, erased) <= days_ago(0)
    assert [row for row in after["carts"] if str(row["id"]) != erased] == [
        row for row in before["carts"] if str(row["id"]) != erased
    ]
    assert erase(database, "--cart", erased) == "nothing"


@pytest.mark.parametrize("named", range(5))
def test_whichever_cart_of_a_merged_one_is_named_all_are_erased_but_not_what_a_purchase_leads_to(
    database: Database, named: int
) -> None:
    end = stored_cart(database, 1, "a", **owned("anna", 1))
    first = stored_cart(database, 0, next_cart_id=end)
    second = stored_cart(database, 0, next_cart_id=first)
    third = stored_cart(database, 0, next_cart_id=end)
    fourth = stored_cart(database, 1, "late", next_cart_id=third)
    before = stored_cart(database, 1, "a", **owned("anna", 2, purchased=True, next_cart_id=end))
    tree = [end, first, second, third, fourth]
    ways = database.fetch("SELECT id, next_cart_id FROM carts ORDER BY id")
    assert erase(database, "--cart", tree[named]) == "2 carts, 2 items, 2 reservations"
    assert all(erased_stamp(database, cart_id) for cart_id in tree)
    assert set(database.items(before)) == {"a"}
    assert erased_stamp(database, before) is None
    assert database.fetch("SELECT id, next_cart_id FROM carts ORDER BY id") == ways, "what comes still goes there"
    assert cart_row(database, end)["customer"] == "anna"


def test_the_items_of_a_purchased_cart_are_erased_and_its_order_stays(database: Database) -> None:
    after = stored_cart(database, 1, "a", **owned("anna", 1))
    bought = stored_cart(database, 1, "a", **owned("anna", 1, purchased=True, next_cart_id=after, closed_stamp=1))
    stored_order(database, bought, "anna")
    before = everything(database)
    assert erase(database, "--cart", bought) == "1 cart, 1 item, 1 reservation"
    assert set(database.items(after)) == {"a"}
    assert everything(database)["orders"] == before["orders"]
    assert cart_row(database, bought)["purchased"] is True


def test_a_cart_that_nothing_is_stored_of_is_remembered_as_erased(database: Database) -> None:
    unknown = new_cart_id()
    assert erase(database, "--cart", unknown) == "nothing"
    assert erased_stamp(database, unknown) > days_ago(0.01)
    database.fetch("UPDATE carts SET erased_stamp = $1", days_ago(91))
    done = run(database, "prune", "--older-than", "90d")
    assert done.stdout.endswith(": 1 cart removed\n")
    assert cart_ids(database) == set()


def test_all_of_a_customer_goes_and_their_orders_lead_to_nobody(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "ERASE_AT_ONCE", 2)
    opened = [stored_cart(database, 1, "a", "b", **owned("anna", 1)) for _ in range(3)]
    bought = [
        stored_cart(database, 1, "a", **owned("anna", 1, purchased=True, next_cart_id=opened[0], closed_stamp=5))
        for _ in range(3)
    ]
    guest = stored_cart(database, 0, next_cart_id=bought[0])
    undone = stored_cart(database, 0, **owned("anna", 1, next_cart_id=opened[1]))
    orders = [stored_order(database, cart_id, "anna", key=f"key {cart_id}") for cart_id in bought]
    failed = stored_order(database, opened[0], "anna", status="failed", key="x")
    stranger = stored_cart(database, 1, "a", **owned("annabel", 1, purchased=True, next_cart_id=opened[2]))
    stranger_open = stored_cart(database, 1, "a", **owned("annabel", 1))
    database.fetch("UPDATE carts SET next_cart_id = $2 WHERE id = $1", stranger, stranger_open)
    stranger_order = stored_order(database, stranger, "annabel")
    before = everything(database)

    assert erase(database, "--customer", "anna") == "8 carts, 9 items, 9 reservations, 4 orders"

    after = everything(database)
    assert "anna" not in {row.get("customer") for rows in after.values() for row in rows}
    for cart_id in (*opened, guest, undone):
        assert cart_row(database, cart_id) == NOBODY
    (pseudonym,) = {str(row["customer"]) for row in after["orders"] if str(row["id"]) in orders}
    assert re.fullmatch(r"erased-[0-9a-f-]{36}", pseudonym)
    (nobodys,) = cart_ids(database) - {str(row["id"]) for row in before["carts"]}
    for cart_id in bought:
        row = cart_row(database, cart_id)
        assert (row["customer"], row["purchased"], row["next_cart_id"]) == (pseudonym, True, nobodys)
    assert all(erased_stamp(database, cart_id) for cart_id in (*opened, *bought, guest, undone))
    for old, new in zip(
        [row for row in before["orders"] if str(row["id"]) in orders],
        [row for row in after["orders"] if str(row["id"]) in orders],
        strict=True,
    ):
        changed = {
            "customer": pseudonym,
            "idempotency_key": str(old["id"]),
            "payment_method": "erased",
            "updated_at": new["updated_at"],
        }
        assert new == old | changed
    assert {str(row["id"]) for row in after["orders"]} == {*orders, stranger_order}
    assert {str(row["order_id"]) for row in after["order_lines"]} == {*orders, stranger_order}
    assert failed not in orders
    assert set(database.items(stranger)) == set(database.items(stranger_open)) == {"a"}
    assert database.fetch("SELECT customer FROM orders WHERE id = $1", stranger_order) == [{"customer": "annabel"}]

    assert erase(database, "--customer", "anna") == "nothing"
    assert everything(database) == after


def test_nothing_happens_unless_it_is_confirmed(database: Database) -> None:
    cart_id = stored_cart(database, 1, "a", **owned("anna", 1))
    before = everything(database)
    for whose in (["--cart", cart_id], ["--customer", "anna"]):
        for answer in ("n\n", ""):
            done = run(database, "erase", *whose, answer=answer)
            assert done.exit_code == 1
            assert "1 cart, 1 item, 1 reservation. Erase that for good?" in done.stderr
            assert everything(database) == before
    done = run(database, "erase", "--cart", cart_id, answer="y\n")
    assert (done.exit_code, done.stdout) == (0, f"cart {cart_id}: 1 cart, 1 item, 1 reservation erased\n")


@pytest.mark.parametrize("command", ["erase", "export"])
@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ([], "name one of --cart and --customer"),
        (["--cart", str(uuid.uuid4()), "--customer", "anna"], "name one of --cart and --customer"),
        (["--cart", "anna"], "Invalid value for --cart: must be a UUID; got 'anna'"),
        (["--customer", ""], "Invalid value for --customer: must be printable text"),
    ],
    ids=["none", "both", "no-uuid", "empty"],
)
def test_what_is_not_named_well_is_refused(command: str, arguments: list[str], rule: str) -> None:
    done = run(Database("postgresql://nobody@127.0.0.1:1/nothing"), command, *arguments)
    assert done.exit_code == 2
    assert rule in done.stderr


def test_the_dead_letters_go_too_and_damaged_journals_are_named(database: Database, tmp_path: Path) -> None:
    erased, other = new_cart_id(), stored_cart(database, 1)
    for number, cart_id in enumerate((erased, other, erased)):
        folder = tmp_path / "workers" / f"{number % 2:04}"
        folder.mkdir(parents=True, exist_ok=True)
        DeadLetters(folder).bury((CartId(cart_id), f"sku-{number}"), Item.written(1, "A", None, None), "bad")
    damaged = tmp_path / "workers" / "0001" / "0000000001-00000001.corrupt"
    damaged.touch()
    done = run(database, "erase", "--cart", erased, "--yes", data_dir=tmp_path)
    assert done.stdout == f"cart {erased}: 2 dead letters erased\n"
    assert done.stderr.startswith(f"{damaged} is a damaged journal that was kept")
    left = [letter.key[0] for folder in sorted(tmp_path.glob("workers/*")) for letter in DeadLetters(folder).all()]
    assert left == [other]


def test_while_dead_letters_are_sent_again_nothing_is_erased(database: Database, tmp_path: Path) -> None:
    cart_id = stored_cart(database, 1, "a")
    folder = tmp_path / "workers" / "0000"
    folder.mkdir(parents=True)
    before = everything(database)
    with DeadLetters(folder).taken():
        done = run(database, "erase", "--cart", cart_id, "--yes", data_dir=tmp_path)
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "somebody else is sending the dead letters again" in done.stderr
    assert everything(database) == before


def test_stamps_that_run_ahead_of_the_clock_are_erased_too(database: Database, tmp_path: Path) -> None:
    """As after the clock was turned back: those that are stored, and those that this machine has given out."""
    cart_id = stored_cart(database, -1, "from tomorrow")
    assert erase(database, "--cart", cart_id) == "1 cart, 1 item, 1 reservation"
    assert days_ago(-0.99) < erased_stamp(database, cart_id) < days_ago(-1)
    folder = tmp_path / "workers" / "0003"
    folder.mkdir(parents=True)
    save_stamp(SystemFiles(), folder, days_ago(-2), durably=True)
    assert erase(database, "--cart", cart_id, data_dir=tmp_path) == "nothing"
    assert days_ago(-1.99) < erased_stamp(database, cart_id) < days_ago(-2)


def test_an_erasing_waits_for_who_has_the_cart(database: Database) -> None:
    cart_id = stored_cart(database, 1, "a")
    with ThreadPoolExecutor() as pool:
        with transaction(database.url, f"SELECT FROM carts WHERE id = '{cart_id}' FOR KEY SHARE"):
            erasing = pool.submit(erase, database, "--cart", cart_id)
            wait_for_lock(database, erasing)
        assert erasing.result(60) == "1 cart, 1 item, 1 reservation"


@pytest.fixture
def mugs(shared_database: Database) -> Iterator[None]:
    sell(shared_database, "mug")
    yield
    shared_database.fetch("DELETE FROM products")


@pytest.mark.usefixtures("mugs")
def test_a_customer_who_is_erased_can_begin_anew_with_the_same_cookie(
    tracker: Tracker, shared_database: Database, provider: Provider
) -> None:
    anna = new_shopper(tracker, provider)
    guest = cart_of(tracker.post_item({"external_id": "guest's", "quantity": 1}))
    shared_database.wait_for_items(guest)
    assert anna.claim(guest).json()["cart_id"] == guest
    assert anna.put(guest, "mug", quantity=2).status_code == 204
    shared_database.fetch("DELETE FROM items WHERE external_id = $1", "guest's")
    order = anna.check_out(guest, cookie_cart=guest).json()
    following = order["next_cart_id"]
    assert anna.put(following, "lamp", quantity=1).status_code == 204

    assert erase(shared_database, "--customer", anna.subject) == "2 carts, 2 items, 1 order"

    assert anna.carts() == []
    assert anna.call("GET", f"/orders/{order['order_id']}").status_code == 404
    assert anna.call("GET", f"/carts/{following}").status_code == 404
    (paid,) = shared_database.fetch("SELECT status, total FROM orders WHERE id = $1", order["order_id"])
    assert paid == {"status": "paid", "total": 1000}
    assert tracker.get_items(following) == []
    tracker.post_item({"external_id": "new", "quantity": 3}, following).raise_for_status()
    shared_database.wait_for_items(following)
    assert anna.claim(following).json() == {"cart_id": following}
    assert anna.quantities(following) == {"new": 3}
    # What still comes for the one that was bought must not find its way to them.
    tracker.post_item({"external_id": "late"}, guest).raise_for_status()
    late = "SELECT 1 FROM items WHERE external_id = 'late'"
    wait_until(lambda: shared_database.fetch(late))
    assert anna.quantities(following) == {"new": 3}
    assert anna.claim(guest).status_code == 404


@pytest.mark.usefixtures("mugs")
def test_a_payment_that_fails_after_its_customer_was_erased_leads_to_nobody(
    tracker: Tracker, shared_database: Database, provider: Provider
) -> None:
    anna = new_shopper(tracker, provider)
    cart_id = anna.cart_with(mug=2)
    answer = anna.check_out(cart_id, "times-out-unpaid")
    assert answer.status_code == 202, answer.text
    order_id = answer.json()["order_id"]
    assert erase(shared_database, "--customer", anna.subject) == "2 carts, 1 item, 1 order"
    settle_now(shared_database)
    status = "SELECT status FROM orders WHERE id = $1"
    wait_until(lambda: shared_database.fetch(status, order_id)[0]["status"] == "failed")
    assert anna.carts() == []
    assert shared_database.items(cart_id) == {}


def test_a_cart_that_more_were_merged_into_than_a_statement_has_parameters_is_erased(database: Database) -> None:
    target = stored_cart(database, 1, "a", **owned("anna", 1))
    merged = (
        "INSERT INTO carts (id, next_cart_id, closed_stamp) SELECT gen_random_uuid(), $1, 1 FROM generate_series(1, $2)"
    )
    database.fetch(merged, target, 33_000)
    done = run(database, "erase", "--customer", "anna", "--yes")
    assert (done.exit_code, database.items(target)) == (0, {}), done.output

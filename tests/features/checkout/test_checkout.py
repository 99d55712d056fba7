"""A cart becomes an order, with the sandbox as the payment processor."""

import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.conftest import Database, StartTracker, Tracker, cart_of
from tests.support.oidc import Provider
from tests.support.parts import transaction
from tests.support.reservations import reservation_service
from tests.support.shopper import Shopper, new_shopper, sell, settle_now
from tests.support.waiting import wait_until
from tracker.features.checkout.service import PAYMENT_TIMEOUT_S


@pytest.fixture(scope="module")
def catalog(shared_database: Database) -> Iterator[None]:
    sell(shared_database, "mug", price=1250)
    sell(shared_database, "pen", price=99)
    sell(shared_database, "gone", active=False)
    sell(shared_database, "free", price=0)
    sell(shared_database, "dollar", currency="USD")
    sell(shared_database, "dear", price=2**62)
    yield
    shared_database.fetch("DELETE FROM products")


@pytest.fixture
def anna(tracker: Tracker, provider: Provider, catalog: None) -> Shopper:
    del catalog
    return new_shopper(tracker, provider)


def orders(database: Database, cart_id: str) -> list[dict[str, Any]]:
    return database.fetch("SELECT * FROM orders WHERE cart_id = $1 ORDER BY created_at", cart_id)


def test_a_cart_is_bought_at_the_prices_of_the_catalog(anna: Shopper) -> None:
    cart_id = anna.cart_with(mug=2, pen=3)
    answer = anna.check_out(cart_id, cookie_cart=cart_id)
    assert answer.status_code == 200, answer.text
    order = answer.json()
    assert (order["status"], order["cart_id"], order["total"], order["currency"]) == ("paid", cart_id, 2797, "EUR")
    assert order["lines"] == [
        {"product_id": "mug", "title": "The mug", "item_type": "gift", "price": 1250, "quantity": 2},
        {"product_id": "pen", "title": "The pen", "item_type": "gift", "price": 99, "quantity": 3},
    ]
    assert order["reason"] is None
    assert answer.headers["location"] == f"/orders/{order['order_id']}"
    assert anna.call("GET", answer.headers["location"]).json() == order
    assert anna.carts("?purchased=true") == [cart_id]
    assert anna.call("GET", f"/carts/{cart_id}").json()["purchased"] is True
    assert cart_of(answer) == order["next_cart_id"]
    assert anna.carts("?purchased=false") == [order["next_cart_id"]]


def test_an_order_stays_as_it_was_bought(anna: Shopper, shared_database: Database) -> None:
    sell(shared_database, "changing", price=99)
    order = anna.check_out(anna.cart_with(changing=1)).json()
    sell(shared_database, "changing", price=5, active=False)
    assert anna.call("GET", f"/orders/{order['order_id']}").json()["lines"][0]["price"] == 99


def test_a_browser_with_another_cart_keeps_it(anna: Shopper) -> None:
    answer = anna.check_out(anna.cart_with(pen=1), cookie_cart=str(uuid.uuid4()))
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers


def test_what_comes_for_a_bought_cart_goes_into_the_next_one(anna: Shopper, tracker: Tracker) -> None:
    cart_id = anna.cart_with(pen=1)
    order = anna.check_out(cart_id).json()
    assert tracker.post_item({"external_id": "mug", "quantity": 4}, cart_id).status_code == 204
    wait_until(lambda: anna.quantities(order["next_cart_id"]) == {"mug": 4})
    assert anna.quantities(cart_id) == {"pen": 1}
    assert {item["product_id"] for item in tracker.get_items(cart_id)} == {"pen"}
    for answer in (anna.put(cart_id, "pen", quantity=9), anna.call("DELETE", f"/carts/{cart_id}/items/pen")):
        assert answer.status_code == 409
    assert anna.call("GET", f"/orders/{order['order_id']}").json() == order


@pytest.mark.parametrize(
    ("items", "reason"),
    [
        ({}, "empty"),
        ({"mug": 0}, "empty"),
        ({"mug": 1, "gone": 1}, "gone"),
        ({"unheard-of": 1}, "unheard-of"),
        ({"mug": 1, "dollar": 1}, "several currencies: EUR, USD"),
        ({"dear": 2}, "at most 9223372036854775807 cents"),
        ({f"sku-{number}": 1 for number in range(25)}, "sku-19 and 5 more"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_cart_that_cannot_be_bought_is_a_conflict_that_says_why(
    anna: Shopper, shared_database: Database, items: dict[str, int], reason: str
) -> None:
    cart_id = anna.cart_with(**items)
    answer = anna.check_out(cart_id)
    assert answer.status_code == 409, answer.text
    assert reason in answer.json()["detail"]
    assert orders(shared_database, cart_id) == []
    assert anna.carts("?purchased=false") == [cart_id]


def test_a_cart_of_more_products_than_an_order_may_have_is_a_conflict(anna: Shopper, shared_database: Database) -> None:
    cart_id = anna.create_cart()
    insert = "INSERT INTO items (cart_id, external_id, added_stamp)"
    shared_database.fetch(f"{insert} SELECT $1, n::text, n FROM generate_series(1, 1001) n", cart_id)
    answer = anna.check_out(cart_id)
    assert (answer.status_code, "1001 products" in answer.json()["detail"]) == (409, True)


def test_a_cart_that_is_not_the_customers_is_a_conflict(anna: Shopper, tracker: Tracker, provider: Provider) -> None:
    of_bert = new_shopper(tracker, provider).cart_with(pen=1)
    of_a_guest = str(uuid.uuid4())
    tracker.post_item({"external_id": "pen"}, of_a_guest)
    answers = [anna.check_out(cart_id) for cart_id in (of_bert, of_a_guest, str(uuid.uuid4()), "nonsense")]
    assert {answer.status_code for answer in answers} == {409}
    assert len({answer.json()["detail"] for answer in answers}) == 1, "an answer may not tell which carts there are"


def test_a_bought_cart_cannot_be_bought_again(anna: Shopper) -> None:
    cart_id = anna.cart_with(pen=1)
    assert anna.check_out(cart_id).status_code == 200
    answer = anna.check_out(cart_id)
    assert (answer.status_code, answer.json()["detail"]) == (409, "this cart is purchased already")


@pytest.mark.parametrize(
    ("headers", "body", "status", "field"),
    [
        ({}, {"payment_method": "accepted"}, 400, "Idempotency-Key"),
        ({"Idempotency-Key": ""}, {"payment_method": "accepted"}, 400, "Idempotency-Key"),
        ({"Idempotency-Key": "a b"}, {"payment_method": "accepted"}, 400, "Idempotency-Key"),
        ({"Idempotency-Key": "x" * 256}, {"payment_method": "accepted"}, 400, "Idempotency-Key"),
        ({"Idempotency-Key": "k"}, {}, 400, "payment_method"),
        ({"Idempotency-Key": "k"}, {"payment_method": 5}, 400, "payment_method"),
        ({"Idempotency-Key": "k"}, {"payment_method": ""}, 400, "payment_method"),
        ({"Idempotency-Key": "k"}, {"payment_method": "ä"}, 400, "payment_method"),
        ({"Idempotency-Key": "k"}, {"payment_method": "accepted\n"}, 400, "payment_method"),
    ],
)
def test_a_bad_checkout_is_named(
    anna: Shopper, headers: dict[str, str], body: dict[str, object], status: int, field: str
) -> None:
    cart_id = anna.cart_with(pen=1)
    answer = anna.call("POST", f"/carts/{cart_id}/checkout", body, headers=headers)
    assert (answer.status_code, answer.json().get("field")) == (status, field), answer.text
    assert anna.carts("?purchased=false") == [cart_id]


def test_a_refused_payment_leaves_the_cart_open(anna: Shopper, tracker: Tracker, shared_database: Database) -> None:
    cart_id = anna.cart_with(pen=1)
    answer = anna.check_out(cart_id, "refused", cookie_cart=cart_id)
    assert answer.status_code == 402
    assert "refuse" in answer.json()["detail"]
    assert "set-cookie" not in answer.headers
    assert anna.carts() == anna.carts("?purchased=false") == [cart_id]
    tracker.post_item({"external_id": "mug"}, cart_id)
    assert anna.quantities(cart_id) == {"pen": 1, "mug": 1}
    assert anna.check_out(cart_id).json()["total"] == 1349
    assert [order["status"] for order in orders(shared_database, cart_id)] == ["failed", "paid"]


@pytest.mark.parametrize(("method", "status"), [("accepted", 200), ("refused", 402)])
def test_the_same_key_gives_the_same_answer(anna: Shopper, shared_database: Database, method: str, status: int) -> None:
    cart_id = anna.cart_with(pen=1)
    answers = [anna.check_out(cart_id, method, key="same") for _ in range(3)]
    assert {answer.status_code for answer in answers} == {status}
    assert len({answer.text for answer in answers}) == 1
    assert len(orders(shared_database, cart_id)) == 1


def test_the_same_key_gives_the_same_answer_after_the_next_cart_was_bought_too(anna: Shopper) -> None:
    first = anna.cart_with(pen=1)
    answer = anna.check_out(first, key="first")
    second = answer.json()["next_cart_id"]
    anna.put(second, "pen", quantity=1)
    assert anna.check_out(second).status_code == 200
    assert anna.check_out(first, key="first").text == answer.text


def test_a_conflict_uses_no_key_up(anna: Shopper) -> None:
    cart_id = anna.create_cart()
    assert anna.check_out(cart_id, key="k").status_code == 409
    anna.put(cart_id, "pen", quantity=1)
    assert anna.check_out(cart_id, key="k").status_code == 200


def test_a_browser_without_a_cart_gets_the_next_one(anna: Shopper) -> None:
    answer = anna.check_out(anna.cart_with(pen=1))
    assert cart_of(answer) == answer.json()["next_cart_id"]


def test_what_was_answered_under_an_older_cookie_is_bought_too(anna: Shopper, tracker: Tracker) -> None:
    for _ in range(5):
        cart_id, guest = anna.cart_with(pen=1), str(uuid.uuid4())
        assert anna.claim(guest).json()["cart_id"] == cart_id
        tracker.post_item({"external_id": "mug", "quantity": 5}, guest)
        lines = anna.check_out(cart_id).json()["lines"]
        assert {line["product_id"]: line["quantity"] for line in lines} == {"pen": 1, "mug": 5}


def test_a_key_of_another_checkout_is_refused(anna: Shopper) -> None:
    first, second = anna.cart_with(pen=1), anna.cart_with(pen=1)
    assert anna.check_out(first, key="k").status_code == 200
    assert anna.check_out(second, key="k").status_code == 422
    assert anna.check_out(first, "refused", key="k").status_code == 422
    assert anna.check_out(second, key="k2").status_code == 200


def test_keys_of_two_customers_have_nothing_to_do_with_each_other(
    anna: Shopper, tracker: Tracker, provider: Provider
) -> None:
    bert = new_shopper(tracker, provider)
    for shopper in (anna, bert):
        assert shopper.check_out(shopper.cart_with(pen=1), key="k").status_code == 200


def test_an_order_of_somebody_else_is_not_found(anna: Shopper, tracker: Tracker, provider: Provider) -> None:
    order_id = anna.check_out(anna.cart_with(pen=1)).json()["order_id"]
    bert = new_shopper(tracker, provider)
    for unknown in (order_id, str(uuid.uuid4()), "nonsense"):
        assert bert.call("GET", f"/orders/{unknown}").status_code == 404


def test_what_costs_nothing_is_not_asked_of_the_processor(anna: Shopper) -> None:
    assert anna.check_out(anna.cart_with(free=1), "refused").json()["status"] == "paid"


def test_fifty_checkouts_of_one_cart_at_once_make_one_order(anna: Shopper, shared_database: Database) -> None:
    cart_id = anna.cart_with(pen=1)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: anna.check_out(cart_id), range(50)))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 49
    assert [order["status"] for order in orders(shared_database, cart_id)] == ["paid"]


def test_fifty_checkouts_of_one_cart_with_one_key_get_one_answer(anna: Shopper, shared_database: Database) -> None:
    cart_id = anna.cart_with(pen=1)
    with ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(lambda _: anna.check_out(cart_id, key="k"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert len(orders(shared_database, cart_id)) == 1


def test_one_key_for_many_carts_at_once_buys_one_of_them(anna: Shopper) -> None:
    cart_ids = [anna.cart_with(pen=1) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda cart_id: anna.check_out(cart_id, key="k"), cart_ids))
    assert sorted(answer.status_code for answer in answers) == [200] + [422] * 7
    assert len(anna.carts("?purchased=true")) == 1
    assert len(anna.carts("?purchased=false")) == 8


def test_adds_during_a_checkout_are_bought_or_in_the_next_cart(
    anna: Shopper, tracker: Tracker, shared_database: Database
) -> None:
    added = [f"add-{number}" for number in range(30)]
    sell(shared_database, *added)
    for _ in range(3):
        cart_id = anna.cart_with(pen=1)
        with ThreadPoolExecutor(8) as pool:
            adds = [pool.submit(tracker.post_item, {"external_id": sku}, cart_id) for sku in added]
            bought = pool.submit(anna.check_out, cart_id)
            assert {add.result().status_code for add in adds} == {204}
        order = bought.result().json()
        lines = {line["product_id"] for line in order["lines"]}
        if len(lines) <= len(added):
            shared_database.wait_for_items(order["next_cart_id"], 1 + len(added) - len(lines))
        assert set(anna.quantities(order["next_cart_id"])) == {*added, "pen"} - lines
        assert set(anna.quantities(cart_id)) == lines


def test_a_cart_that_is_locked_for_too_long_is_unavailable(anna: Shopper, shared_database: Database) -> None:
    cart_id = anna.cart_with(pen=1)
    with transaction(shared_database.url, f"SELECT FROM carts WHERE id = '{cart_id}' FOR UPDATE"):
        answer = anna.check_out(cart_id, key="k")
        assert answer.status_code == 503
        assert "retry-after" in answer.headers
    assert anna.check_out(cart_id, key="k").status_code == 200


def test_without_a_processor_nobody_can_buy(
    start_tracker: StartTracker, database: Database, provider: Provider
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, **provider.env()})
    anna = new_shopper(tracker, provider)
    answer = anna.check_out(anna.create_cart())
    assert answer.status_code == 501
    assert "TRACKER_PAYMENT" in answer.json()["detail"]


def test_the_reservations_follow_the_items(start_tracker: StartTracker, database: Database, provider: Provider) -> None:
    sell(database, "pen")
    with reservation_service() as service:
        env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url, "TRACKER_PAYMENT": "sandbox"}
        tracker = start_tracker(env=env | provider.env())
        anna = new_shopper(tracker, provider)
        guest = str(uuid.uuid4())
        for product_id in ("pen", "both"):
            tracker.post_items({"product_id": product_id, "quantity": 2}, guest)
        cart_id = anna.cart_with(both=1)
        wait_until(lambda: set(all_statuses(database).values()) == {"reserved"})
        before = database.fetch("SELECT key FROM reservations WHERE external_id = 'pen'")
        assert anna.claim(guest).json()["cart_id"] == cart_id
        wait_until(lambda: {row["reservation_status"] for row in anna.items(cart_id).values()} == {"reserved"})
        assert database.fetch("SELECT key FROM reservations WHERE external_id = 'pen'") == before
        assert {one for cart, one in all_statuses(database) if cart == cart_id} == {"pen", "both"}
        assert all_statuses(database)[guest, "both"] == "canceled"

        # A refusal brings back what came meanwhile, with its reservation.
        anna.call("DELETE", f"/carts/{cart_id}/items/both")
        assert anna.check_out(cart_id, "times-out-unpaid").status_code == 202
        tracker.post_item({"external_id": "late"}, cart_id)
        wait_until(lambda: "late" in {one for _, one in all_statuses(database)})
        settle_now(database)
        wait_until(lambda: all_statuses(database).get((cart_id, "late")) == "reserved")


def all_statuses(database: Database) -> dict[tuple[str, str], str]:
    rows = database.fetch("SELECT cart_id::text, external_id, status FROM reservations")
    return {(row["cart_id"], row["external_id"]): row["status"] for row in rows}


def test_what_put_was_answered_for_is_bought_by_another_process(
    start_tracker: StartTracker, database: Database, provider: Provider
) -> None:
    sell(database, "pen", "mug")
    env = {"DATABASE_URL": database.url, "TRACKER_PAYMENT": "sandbox", **provider.env()}
    one, other = (start_tracker(env={**env, "TRACKER_FLUSH_INTERVAL_MS": "1000"}) for _ in range(2))
    anna = new_shopper(one, provider)
    cart_id = anna.cart_with(pen=1, mug=2)
    anna.tracker = other
    lines = anna.check_out(cart_id).json()["lines"]
    assert [(line["product_id"], line["quantity"]) for line in lines] == [("pen", 1), ("mug", 2)]


def test_a_repeat_that_comes_when_no_checkout_can_be_under_way_does_not_wait(
    anna: Shopper, shared_database: Database
) -> None:
    cart_id = anna.cart_with(pen=1)
    order = anna.check_out(cart_id, "times-out-paid", key="late").json()
    shared_database.fetch("UPDATE orders SET created_at = now() - interval '1 hour' WHERE id = $1", order["order_id"])
    started = time.monotonic()
    again = anna.check_out(cart_id, "times-out-paid", key="late")
    assert (again.status_code, again.json()["order_id"]) == (202, order["order_id"])
    assert time.monotonic() - started < PAYMENT_TIMEOUT_S / 2

"""POST and GET /items through a real server."""

import uuid

import pytest

from tests.conftest import Database, StartTracker, Tracker, cart_of, cookie
from tests.support.waiting import wait_until

PATHS = ["/items", "/api/v1/items"]


def new_cart() -> str:
    return str(uuid.uuid4())


@pytest.mark.parametrize("path", PATHS)
def test_the_answer_names_the_cart_and_sets_its_cookie(tracker: Tracker, path: str) -> None:
    answer = tracker.client.post(path, json={"product_id": "sku-1", "name": "Mug", "price": 1250})
    assert answer.status_code == 200
    assert answer.json() == {"cart_id": cart_of(answer)}
    assert uuid.UUID(cart_of(answer)).version == 4


def test_the_cookie_comes_before_the_body(tracker: Tracker) -> None:
    in_cookie, in_body = new_cart(), new_cart()
    answer = tracker.post_items({"product_id": "a", "cart_id": in_body}, in_cookie)
    assert answer.json() == {"cart_id": in_cookie}
    assert cart_of(answer) == in_cookie


@pytest.mark.parametrize("bad_cookie", [None, "nonsense"])
def test_the_body_names_the_cart_when_no_cookie_does(tracker: Tracker, bad_cookie: str | None) -> None:
    in_body = new_cart()
    answer = tracker.post_items({"product_id": "a", "cart_id": in_body.upper()}, bad_cookie)
    assert answer.json() == {"cart_id": in_body}
    assert cart_of(answer) == in_body


@pytest.mark.parametrize("bad", ["nonsense", 5, None, ["x"], {"a": 1}, "", True])
def test_an_invalid_cart_id_in_the_body_is_passed_over(tracker: Tracker, bad: object) -> None:
    answer = tracker.post_items({"product_id": "a", "cart_id": bad})
    assert answer.status_code == 200
    assert uuid.UUID(answer.json()["cart_id"]).version == 4


def test_a_product_is_stored_under_its_id_and_updated(tracker: Tracker, shared_database: Database) -> None:
    cart_id = tracker.post_items({"product_id": "sku-1", "name": "Mug", "price": 1250}).json()["cart_id"]
    tracker.post_items({"product_id": "sku-1", "price": 1300, "quantity": 4}, cart_id)
    tracker.post_items({"product_id": "sku-2"}, cart_id)
    rows = shared_database.wait_for_items(cart_id, 2)
    assert (rows["sku-1"]["name"], rows["sku-1"]["value"], rows["sku-1"]["quantity"]) == ("Mug", 1300, 4)


def test_a_name_with_a_quantity_identifies_the_item(tracker: Tracker) -> None:
    cart_id = tracker.post_items({"name": "laptop", "quantity": 1}).json()["cart_id"]
    tracker.post_items({"name": "laptop", "quantity": 2}, cart_id)
    items = tracker.get_items(cart_id)
    assert [(item["product_id"], item["name"], item["quantity"]) for item in items] == [("laptop", "laptop", 2)]


@pytest.mark.parametrize("body", [{}, {"name": "a"}, {"quantity": 1}, {"price": 1}])
def test_without_product_id_or_name_and_quantity_it_is_400(tracker: Tracker, body: dict[str, object]) -> None:
    answer = tracker.post_items(body)
    assert answer.status_code == 400
    assert answer.json()["field"] == "product_id"


@pytest.mark.parametrize("path", PATHS)
def test_a_cart_is_shown_in_the_order_in_which_items_were_first_added(tracker: Tracker, path: str) -> None:
    cart_id = new_cart()
    for product in ["c", "a", "b"]:
        tracker.post_items({"product_id": product, "name": product.upper(), "price": 5}, cart_id)
    tracker.post_items({"product_id": "a", "quantity": 2}, cart_id)
    answer = tracker.client.get(path, headers=cookie(cart_id)).json()
    assert answer["cart_id"] == cart_id
    assert [(item["product_id"], item["quantity"]) for item in answer["items"]] == [("c", 1), ("a", 2), ("b", 1)]
    shown = {"product_id", "name", "price", "quantity", "updated_at", "reservation_id", "reservation_status"}
    assert set(answer["items"][0]) == shown
    assert answer["items"][1]["updated_at"] > answer["items"][2]["updated_at"]


def test_a_cart_is_shown_by_the_query_when_no_cookie_names_one(tracker: Tracker) -> None:
    cart_id = tracker.post_items({"product_id": "a"}).json()["cart_id"]
    shown = tracker.client.get("/items", params={"cart_id": cart_id}).json()
    assert (shown["cart_id"], len(shown["items"])) == (cart_id, 1)


def test_the_cookie_comes_before_the_query(tracker: Tracker) -> None:
    cart_id = tracker.post_items({"product_id": "a"}).json()["cart_id"]
    shown = tracker.client.get("/items", params={"cart_id": new_cart()}, headers=cookie(cart_id)).json()
    assert shown["cart_id"] == cart_id


@pytest.mark.parametrize("query", [{}, {"cart_id": "nonsense"}, {"cart_id": ""}])
def test_without_a_cart_there_are_no_items(tracker: Tracker, query: dict[str, str]) -> None:
    answer = tracker.client.get("/items", params=query)
    assert (answer.status_code, answer.json()) == (200, {"cart_id": None, "items": []})


def test_a_cart_never_seen_is_empty(tracker: Tracker) -> None:
    cart_id = new_cart()
    assert tracker.client.get("/items", params={"cart_id": cart_id}).json() == {"cart_id": cart_id, "items": []}


def test_quantity_0_removes_an_item_until_a_quantity_brings_it_back(
    tracker: Tracker, shared_database: Database
) -> None:
    cart_id = tracker.post_items({"product_id": "a", "quantity": 2}).json()["cart_id"]
    tracker.post_items({"product_id": "b", "quantity": 2}, cart_id)
    tracker.post_item({"external_id": "a", "quantity": 0}, cart_id)
    assert [item["product_id"] for item in tracker.get_items(cart_id)] == ["b"]
    wait_until(lambda: shared_database.wait_for_items(cart_id, 2)["a"]["quantity"] == 0)
    tracker.post_item({"external_id": "a", "quantity": 1}, cart_id)
    assert [item["product_id"] for item in tracker.get_items(cart_id)] == ["a", "b"]


def test_what_was_just_accepted_is_shown_before_postgresql_has_it(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "10000"})
    cart_id = tracker.post_items({"product_id": "a", "name": "first", "quantity": 2}).json()["cart_id"]
    tracker.post_items({"product_id": "a", "name": "second"}, cart_id)
    assert database.items(cart_id) == {}
    shown = tracker.get_items(cart_id)
    assert [(item["product_id"], item["name"], item["quantity"]) for item in shown] == [("a", "second", 2)]


def test_what_was_just_accepted_is_shown_merged_with_what_is_stored(
    start_tracker: StartTracker, database: Database
) -> None:
    first = start_tracker(env={"DATABASE_URL": database.url})
    cart_id = first.post_items({"product_id": "a", "name": "Mug", "price": 5, "quantity": 2}).json()["cart_id"]
    first.post_items({"product_id": "b"}, cart_id)
    database.wait_for_items(cart_id, 2)
    slow = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "10000"})
    slow.post_items({"product_id": "a", "quantity": 7}, cart_id)
    slow.post_items({"product_id": "b", "quantity": 0}, cart_id)
    slow.post_items({"product_id": "c"}, cart_id)
    shown = slow.get_items(cart_id)
    assert [(item["product_id"], item["name"], item["price"], item["quantity"]) for item in shown] == [
        ("a", "Mug", 5, 7),
        ("c", None, None, 1),
    ]

"""A customer creates carts, finds them, changes them, and takes over the one they had as a guest."""

import asyncio
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import pytest

from tests.conftest import Database, StartTracker, Tracker, cart_of, cookie
from tests.support.oidc import Provider
from tests.support.parts import wait_for_lock
from tests.support.shopper import Shopper, new_shopper
from tests.support.waiting import wait_until
from tracker.features.customer_carts import service as customer_service
from tracker.ingest.items import CartId
from tracker.postgres.engine import create_engine


@pytest.fixture
def anna(tracker: Tracker, provider: Provider) -> Shopper:
    return new_shopper(tracker, provider)


@pytest.fixture
def bert(tracker: Tracker, provider: Provider) -> Shopper:
    return new_shopper(tracker, provider)


def guest_cart(tracker: Tracker, **quantities: int) -> str:
    cart_id = str(uuid.uuid4())
    for product_id, quantity in quantities.items():
        answer = tracker.post_items({"product_id": product_id, "name": product_id, "quantity": quantity}, cart_id)
        assert answer.status_code == 200
    return cart_id


def test_a_new_cart_is_found_and_kept_by_the_browser(anna: Shopper) -> None:
    answer = anna.call("POST", "/carts")
    assert answer.status_code == 201
    cart_id = answer.json()["cart_id"]
    assert cart_of(answer) == cart_id
    assert answer.headers["location"] == f"/carts/{cart_id}"
    assert anna.carts("?purchased=false") == anna.carts() == [cart_id]
    assert anna.carts("?purchased=true") == []
    shown = anna.call("GET", f"/carts/{cart_id}").json()
    assert (shown["cart_id"], shown["purchased"], shown["items"]) == (cart_id, False, [])
    assert datetime.fromisoformat(shown["created_at"]).tzinfo is not None


def test_carts_are_paged_newest_first(anna: Shopper) -> None:
    created = [anna.create_cart() for _ in range(5)][::-1]
    first = anna.call("GET", "/carts?limit=2").json()
    assert [cart["cart_id"] for cart in first["carts"]] == created[:2]
    assert anna.carts(f"?limit=2&after={first['next']}") == created[2:4]
    last = anna.call("GET", f"/carts?limit=2&after={created[3]}").json()
    assert [cart["cart_id"] for cart in last["carts"]] == created[4:]
    assert last["next"] is None
    assert anna.call("GET", "/carts?limit=5").json()["next"] is None


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("purchased=maybe", "purchased"),
        ("after=nonsense", "after"),
        ("purchase=false", "purchase"),
        ("purchased=true&purchased=false", "purchased"),
        ("after=%ff", "after"),
        ("after=7d9f5f0e-1111-4222-8333-444455556666", "after"),
    ],
)
def test_a_bad_parameter_is_named(anna: Shopper, query: str, field: str) -> None:
    answer = anna.call("GET", f"/carts?{query}")
    assert answer.status_code == 400
    assert answer.json()["field"] == field


def test_a_cart_of_somebody_else_is_not_even_a_place_to_start_from(anna: Shopper, bert: Shopper) -> None:
    answer = bert.call("GET", f"/carts?after={anna.create_cart()}")
    assert (answer.status_code, answer.json()["field"]) == (400, "after")


def test_items_are_put_changed_and_removed(anna: Shopper) -> None:
    cart_id = anna.create_cart()
    assert anna.put(cart_id, "mug", name="Mug", price=1250).status_code == 204
    assert anna.put(cart_id, "pen", quantity=3).status_code == 204
    assert anna.put(cart_id, "mug", quantity=2).status_code == 204
    mug = anna.items(cart_id)["mug"]
    assert (mug["name"], mug["price"], mug["quantity"]) == ("Mug", 1250, 2)
    for _ in range(2):
        assert anna.call("DELETE", f"/carts/{cart_id}/items/mug").status_code == 204
    assert anna.quantities(cart_id) == {"pen": 3}


def test_a_customers_cart_goes_on_by_its_cookie_alone(anna: Shopper, tracker: Tracker) -> None:
    cart_id = anna.create_cart()
    assert tracker.post_item({"external_id": "a"}, cart_id).status_code == 204
    assert anna.quantities(cart_id) == {"a": 1}
    assert [item["product_id"] for item in tracker.get_items(cart_id)] == ["a"]


@pytest.mark.parametrize("external_id", ["a/b", "/a//b/", "ä ö", "?x=1&y", "%2F", "..", "x" * 255])
def test_any_id_of_an_item_may_stand_in_the_path(anna: Shopper, external_id: str) -> None:
    cart_id = anna.create_cart()
    quoted = "".join(f"%{byte:02X}" for byte in external_id.encode())
    assert anna.put(cart_id, quoted, quantity=2).status_code == 204
    assert anna.quantities(cart_id) == {external_id: 2}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("a", {"quantity": -1}, "quantity"),
        ("a", {"price": "5"}, "price"),
        ("a", {"name": "x" * 2049}, "name"),
        ("a%00", {}, "external_id"),
        ("%ff", {}, "external_id"),
        ("x" * 256, {}, "external_id"),
    ],
)
def test_a_bad_item_is_named(anna: Shopper, path: str, body: dict[str, object], field: str) -> None:
    answer = anna.put(anna.create_cart(), path, **body)
    assert answer.status_code == 400, answer.text
    assert answer.json()["field"] == field


def test_a_cart_of_somebody_else_is_not_found(anna: Shopper, bert: Shopper, tracker: Tracker) -> None:
    of_anna = anna.create_cart()
    of_a_guest = guest_cart(tracker, a=1)
    for cart_id in (of_anna, of_a_guest, str(uuid.uuid4()), "nonsense"):
        assert bert.call("GET", f"/carts/{cart_id}").status_code == 404
        assert bert.put(cart_id, "a", quantity=5).status_code == 404
        assert bert.call("DELETE", f"/carts/{cart_id}/items/a").status_code == 404
    assert anna.quantities(of_anna) == {}


def test_nobody_has_no_carts(tracker: Tracker) -> None:
    for method, path in (("POST", "/carts"), ("POST", "/carts/claim"), ("GET", "/carts"), ("GET", "/carts/x")):
        answer = tracker.client.request(method, path)
        assert answer.status_code == 401
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_a_guests_cart_becomes_the_customers(anna: Shopper, tracker: Tracker) -> None:
    guest = guest_cart(tracker, a=1, b=2)
    for _ in range(2):
        answer = anna.claim(guest)
        assert (answer.status_code, answer.json()) == (200, {"cart_id": guest})
        assert cart_of(answer) == guest
    assert anna.carts() == [guest]
    assert anna.quantities(guest) == {"a": 1, "b": 2}


def test_a_guests_items_are_merged_into_the_outstanding_cart_each_once(
    anna: Shopper, tracker: Tracker, shared_database: Database
) -> None:
    cart_id = anna.create_cart()
    anna.put(cart_id, "older-there", quantity=1)
    anna.put(cart_id, "only-there", quantity=4)
    guest = guest_cart(tracker, **{"older-there": 7, "newer-there": 7, "only-here": 2})
    tracker.post_items({"product_id": "removed-here", "quantity": 0}, guest)
    anna.put(cart_id, "newer-there", quantity=3)
    for _ in range(2):
        answer = anna.claim(guest)
        assert (answer.status_code, answer.json()) == (200, {"cart_id": cart_id})
        assert cart_of(answer) == cart_id
    assert anna.quantities(cart_id) == {"older-there": 7, "only-there": 4, "newer-there": 3, "only-here": 2}
    assert anna.carts() == [cart_id]
    assert shared_database.items(guest) == {}


def test_what_comes_late_for_a_merged_cart_goes_to_the_customers_and_its_cookie_shows_nothing_of_that(
    anna: Shopper, tracker: Tracker
) -> None:
    cart_id = anna.create_cart()
    guest = guest_cart(tracker, a=1)
    anna.claim(guest)
    assert tracker.post_item({"external_id": "late"}, guest).status_code == 204
    wait_until(lambda: anna.quantities(cart_id) == {"a": 1, "late": 1})
    assert tracker.client.get("/items", headers=cookie(guest)).json() == {"cart_id": guest, "items": []}


def test_a_claim_without_a_cookie_gives_the_outstanding_cart_or_a_new_one(anna: Shopper) -> None:
    first = anna.claim(None).json()["cart_id"]
    assert anna.claim(None).json()["cart_id"] == first
    assert anna.carts() == [first]


def test_a_cookie_that_nothing_was_stored_for_can_be_claimed(anna: Shopper, tracker: Tracker) -> None:
    unknown = str(uuid.uuid4())
    assert anna.claim(unknown).json()["cart_id"] == unknown
    tracker.post_item({"external_id": "a"}, unknown)
    assert anna.quantities(unknown) == {"a": 1}


def test_a_cart_of_somebody_else_cannot_be_claimed(anna: Shopper, bert: Shopper) -> None:
    cart_id = anna.create_cart()
    assert bert.claim(cart_id).status_code == 404
    assert anna.carts() == [cart_id]
    assert bert.carts() == []


def test_adds_during_a_claim_end_up_in_the_cart_that_was_claimed_into(
    anna: Shopper, tracker: Tracker, shared_database: Database
) -> None:
    for round_ in range(5):
        cart_id = anna.create_cart()
        guest = guest_cart(tracker, first=1)
        with ThreadPoolExecutor(8) as pool:
            adds = [pool.submit(tracker.post_item, {"external_id": f"sku-{n}"}, guest) for n in range(40)]
            claims = [pool.submit(anna.claim, guest) for _ in range(4)]
            assert {add.result().status_code for add in adds} == {204}
            assert {claim.result().json()["cart_id"] for claim in claims} == {cart_id}, round_
        stored = shared_database.wait_for_items(cart_id, 41)
        assert set(stored) == {"first", *(f"sku-{n}" for n in range(40))}
        assert shared_database.items(guest) == {}


def test_a_claim_that_meets_a_purchase_goes_into_the_next_cart(
    anna: Shopper, tracker: Tracker, shared_database: Database
) -> None:
    cart_id, guest = anna.cart_with(pen=1), guest_cart(tracker, a=1)
    shared_database.wait_for_items(guest)

    async def claim_during_a_purchase() -> str:
        engine = create_engine(shared_database.url)
        try:
            async with engine.begin() as connection:
                await customer_service.lock(connection, CartId(cart_id))
                claim = asyncio.create_task(asyncio.to_thread(anna.claim, guest))
                await asyncio.to_thread(wait_for_lock, shared_database, claim)
                next_cart_id = await customer_service.purchase(connection, CartId(cart_id), anna.subject, 2**62)
            assert (await claim).json() == {"cart_id": next_cart_id}
        finally:
            await engine.dispose()
        return next_cart_id

    next_cart_id = asyncio.run(claim_during_a_purchase())
    assert set(shared_database.items(cart_id)) == {"pen"}
    assert set(shared_database.items(next_cart_id)) == {"a"}


def test_of_two_customers_who_claim_one_cart_one_gets_it(tracker: Tracker, provider: Provider) -> None:
    for of_each in (0, 1):
        anna, bert = (new_shopper(tracker, provider) for _ in range(2))
        for shopper in (anna, bert):
            for _ in range(of_each):
                shopper.create_cart()
        guest = guest_cart(tracker, a=1)
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda shopper: shopper.claim(guest).status_code, (anna, bert)))  # noqa: B023  # within the round
        assert sorted(answers) == [200, 404]


def test_claims_at_once_leave_one_open_cart(anna: Shopper, tracker: Tracker) -> None:
    guests = [guest_cart(tracker, a=1) for _ in range(4)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(anna.claim, [*guests, None, None, None, None]))
    assert {answer.status_code for answer in answers} == {200}
    assert len(anna.carts("?purchased=false")) == 1


def test_carts_of_one_moment_are_paged_each_once(anna: Shopper, shared_database: Database) -> None:
    created = [anna.create_cart() for _ in range(5)]
    shared_database.fetch("UPDATE carts SET owned_at = '2026-01-01' WHERE customer = $1", anna.subject)
    found = anna.carts("?limit=2")
    found += anna.carts(f"?limit=2&after={found[-1]}")
    found += anna.carts(f"?limit=2&after={found[-1]}")
    assert found == sorted(created, reverse=True)


def test_a_claim_shows_what_the_guest_was_just_answered_for(
    start_tracker: StartTracker, database: Database, provider: Provider
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "1000", **provider.env()})
    anna = new_shopper(tracker, provider)
    cart_id = anna.cart_with(pen=1)
    guest = guest_cart(tracker, mug=2)
    assert anna.claim(guest).json()["cart_id"] == cart_id
    assert anna.quantities(cart_id) == {"pen": 1, "mug": 2}

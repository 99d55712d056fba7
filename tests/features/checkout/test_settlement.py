"""Whatever becomes of a payment, the order ends once, and its cart with it."""

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.conftest import Database, Tracker, cart_of
from tests.support.data_lifecycle import owned, stored_cart, stored_order
from tests.support.oidc import Provider
from tests.support.parts import WAITS_FOR_LOCK, new_flusher, new_intake, wait_for_lock
from tests.support.shopper import Shopper, new_shopper, sell, settle_now
from tests.support.waiting import wait_until
from tracker.features.carts.batch_writer import BatchWriter, FollowUp
from tracker.features.carts.domain import new_cart_id
from tracker.features.carts.store import Written
from tracker.features.checkout import store
from tracker.features.checkout.domain import Order, Status
from tracker.features.checkout.jobs import Settler, settle_later
from tracker.features.checkout.metrics import OrderCounts
from tracker.features.checkout.payments.protocol import Charge, Notice, Outcome, Paid, Pending, Refused
from tracker.features.checkout.payments.sandbox import SandboxProcessor
from tracker.features.checkout.service import Checkout, settle
from tracker.features.customer_carts import store as customer_store
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.items import CartId, Item
from tracker.jobs.handler import TryAgainError
from tracker.kit.clock import Stamper, SystemClock
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.engine import create_engine
from tracker.postgres.request_database import RequestDatabase


@pytest.fixture(scope="module")
def catalog(shared_database: Database) -> Iterator[None]:
    sell(shared_database, "mug", price=1250)
    sell(shared_database, "pen", price=99)
    yield
    shared_database.fetch("DELETE FROM products")


@pytest.fixture
def anna(tracker: Tracker, provider: Provider, catalog: None) -> Shopper:
    del catalog
    return new_shopper(tracker, provider)


def settled(database: Database, order_id: str, *outcomes: Outcome) -> Order:
    """Settle an order by each of the outcomes, one after the other."""

    async def run() -> Order:
        engine = create_engine(database.url)
        try:
            for outcome in outcomes:
                async with engine.begin() as connection:
                    order = await settle(connection, order_id, outcome, None, OrderCounts())
        finally:
            await engine.dispose()
        return order

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("method", "status", "code"), [("times-out-paid", "paid", 200), ("times-out-unpaid", "failed", 402)]
)
def test_a_payment_without_an_answer_is_settled_by_a_job(
    anna: Shopper, tracker: Tracker, shared_database: Database, method: str, status: str, code: int
) -> None:
    cart_id = anna.cart_with(pen=1)
    answer = anna.check_out(cart_id, method, key="k")
    assert (answer.status_code, answer.json()["status"]) == (202, "paying")
    assert "retry-after" in answer.headers
    assert anna.carts("?purchased=true") == [cart_id]
    tracker.post_item({"external_id": "mug"}, cart_id)
    next_cart_id = answer.json()["next_cart_id"]
    wait_until(lambda: anna.quantities(next_cart_id) == {"mug": 1})
    settle_now(shared_database)
    location = answer.headers["location"]
    wait_until(lambda: anna.call("GET", location).json()["status"] == status)
    again = anna.check_out(cart_id, method, key="k")
    assert again.status_code == code
    if status == "failed":
        assert anna.carts() == [cart_id], "its place in the list, and no other cart"
        assert anna.quantities(cart_id) == {"pen": 1, "mug": 1}
        assert anna.check_out(cart_id).json()["total"] == 1349
    else:
        assert anna.quantities(cart_id) == {"pen": 1}
        assert anna.carts("?purchased=false") == [next_cart_id]


def test_a_refusal_does_not_take_back_what_was_bought_meanwhile(
    anna: Shopper, tracker: Tracker, shared_database: Database
) -> None:
    first = anna.cart_with(pen=1)
    order = anna.check_out(first, "times-out-unpaid").json()
    second = order["next_cart_id"]
    tracker.post_item({"external_id": "mug"}, first)
    wait_until(lambda: anna.quantities(second) == {"mug": 1})
    assert anna.check_out(second).json()["total"] == 1250
    settle_now(shared_database)
    wait_until(lambda: anna.call("GET", f"/orders/{order['order_id']}").json()["status"] == "failed")
    assert anna.carts("?purchased=true") == [second]
    assert anna.quantities(second) == {"mug": 1}
    assert anna.quantities(first) == {"pen": 1}
    assert anna.check_out(first).json()["total"] == 99


def test_a_payment_that_begins_while_the_job_gives_the_order_up_is_not_called_refused(
    anna: Shopper, shared_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    order_id = anna.check_out(anna.cart_with(pen=1), "times-out-paid").json()["order_id"]
    shared_database.fetch("DELETE FROM pgqueuer WHERE payload = $1", order_id.encode())
    shared_database.fetch("UPDATE orders SET payment_id = NULL WHERE id = $1", order_id)
    find = store.find

    async def find_then_begin(connection: AsyncConnection, wanted: str) -> Order | None:
        order = await find(connection, wanted)
        note = "UPDATE orders SET payment_id = $2 WHERE id = $1"
        await asyncio.to_thread(shared_database.fetch, note, order_id, f"sandbox:times-out-paid:{order_id}")
        return order

    async def settle() -> None:
        engine = create_engine(shared_database.url)
        try:
            await Settler(engine, SandboxProcessor(), None).settle(order_id.encode())
        finally:
            await engine.dispose()

    monkeypatch.setattr(store, "find", find_then_begin)
    with pytest.raises(TryAgainError):
        asyncio.run(settle())
    monkeypatch.undo()
    assert anna.call("GET", f"/orders/{order_id}").json()["status"] == "paying"
    asyncio.run(settle())
    assert anna.call("GET", f"/orders/{order_id}").json()["status"] == "paid"


def test_nothing_leaves_paid(anna: Shopper, shared_database: Database) -> None:
    order = anna.check_out(anna.cart_with(pen=1)).json()
    assert settled(shared_database, order["order_id"], Refused("late")).status is Status.PAID
    assert anna.carts("?purchased=true") == [order["cart_id"]]


def test_nothing_leaves_failed_and_a_charge_after_it_is_an_error_in_the_log(
    anna: Shopper, shared_database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    order = anna.check_out(anna.cart_with(pen=1), "times-out-unpaid").json()
    end = settled(shared_database, order["order_id"], Refused("first"), Refused("second"), Paid())
    assert (end.status, end.reason) == (Status.FAILED, "first")
    assert "pay it back" in caplog.text
    assert anna.carts() == [order["cart_id"]]


def test_of_two_who_settle_at_once_the_first_decides(anna: Shopper, shared_database: Database) -> None:
    order = anna.check_out(anna.cart_with(pen=1), "times-out-paid").json()

    async def settle_as(engine: AsyncEngine, outcome: Outcome) -> Status:
        async with engine.begin() as connection:
            return (await settle(connection, order["order_id"], outcome, None, OrderCounts())).status

    async def both() -> list[Status]:
        engine = create_engine(shared_database.url, pool_size=3)
        try:
            async with engine.begin() as connection:
                await store.lock(connection, order["order_id"])
                tasks = [asyncio.create_task(settle_as(engine, outcome)) for outcome in (Refused("no"), Paid())]
                await asyncio.to_thread(wait_until, lambda: len(shared_database.fetch(WAITS_FOR_LOCK)) >= len(tasks))
            return list(await asyncio.gather(*tasks))
        finally:
            await engine.dispose()

    first, second = asyncio.run(both())
    assert first is second
    assert (anna.carts("?purchased=true") == [order["cart_id"]]) == (first is Status.PAID)


def test_a_free_order_that_was_interrupted_is_paid(anna: Shopper, shared_database: Database) -> None:
    order_id = anna.check_out(anna.cart_with(pen=1), "times-out-paid").json()["order_id"]
    shared_database.fetch("UPDATE orders SET total = 0, payment_id = NULL WHERE id = $1", order_id)
    settle_now(shared_database)
    wait_until(lambda: anna.order(order_id)["status"] == "paid")


def test_an_order_of_another_processor_waits_for_that(anna: Shopper, shared_database: Database) -> None:
    order_id = anna.check_out(anna.cart_with(pen=1), "times-out-paid").json()["order_id"]
    shared_database.fetch("UPDATE orders SET processor = 'stripe' WHERE id = $1", order_id)
    settle_now(shared_database)
    later = "SELECT 1 FROM pgqueuer WHERE payload = $1 AND execute_after > now() + interval '250 s'"
    wait_until(lambda: shared_database.fetch(later, order_id.encode()))
    assert anna.order(order_id)["status"] == "paying"


def test_a_payment_that_the_processor_does_not_know_of_yet_is_asked_for_again(
    anna: Shopper, shared_database: Database
) -> None:
    class Undecided(SandboxProcessor):
        async def conclude(self, payment_id: str) -> Outcome:
            del payment_id
            return Pending()

    order_id = anna.check_out(anna.cart_with(pen=1), "times-out-paid").json()["order_id"]
    shared_database.fetch("DELETE FROM pgqueuer WHERE payload = $1", order_id.encode())

    async def settle() -> None:
        engine = create_engine(shared_database.url)
        try:
            await Settler(engine, Undecided(), None).settle(order_id.encode())
        finally:
            await engine.dispose()

    with pytest.raises(TryAgainError, match="does not know yet"):
        asyncio.run(settle())
    assert anna.order(order_id)["status"] == "paying"


def test_a_browser_whose_order_is_paid_later_gets_its_new_cart_when_it_looks(
    anna: Shopper, shared_database: Database
) -> None:
    cart_id = anna.cart_with(pen=1)
    answer = anna.check_out(cart_id, "times-out-paid", cookie_cart=cart_id)
    order, path = answer.json(), answer.headers["location"]
    assert (answer.status_code, "set-cookie" in answer.headers) == (202, False)
    assert "set-cookie" not in anna.call("GET", path, cart_id=cart_id).headers
    settle_now(shared_database)
    wait_until(lambda: anna.order(order["order_id"])["status"] == "paid")
    assert cart_of(anna.call("GET", path, cart_id=cart_id)) == order["next_cart_id"]
    for other in (None, anna.create_cart()):
        assert "set-cookie" not in anna.call("GET", path, cart_id=other).headers
    anna.put(order["next_cart_id"], "mug", quantity=1)
    following = anna.check_out(order["next_cart_id"]).json()["next_cart_id"]
    assert cart_of(anna.call("GET", path, cart_id=cart_id)) == following  # the one before it is bought too


def test_the_next_cart_of_a_refused_order_leads_back(anna: Shopper, shared_database: Database) -> None:
    first = anna.cart_with(pen=1)
    order = anna.check_out(first, "times-out-unpaid", cookie_cart=first).json()
    second = order["next_cart_id"]
    anna.put(second, "mug", quantity=1)
    settle_now(shared_database)
    wait_until(lambda: anna.order(order["order_id"])["status"] == "failed")
    assert "set-cookie" not in anna.call("GET", f"/orders/{order['order_id']}", cart_id=first).headers
    assert anna.call("GET", f"/carts/{second}").json()["cart_id"] == first
    assert anna.quantities(second) == {"pen": 1, "mug": 1}
    assert anna.put(second, "pen", quantity=5).status_code == 204
    assert anna.quantities(first) == {"pen": 5, "mug": 1}
    refused = anna.check_out(second)
    assert (refused.status_code, first in refused.json()["detail"]) == (409, True)


@pytest.mark.parametrize("by", ["answer", "webhook"])
def test_who_hears_of_a_refusal_brings_the_reservations_back_too(database: Database, by: str) -> None:
    sell(database, "pen")
    moved: list[tuple[CartId, CartId, list[str]]] = []

    async def note_written(_: AsyncConnection, written: Sequence[Written], traces: ItemTraces) -> None:
        del written, traces

    async def note_moved(_: AsyncConnection, source: CartId, target: CartId, changed: Sequence[Written]) -> None:
        moved.append((source, target, [external_id for _, external_id, _ in changed]))

    async def scenario() -> None:
        engine = create_engine(database.url, pool_size=3)
        cart_id = new_cart_id()

        class Late(SandboxProcessor):
            async def confirm(self, payment_id: str, charge: Charge) -> Outcome:
                del payment_id, charge
                await BatchWriter(engine).write({(cart_id, "late"): Item.written(2**61, None, None, 1)})
                return Refused("no") if by == "answer" else Pending()

            def parse_webhook(self, payload: bytes, signature: str) -> Notice | None:
                del signature
                return Notice(payload.decode(), f"sandbox:accepted:{payload.decode()}", Refused("no"))

        try:
            async with engine.begin() as connection:
                await customer_store.create(connection, cart_id, "anna")
            await BatchWriter(engine).write({(cart_id, "pen"): Item.written(1, None, None, 1)})
            aggregator, timeouts = Aggregator(1_000_000), RequestTimeouts()
            intake, stamper = new_intake(aggregator, new_flusher(aggregator)), Stamper(SystemClock(), 0)
            follow_up = FollowUp(note_written, note_moved)
            database_of_requests = RequestDatabase(engine, timeouts)
            checkout = Checkout(
                database_of_requests, timeouts, intake, stamper, Late(), settle_later=settle_later, follow_up=follow_up
            )
            found = await checkout.check_out("anna", cart_id, "accepted", "k")
            if by == "webhook":
                assert found.order.status is Status.PAYING
                await checkout.handle_webhook(found.order.id.encode(), "")
            assert moved == [(found.next_cart_id, cart_id, ["late"])]
            assert (await asyncio.to_thread(database.items, cart_id)).keys() == {"pen", "late"}
        finally:
            await engine.dispose()

    asyncio.run(scenario())


def test_a_refusal_that_meets_an_erasing_touches_no_cart_of_the_customers(database: Database) -> None:
    following = stored_cart(database, 0, "late", **owned("anna", 0))
    bought = stored_cart(database, 0, "mug", **owned("anna", 0, purchased=True, next_cart_id=following, closed_stamp=1))
    order_id = stored_order(database, bought, "anna", status="paying")
    nobodys = new_cart_id()

    async def scenario() -> None:
        engine = create_engine(database.url, pool_size=3)

        async def refuse() -> None:
            async with engine.begin() as connection:
                await settle(connection, order_id, Refused("no"), None, OrderCounts())

        try:
            async with engine.begin() as connection:
                await customer_store.lock(connection, {bought})
                refusal = asyncio.create_task(refuse())
                await asyncio.to_thread(wait_for_lock, database, refusal)
                await customer_store.create(connection, nobodys, "erased-1")
                await customer_store.give_purchased(connection, [bought], "erased-1", nobodys, 5)
            await refusal
        finally:
            await engine.dispose()

    asyncio.run(scenario())
    carts = {row["id"]: row for row in database.fetch("SELECT id::text, customer, next_cart_id FROM carts")}
    assert (carts[following]["customer"], carts[following]["next_cart_id"]) == ("anna", None)
    assert database.items(following).keys() == {"late"}

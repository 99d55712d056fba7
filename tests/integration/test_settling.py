"""Whatever becomes of a payment, the order ends once, and its cart with it."""

import asyncio
from collections.abc import Iterator

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tests.conftest import Database, Tracker
from tests.oidc import Provider
from tests.parts import WAITS_FOR_LOCK
from tests.reservations import wait_until
from tests.store import Shopper, new_shopper, sell, settle_now
from tracker.checkout import store
from tracker.checkout.domain import Order, OrderCounts, Status
from tracker.checkout.payments.protocol import Outcome, Paid, Refused
from tracker.checkout.payments.sandbox import SandboxProcessor
from tracker.checkout.service import settle
from tracker.checkout.settling import Settler
from tracker.db.engine import create_engine
from tracker.jobs.runner import TryAgainError


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
                while len(await asyncio.to_thread(shared_database.fetch, WAITS_FOR_LOCK)) < len(tasks):  # noqa: ASYNC110  # of PostgreSQL
                    await asyncio.sleep(0.01)
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

"""A checkout that is paid through Stripe."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import Database, Tracker, copied, starter
from tests.support.oidc import Provider
from tests.support.parts import new_flusher, new_intake
from tests.support.shopper import Shopper, new_shopper, sell, settle_now
from tests.support.stripe_api import ACCEPTED, CONFIRM, CREATE, DECLINED, WEBHOOK_SECRET, StripeAPI, stripe_api
from tests.support.stripe_service import Rule
from tests.support.waiting import wait_until
from tracker.errors import DatabaseUnavailableError
from tracker.features.checkout import service
from tracker.features.checkout.domain import Order, Status
from tracker.features.checkout.jobs import settle_later
from tracker.features.checkout.payments import processor_of
from tracker.features.checkout.service import Checkout, SettleLater
from tracker.features.checkout.settings import CheckoutSettings
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.items import CartId
from tracker.kit.clock import Stamper, SystemClock
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.engine import create_engine
from tracker.postgres.request_database import RequestDatabase
from tracker.settings import read_group


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeAPI]:
    with stripe_api() as api:
        yield api


@pytest.fixture(scope="module")
def store(server_url: str, template: str) -> Iterator[Database]:
    """A database of its own: the jobs of the shared one may be taken by a Tracker that pays otherwise."""
    for database in copied(server_url, template):
        sell(database, "mug", price=1250)
        yield database


@pytest.fixture(scope="module")
def paying(
    stripe: StripeAPI, store: Database, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracker]:
    for start in starter(tmp_path_factory.mktemp("tracker")):
        yield start(env={"DATABASE_URL": store.url, **provider.env(), **stripe.env})


@pytest.fixture
def anna(paying: Tracker, provider: Provider, stripe: StripeAPI) -> Iterator[Shopper]:
    yield new_shopper(paying, provider)
    stripe.obey()


def cart_with_a_mug(shopper: Shopper) -> str:
    cart_id = shopper.create_cart()
    shopper.put(cart_id, "mug")
    return cart_id


def test_a_customer_is_charged_once(anna: Shopper, stripe: StripeAPI) -> None:
    cart_id = cart_with_a_mug(anna)
    answers = [anna.check_out(cart_id, ACCEPTED, key="k") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    (charge,) = stripe.charges(answers[0].json()["order_id"])
    assert (charge["amount"], charge["currency"]) == (1250, "eur")


def test_a_declined_card_is_answered_with_stripes_reason(anna: Shopper, stripe: StripeAPI) -> None:
    cart_id = cart_with_a_mug(anna)
    answer = anna.check_out(cart_id, DECLINED)
    assert answer.status_code == 402
    assert "declined" in answer.json()["detail"]
    assert anna.carts("?purchased=false") == [cart_id]
    order = anna.check_out(cart_id, ACCEPTED).json()
    assert len(stripe.charges(order["order_id"])) == 1


def test_a_stripe_that_cannot_be_reached_leaves_the_cart_open(anna: Shopper, stripe: StripeAPI) -> None:
    cart_id = cart_with_a_mug(anna)
    stripe.obey(Rule(CREATE, "answer", status=500))
    answer = anna.check_out(cart_id, ACCEPTED)
    assert answer.status_code == 402
    assert "nothing was charged" in answer.json()["detail"]
    assert anna.carts("?purchased=false") == [cart_id]


def test_an_answer_that_is_lost_is_looked_up_by_the_job(anna: Shopper, stripe: StripeAPI, store: Database) -> None:
    stripe.obey(Rule(CONFIRM, "drop", "after"))
    answer = anna.check_out(cart_with_a_mug(anna), ACCEPTED)
    assert answer.status_code == 202, answer.text
    settle_now(store)
    wait_until(lambda: anna.call("GET", answer.headers["location"]).json()["status"] == "paid")
    assert len(stripe.charges(answer.json()["order_id"])) == 1


def test_a_webhook_settles_an_order_before_the_job_does(anna: Shopper, stripe: StripeAPI, paying: Tracker) -> None:
    stripe.send_webhooks_to(f"{paying.url}/payments/stripe")
    stripe.obey(Rule(CONFIRM, "drop", "after"))
    answer = anna.check_out(cart_with_a_mug(anna), ACCEPTED)
    assert answer.status_code in {200, 202}, answer.text  # it may come while the answer is still waited for
    wait_until(lambda: anna.call("GET", answer.headers["location"]).json()["status"] == "paid")


def test_an_order_that_was_given_up_before_its_payment_was_noted_is_never_charged(
    anna: Shopper, stripe: StripeAPI, store: Database
) -> None:
    cart_id = cart_with_a_mug(anna)
    stripe.obey(Rule(CREATE, "hold", "after"))
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(anna.check_out, cart_id, ACCEPTED)
        stripe.wait_until_held()
        settle_now(store)
        of_cart = "SELECT id::text, status FROM orders WHERE cart_id = $1"
        wait_until(lambda: store.fetch(of_cart, cart_id)[0]["status"] == "failed")
        stripe.obey()
        assert answer.result(60).status_code == 402
    assert stripe.charges(store.fetch(of_cart, cart_id)[0]["id"]) == []


def test_a_webhook_about_another_payment_settles_nothing(
    anna: Shopper, stripe: StripeAPI, store: Database, paying: Tracker
) -> None:
    stripe.obey(Rule(CONFIRM, "hold", "before"))
    cart_id = cart_with_a_mug(anna)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(anna.check_out, cart_id, ACCEPTED)
        stripe.wait_until_held()
        (order,) = store.fetch("SELECT id::text FROM orders WHERE cart_id = $1", cart_id)
        intent = {"id": "pi_other", "status": "succeeded", "metadata": {"tracker_order_id": order["id"]}}
        event = json.dumps({"type": "payment_intent.succeeded", "data": {"object": intent}})
        now = int(time.time())
        signature = hmac.new(WEBHOOK_SECRET.encode(), f"{now}.{event}".encode(), hashlib.sha256).hexdigest()
        headers = {"Stripe-Signature": f"t={now},v1={signature}"}
        assert paying.client.post("/payments/stripe", content=event, headers=headers).status_code == 204
        assert anna.order(order["id"])["status"] == "paying"
        stripe.obey()
        assert answer.result(60).status_code == 200


async def checked_out(
    store: Database, settings: CheckoutSettings, customer: str, cart_id: str, later: SettleLater
) -> Order:
    """Check out in this process."""
    engine, timeouts, aggregator = create_engine(store.url, pool_size=2), RequestTimeouts(), Aggregator(1_000_000)
    processor = processor_of(settings)
    assert processor is not None
    intake, stamper = new_intake(aggregator, new_flusher(aggregator)), Stamper(SystemClock(), 0)
    database = RequestDatabase(engine, timeouts)
    checkout = Checkout(database, timeouts, intake, stamper, processor, settle_later=later, follow_up=None)
    try:
        found = await checkout.check_out(customer, CartId(cart_id), ACCEPTED, "k")
    finally:
        await processor.close()
        await engine.dispose()
    return found.order


def test_a_payment_that_takes_too_long_leaves_the_order_paying(
    anna: Shopper, stripe: StripeAPI, store: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "PAYMENT_TIMEOUT_S", 0.5)
    cart_id = cart_with_a_mug(anna)
    stripe.obey(Rule(CONFIRM, "hold", "before"))
    order = asyncio.run(
        checked_out(store, read_group(stripe.env, CheckoutSettings), anna.subject, cart_id, settle_later)
    )
    assert order.status is Status.PAYING
    assert anna.carts("?purchased=true") == [cart_id]


def test_an_order_without_its_job_is_no_order(anna: Shopper, stripe: StripeAPI, store: Database) -> None:
    async def fails(connection: AsyncConnection, order_id: str) -> None:
        del connection, order_id
        raise OSError("the job cannot be written")

    cart_id = cart_with_a_mug(anna)
    with pytest.raises(DatabaseUnavailableError):
        asyncio.run(checked_out(store, read_group(stripe.env, CheckoutSettings), anna.subject, cart_id, fails))
    assert store.fetch("SELECT 1 FROM orders WHERE cart_id = $1", cart_id) == []
    assert anna.carts() == anna.carts("?purchased=false") == [cart_id]


@pytest.mark.parametrize("headers", [{}, {"Stripe-Signature": "t=1,v1=00"}, {"Stripe-Signature": "nonsense"}])
def test_a_webhook_that_stripe_has_not_signed_is_refused(paying: Tracker, headers: dict[str, str]) -> None:
    answer = paying.client.post("/payments/stripe", content=b'{"type": "payment_intent.succeeded"}', headers=headers)
    assert answer.status_code == 400

"""A Tracker that is killed between any two steps of a checkout charges once or not at all, and knows which."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

import httpx
import pytest

from tests.conftest import Database, StartTracker, Tracker
from tests.support.oidc import Provider
from tests.support.parts import transaction, wait_for_lock
from tests.support.shopper import new_shopper, sell, settle_now
from tests.support.stripe_api import ACCEPTED, CONFIRM, CREATE, StripeAPI, stripe_api
from tests.support.stripe_service import Rule
from tests.support.waiting import wait_until

KEY: Final = "the-one-checkout"


@pytest.fixture(scope="module")
def stripe() -> Iterator[StripeAPI]:
    with stripe_api() as api:
        yield api


@contextlib.contextmanager
def before_the_order_is_stored(_: StripeAPI, database: Database, cart_id: str) -> Iterator[Callable[[], None]]:
    with transaction(database.url, f"SELECT FROM carts WHERE id = '{cart_id}' FOR UPDATE"):
        yield lambda: wait_for_lock(database)


@contextlib.contextmanager
def before_the_payment_begins(stripe: StripeAPI, *_: object) -> Iterator[Callable[[], None]]:
    stripe.obey(Rule(CREATE, "hold", "before"))
    yield stripe.wait_until_held


@contextlib.contextmanager
def before_its_id_is_stored(stripe: StripeAPI, *_: object) -> Iterator[Callable[[], None]]:
    stripe.obey(Rule(CREATE, "hold", "after"))
    yield stripe.wait_until_held


@contextlib.contextmanager
def before_it_is_charged(stripe: StripeAPI, *_: object) -> Iterator[Callable[[], None]]:
    stripe.obey(Rule(CONFIRM, "hold", "before"))
    yield stripe.wait_until_held


@contextlib.contextmanager
def before_the_answer_comes(stripe: StripeAPI, *_: object) -> Iterator[Callable[[], None]]:
    stripe.obey(Rule(CONFIRM, "hold", "after"))
    yield stripe.wait_until_held


@contextlib.contextmanager
def before_the_order_is_settled(stripe: StripeAPI, database: Database, cart_id: str) -> Iterator[Callable[[], None]]:
    stripe.obey(Rule(CONFIRM, "hold", "after"))
    with contextlib.ExitStack() as stack:

        def wait() -> None:
            stripe.wait_until_held()
            lock = f"SELECT FROM orders WHERE cart_id = '{cart_id}' FOR UPDATE"
            stack.enter_context(transaction(database.url, lock))
            stripe.obey()
            wait_for_lock(database)

        yield wait


@pytest.mark.parametrize(
    ("moment", "end"),
    [
        (before_the_order_is_stored, None),
        (before_the_payment_begins, "failed"),
        (before_its_id_is_stored, "failed"),
        (before_it_is_charged, "failed"),
        (before_the_answer_comes, "paid"),
        (before_the_order_is_settled, "paid"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_kill_charges_once_or_not_at_all(  # fixtures
    start_tracker: StartTracker,
    database: Database,
    provider: Provider,
    stripe: StripeAPI,
    moment: Callable[[StripeAPI, Database, str], contextlib.AbstractContextManager[Callable[[], None]]],
    end: str | None,
) -> None:
    sell(database, "mug")
    env = {"DATABASE_URL": database.url, **provider.env(), **stripe.env}
    tracker = start_tracker(env=env)
    anna = new_shopper(tracker, provider)
    cart_id = anna.create_cart()
    anna.put(cart_id, "mug", quantity=2)
    database.wait_for_items(cart_id)
    with ThreadPoolExecutor(1) as pool:
        with moment(stripe, database, cart_id) as wait_for_it:
            answer: Future[httpx.Response] = pool.submit(anna.check_out, cart_id, ACCEPTED, key=KEY)
            wait_for_it()
            kill(tracker)
        assert isinstance(answer.exception(60), httpx.TransportError)

    anna.tracker = start_tracker(env=env)
    if end is None:
        assert database.fetch("SELECT FROM orders") == []
    else:
        (order,) = database.fetch("SELECT id::text, status FROM orders")
        assert order["status"] == "paying"
        settle_now(database)
        wait_until(lambda: database.fetch("SELECT status FROM orders")[0]["status"] == end)
        stripe.obey()  # what was held goes on, too late
        assert len(stripe.charges(order["id"])) == (end == "paid")
    again = anna.check_out(cart_id, ACCEPTED, key=KEY)
    assert again.status_code == (402 if end == "failed" else 200), again.text
    assert (anna.carts("?purchased=true") == [cart_id]) == (end != "failed")
    assert anna.quantities(cart_id) == {"mug": 2}
    # The journal was replayed: what was bought must not stand in the next cart as well.
    assert all(anna.quantities(other) == {} for other in anna.carts("?purchased=false") if other != cart_id)
    for order in database.fetch("SELECT id::text, status FROM orders"):
        assert len(stripe.charges(order["id"])) == (order["status"] == "paid")


def kill(tracker: Tracker) -> None:
    tracker.process.kill()
    tracker.process.wait()

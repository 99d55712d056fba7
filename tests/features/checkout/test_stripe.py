"""Stripe charges an order once or not at all, whatever gets lost on the way: through its own library, over HTTP."""

import asyncio
import http.server
import json
import queue
import threading
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.conftest import START_TIMEOUT_S
from tests.support.ports import free_port
from tests.support.stripe_api import (
    ACCEPTED,
    CANCEL,
    CONFIRM,
    CREATE,
    DECLINED,
    NEEDS_CUSTOMER,
    RETRIEVE,
    SECRET_KEY,
    WEBHOOK_SECRET,
    StripeAPI,
    stripe_api,
)
from tests.support.stripe_service import Rule
from tracker.features.checkout.payments import stripe as stripe_payments
from tracker.features.checkout.payments.protocol import (
    Charge,
    Notice,
    Paid,
    Pending,
    ProcessorUnavailableError,
    Refused,
)
from tracker.features.checkout.payments.stripe import NETWORK_RETRIES, StripeProcessor

CALLED_OFF = Refused("the payment did not come through in time and was called off")


@pytest.fixture(scope="module")
def shared_stripe() -> Iterator[StripeAPI]:
    with stripe_api() as api:
        yield api


@pytest.fixture
def stripe(shared_stripe: StripeAPI) -> StripeAPI:
    shared_stripe.obey()
    return shared_stripe


def charge(method: str = ACCEPTED, **fields: Any) -> Charge:  # noqa: ANN401  # those of Charge
    return Charge(**{"order_id": str(uuid.uuid4()), "total": 1999, "currency": "EUR", "method": method, **fields})


def run(
    test: Callable[[StripeProcessor], Awaitable[None]], url: str, *, key: str = SECRET_KEY, secret: str = WEBHOOK_SECRET
) -> None:
    async def main() -> None:
        processor = StripeProcessor(key, webhook_secret=secret, url=url)
        try:
            await test(processor)
        finally:
            await processor.close()

    asyncio.run(main())


async def begun(processor: StripeProcessor, wanted: Charge) -> str:
    payment_id = await processor.create_payment(wanted)
    assert isinstance(payment_id, str)
    return payment_id


def test_an_announced_payment_is_one_intent_that_charges_nothing(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        assert await begun(processor, wanted) == await begun(processor, wanted)
        (intent,) = stripe.intents(wanted.order_id)
        assert (intent["amount"], intent["currency"], intent["status"]) == (1999, "eur", "requires_confirmation")
        assert stripe.charges(wanted.order_id) == []

    run(test, stripe.url)


def test_a_confirmed_payment_is_charged_once_however_often_it_is_confirmed(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        assert await processor.confirm(payment_id, wanted) == Paid()
        assert await processor.confirm(payment_id, wanted) == Paid()
        assert await processor.conclude(payment_id) == Paid()
        (charged,) = stripe.charges(wanted.order_id)
        assert charged["amount"] == 1999

    run(test, stripe.url)


def test_a_payment_confirmed_again_after_stripe_forgot_the_key_is_paid(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        assert await processor.confirm(payment_id, wanted) == Paid()
        assert await processor.confirm(payment_id, charge()) == Paid()
        assert len(stripe.charges(wanted.order_id)) == 1

    run(test, stripe.url)


def test_a_declined_payment_is_refused_with_the_reason_of_stripe(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge(DECLINED)
        payment_id = await begun(processor, wanted)
        assert await processor.confirm(payment_id, wanted) == Refused("Your card was declined.")
        assert await processor.conclude(payment_id) == Refused("Your card was declined.")
        assert stripe.intents(wanted.order_id)[0]["status"] == "canceled"
        assert stripe.charges(wanted.order_id) == []

    run(test, stripe.url)


def test_a_payment_that_needs_the_customer_is_refused_for_that(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge(stripe.card(NEEDS_CUSTOMER))
        outcome = await processor.confirm(await begun(processor, wanted), wanted)
        assert isinstance(outcome, Refused)
        assert "use another payment method" in outcome.reason
        assert stripe.charges(wanted.order_id) == []

    run(test, stripe.url)


@pytest.mark.parametrize("method", ["pm_stranger", "cash", "", "pm_\0", "ä" * 300])
def test_an_unknown_payment_method_is_refused_by_name_or_called_off(stripe: StripeAPI, method: str) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge(method)
        outcome = await processor.create_payment(wanted)
        if isinstance(outcome, str):
            assert method == ""
            assert await processor.confirm(outcome, wanted) == CALLED_OFF
        else:
            assert "No such PaymentMethod" in outcome.reason
            assert "\0" not in outcome.reason

    run(test, stripe.url)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": "amount_too_large", "param": "amount", "message": "At most $999,999.99"}, "At most $999,999.99"),
        ({"param": "currency", "message": "Invalid currency: zzz"}, "the payment processor does not take this payment"),
    ],
)
def test_what_stripe_never_takes_is_a_refusal(stripe: StripeAPI, error: dict[str, str], reason: str) -> None:
    async def test(processor: StripeProcessor) -> None:
        body = json.dumps({"error": {"type": "invalid_request_error", **error}})
        stripe.obey(Rule(CREATE, "answer", status=400, body=body))
        assert await processor.create_payment(charge()) == Refused(reason)

    run(test, stripe.url)


@pytest.mark.parametrize("when", ["before", "after"])
def test_one_lost_message_goes_unnoticed(stripe: StripeAPI, when: Any) -> None:  # noqa: ANN401  # a literal
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        stripe.obey(Rule(CREATE, "drop", when, times=1), Rule(CONFIRM, "drop", when, times=1))
        payment_id = await begun(processor, wanted)
        assert await processor.confirm(payment_id, wanted) == Paid()
        assert len(stripe.intents(wanted.order_id)) == len(stripe.charges(wanted.order_id)) == 1
        assert stripe.calls().made[f"POST /v1/payment_intents/{payment_id}/confirm"] == 2

    run(test, stripe.url)


def test_an_announcement_whose_answer_is_lost_is_found_by_asking_again(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        stripe.obey(Rule(CREATE, "drop", "after"))
        with pytest.raises(ProcessorUnavailableError):
            await processor.create_payment(wanted)
        stripe.obey()
        payment_id = await begun(processor, wanted)
        assert [intent["id"] for intent in stripe.intents(wanted.order_id)] == [payment_id]

    run(test, stripe.url)


def test_a_charge_whose_answer_is_lost_is_pending_and_then_paid(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        stripe.obey(Rule(CONFIRM, "drop", "after"))
        assert await processor.confirm(payment_id, wanted) == Pending()
        assert await processor.conclude(payment_id) == Paid()
        assert len(stripe.charges(wanted.order_id)) == 1

    run(test, stripe.url)


def test_a_charge_that_comes_after_the_payment_was_called_off_charges_nothing(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        stripe.obey(Rule(CONFIRM, "hold"))
        late = asyncio.create_task(processor.confirm(payment_id, wanted))
        await asyncio.to_thread(stripe.wait_until_held)
        assert await processor.conclude(payment_id) == CALLED_OFF
        stripe.obey()
        assert await late == CALLED_OFF
        assert await processor.conclude(payment_id) == CALLED_OFF
        assert stripe.calls().executed[f"POST /v1/payment_intents/{payment_id}/confirm"] == 1
        assert stripe.charges(wanted.order_id) == []

    run(test, stripe.url)


def test_a_payment_charged_just_before_it_is_called_off_is_paid(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        stripe.obey(Rule(CANCEL, "hold"))
        settling = asyncio.create_task(processor.conclude(payment_id))
        await asyncio.to_thread(stripe.wait_until_held)
        assert await processor.confirm(payment_id, wanted) == Paid()
        stripe.obey()
        assert await settling == Paid()

    run(test, stripe.url)


def test_while_the_first_call_is_in_progress_the_second_is_pending(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        stripe.obey(Rule(CONFIRM, "hold", "during", times=1))
        first = asyncio.create_task(processor.confirm(payment_id, wanted))
        await asyncio.to_thread(stripe.wait_until_held)
        assert await processor.confirm(payment_id, wanted) == Pending()
        stripe.obey()
        assert await first == Paid()
        assert len(stripe.charges(wanted.order_id)) == 1

    run(test, stripe.url)


async def nothing_is_known(processor: StripeProcessor, payment_id: str, wanted: Charge) -> None:
    with pytest.raises(ProcessorUnavailableError):
        await processor.create_payment(charge())
    assert await processor.confirm(payment_id, wanted) == Pending()
    with pytest.raises(ProcessorUnavailableError):
        await processor.conclude(payment_id)


PROCESSING = json.dumps({"id": "pi_1", "object": "payment_intent", "status": "processing"})
LOCKED = json.dumps({"error": {"type": "invalid_request_error", "code": "lock_timeout", "message": "locked"}})
MISUSED = json.dumps({"error": {"type": "idempotency_error", "message": "another request used this key"}})


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, '{"error": {"type": "api_error"}}'),
        (503, "<html>overloaded</html>"),
        (429, '{"error": {"type": "invalid_request_error", "code": "rate_limit"}}'),
        (429, LOCKED),
        (400, MISUSED),
        (403, '{"error": {"type": "invalid_request_error", "message": "not with this key"}}'),
        (302, ""),
        (200, "<html>a proxy's</html>"),
        (200, ""),
        (200, "[]"),
        (200, "null"),
        (200, "{}"),
        (200, '{"id": 5}'),
        (200, '{"id": "pi_1\\u0000", "object": "payment_intent", "status": "succeeded"}'),
        (200, '{"id": "cus_1", "object": "customer"}'),
        (200, '{"error": "none"}'),
        (400, '{"error": {"code": 5}}'),
        (200, '{"a": ' * 900 + "1" + "}" * 900),
        (200, '{"a": ' + "[" * 50_000),
        (200, '{"object": "payment_intent", "id": "pi_1", "status": "succeeded", "a": "' + "x" * 2_000_000 + '"}'),
    ],
)
def test_what_says_nothing_is_not_taken_for_an_answer(
    stripe: StripeAPI, monkeypatch: pytest.MonkeyPatch, status: int, body: str
) -> None:
    monkeypatch.setattr(stripe_payments, "NETWORK_RETRIES", 0)

    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        stripe.obey(Rule("/v1/payment_intents", "answer", status=status, body=body))
        await nothing_is_known(processor, payment_id, wanted)
        stripe.obey()
        assert await processor.conclude(payment_id) == CALLED_OFF

    run(test, stripe.url)


def test_a_failing_stripe_is_asked_as_often_as_agreed(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        stripe.obey(Rule(CREATE, "answer", times=NETWORK_RETRIES))
        await begun(processor, charge())
        stripe.obey(Rule(CREATE, "answer", times=NETWORK_RETRIES + 1))
        with pytest.raises(ProcessorUnavailableError):
            await processor.create_payment(charge())

    run(test, stripe.url)


def test_a_payment_that_stripe_still_works_on_stays_pending(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        stripe.obey(Rule(f"{CONFIRM}|{RETRIEVE}", "answer", status=200, body=PROCESSING))
        assert await processor.confirm(payment_id, wanted) == Pending()
        assert await processor.conclude(payment_id) == Pending()

    run(test, stripe.url)


def test_a_wrong_key_makes_payments_unavailable_and_is_logged(
    stripe: StripeAPI, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(processor: StripeProcessor) -> None:
        await nothing_is_known(processor, "pi_1", charge())

    run(test, stripe.url, key="wrong")
    assert "TRACKER_STRIPE_SECRET_KEY" in caplog.text


def test_a_payment_of_another_account_is_not_taken_for_refused(stripe: StripeAPI) -> None:
    async def test(processor: StripeProcessor) -> None:
        with pytest.raises(ProcessorUnavailableError):
            await processor.conclude("pi_ofSomebodyElse")

    run(test, stripe.url)


def test_an_unreachable_stripe_is_not_waited_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_payments, "NETWORK_RETRIES", 1)

    async def test(processor: StripeProcessor) -> None:
        async with asyncio.timeout(START_TIMEOUT_S):
            await nothing_is_known(processor, "pi_1", charge())

    run(test, f"http://127.0.0.1:{free_port()}")


def test_a_slow_stripe_is_waited_for_only_so_long(stripe: StripeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        monkeypatch.setattr(stripe_payments, "CALL_TIMEOUT_S", 0.3)
        stripe.obey(Rule("/v1/payment_intents", "hold"))
        await nothing_is_known(processor, payment_id, wanted)

    run(test, stripe.url)


def test_nothing_goes_through_a_proxy_of_the_environment(stripe: StripeAPI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)

    async def test(processor: StripeProcessor) -> None:
        await begun(processor, charge())

    run(test, f"{stripe.url}/")


def test_the_webhook_of_a_payment_says_what_became_of_it(stripe: StripeAPI) -> None:
    received: queue.SimpleQueue[tuple[bytes, str]] = queue.SimpleQueue()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.put((body, self.headers["Stripe-Signature"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    async def test(processor: StripeProcessor) -> None:
        wanted = charge()
        payment_id = await begun(processor, wanted)
        assert await processor.confirm(payment_id, wanted) == Paid()
        told = None
        while told is None or told.order_id != wanted.order_id:  # those of the tests before are on their way too
            told = processor.parse_webhook(*await asyncio.to_thread(received.get, timeout=START_TIMEOUT_S))
        assert told == Notice(wanted.order_id, payment_id, Paid())

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.05])
        thread.start()
        try:
            stripe.send_webhooks_to(f"http://127.0.0.1:{server.server_port}/")
            run(test, stripe.url)
        finally:
            server.shutdown()
            thread.join()

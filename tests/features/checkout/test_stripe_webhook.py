"""A webhook counts only if Stripe has signed it lately, and only if it is about a payment of ours."""

import asyncio
import contextlib
import json
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import stripe

from tracker.errors import InvalidInputError, NotConfiguredError
from tracker.features.checkout.payments.protocol import Charge, Notice, Outcome, Paid, Refused
from tracker.features.checkout.payments.stripe import ORDER, StripeProcessor
from tracker.features.checkout.payments.stripe_signature import SIGNATURE_TOLERANCE_S

SECRET = "whsec_of_this_test"  # noqa: S105  # of this test alone
ORDER_ID = str(uuid.uuid4())


@pytest.fixture
def processor() -> Iterator[StripeProcessor]:
    processor = StripeProcessor("sk_test_x", webhook_secret=SECRET, url="http://127.0.0.1:1")
    yield processor
    asyncio.run(processor.close())


def event(kind: str, **fields: Any) -> str:  # noqa: ANN401  # those of an intent
    intent = {"id": "pi_1", "object": "payment_intent", "status": "any", "metadata": {ORDER: ORDER_ID}, **fields}
    return json.dumps({"id": "evt_1", "object": "event", "type": kind, "data": {"object": intent}})


def signed(payload: str, secret: str = SECRET, *, age_s: int = 0) -> str:
    header: str = stripe.WebhookSignature.generate_signature_header(payload, secret, timestamp=int(time.time()) - age_s)
    return header


@pytest.mark.parametrize(
    ("kind", "error", "outcome"),
    [
        ("payment_intent.succeeded", None, Paid()),
        ("payment_intent.payment_failed", {"code": "card_declined", "message": "No."}, Refused("No.")),
        ("payment_intent.canceled", None, Refused("the payment did not come through in time and was called off")),
    ],
)
def test_what_became_of_a_payment_is_told(
    processor: StripeProcessor, kind: str, error: object, outcome: Outcome
) -> None:
    payload = event(kind, last_payment_error=error)
    assert processor.parse_webhook(payload.encode(), signed(payload)) == Notice(ORDER_ID, "pi_1", outcome)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "payload",
    [
        event("payment_intent.created"),
        event("payment_intent.processing"),
        event("payment_intent.succeeded", metadata={}),
        event("payment_intent.succeeded", metadata={"order_id": ORDER_ID}),
        event("payment_intent.succeeded", metadata={ORDER: "4711"}),
        event("payment_intent.succeeded", metadata={ORDER: ORDER_ID + "\0"}),
        json.dumps({"type": "customer.created", "data": {"object": {"id": "cus_1"}}}),
        json.dumps({"type": "payout.paid", "data": {"object": []}}),
    ],
)
def test_what_is_not_about_a_payment_of_ours_says_nothing(processor: StripeProcessor, payload: str) -> None:
    assert processor.parse_webhook(payload.encode(), signed(payload)) is None


def test_every_other_signature_is_refused(processor: StripeProcessor) -> None:
    payload = event("payment_intent.succeeded")
    good = signed(payload)
    for forged in (
        "",
        "nonsense",
        "t=1",
        "t=now,v1=0",
        good[:-1] + ("1" if good[-1] == "0" else "0"),
        good.replace("v1=", "v0="),
        good.replace("t=", "t=9"),
        "t=1,v1=é",
        f"t={'9' * 5000},v1=0",
        signed(payload, "whsec_of_somebody_else"),
        signed(payload + " "),
        signed(payload, age_s=SIGNATURE_TOLERANCE_S + 60),
    ):
        with pytest.raises(InvalidInputError, match="Stripe-Signature must be"):
            processor.parse_webhook(payload.encode(), forged)
    assert processor.parse_webhook(payload.encode(), signed(payload, age_s=SIGNATURE_TOLERANCE_S - 60))


@pytest.mark.parametrize(
    "payload",
    [
        "",
        "[]",
        "null",
        "{",
        '{"type": "payment_intent.succeeded"}',
        '{"type": "payment_intent.succeeded", "data": {"object": null}}',
        '{"a": ' + "[" * 50_000,
        event("payment_intent.succeeded", id="pi_1\0"),
        event("payment_intent.succeeded", id="cus_1"),
        event("payment_intent.succeeded", metadata=[]),
    ],
)
def test_a_signed_body_that_is_no_event_is_refused(processor: StripeProcessor, payload: str) -> None:
    with pytest.raises(InvalidInputError, match="event of Stripe"):
        processor.parse_webhook(payload.encode(), signed(payload))


def test_a_body_that_is_no_text_is_refused(processor: StripeProcessor) -> None:
    with pytest.raises(InvalidInputError):
        processor.parse_webhook(b"\xff\xfe", signed("x"))


def test_without_the_secret_no_webhook_is_believed() -> None:
    processor = StripeProcessor("sk_test_x", webhook_secret=None, url="http://127.0.0.1:1")
    payload = event("payment_intent.succeeded")
    with pytest.raises(NotConfiguredError, match="TRACKER_STRIPE_WEBHOOK_SECRET"):
        processor.parse_webhook(payload.encode(), signed(payload, ""))
    asyncio.run(processor.close())


def test_no_telemetry_goes_to_stripe() -> None:
    answer = b'{"id": "pi_1", "object": "payment_intent", "status": "requires_confirmation"}'
    sent: list[bytes] = []

    async def main() -> None:
        has_left = asyncio.Event()

        async def handle_webhook(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError):
                while True:
                    sent.append(await reader.readuntil(b"\r\n\r\n"))
                    length = re.search(rb"content-length: (\d+)", sent[-1], re.IGNORECASE)
                    assert length is not None
                    await reader.readexactly(int(length[1]))
                    writer.write(b"HTTP/1.1 200 OK\r\nRequest-Id: req_1\r\nContent-Length: %d\r\n\r\n" % len(answer))
                    writer.write(answer)
            writer.close()
            has_left.set()

        server = await asyncio.start_server(handle_webhook, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        processor = StripeProcessor("sk_test_x", webhook_secret=None, url=f"http://{host}:{port}")
        charge = Charge(order_id=ORDER_ID, total=100, currency="EUR", method="pm_1")
        for _ in range(2):  # the library tells of the first call in the second
            assert await processor.create_payment(charge) == "pi_1"
        await processor.close()
        async with asyncio.timeout(30):
            await has_left.wait()
        server.close()
        await server.wait_closed()

    asyncio.run(main())
    assert len(sent) == 2
    assert all(b"x-stripe-client-user-agent" in head.lower() and b"telemetry" not in head.lower() for head in sent)

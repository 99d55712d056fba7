"""The processor that charges nobody does what its payment methods say, in whichever process."""

import asyncio
import subprocess
import sys
import uuid

import pytest

from tests.conftest import REPO, clean_environ
from tracker.errors import ConfigurationError, NotConfiguredError
from tracker.features.checkout.payments import processor_of
from tracker.features.checkout.payments.protocol import Charge, Outcome, Paid, Pending, Refused
from tracker.features.checkout.payments.sandbox import METHODS, SandboxProcessor
from tracker.features.checkout.settings import CheckoutSettings, Payment
from tracker.settings import read_group


def charge(method: str) -> Charge:
    return Charge(order_id=str(uuid.uuid4()), total=1999, currency="EUR", method=method)


def begun(method: str) -> tuple[str, Charge]:
    wanted = charge(method)
    payment_id = asyncio.run(SandboxProcessor().create_payment(wanted))
    assert isinstance(payment_id, str)
    return payment_id, wanted


@pytest.mark.parametrize(
    ("method", "confirmed", "settled"),
    [
        ("accepted", Paid, Paid),
        ("refused", Refused, Refused),
        ("times-out-paid", Pending, Paid),
        ("times-out-unpaid", Pending, Refused),
    ],
)
def test_each_method_does_what_it_says(method: str, confirmed: type[Outcome], settled: type[Outcome]) -> None:
    payment_id, wanted = begun(method)
    assert isinstance(asyncio.run(SandboxProcessor().confirm(payment_id, wanted)), confirmed)
    assert isinstance(asyncio.run(SandboxProcessor().conclude(payment_id)), settled)


def test_a_method_it_does_not_know_is_refused_with_those_it_knows() -> None:
    refused = asyncio.run(SandboxProcessor().create_payment(charge("credit:card")))
    assert isinstance(refused, Refused)
    assert all(method in refused.reason for method in METHODS)


def test_the_same_order_is_the_same_payment() -> None:
    payment_id, wanted = begun("accepted")
    assert asyncio.run(SandboxProcessor().create_payment(wanted)) == payment_id


def test_it_sends_no_webhooks() -> None:
    with pytest.raises(NotConfiguredError, match="TRACKER_PAYMENT=stripe"):
        SandboxProcessor().parse_webhook(b"{}", "")


def test_the_settings_choose_the_processor() -> None:
    assert processor_of(CheckoutSettings()) is None
    for payment in Payment:
        key = "sk_test_x" if payment is Payment.STRIPE else None
        processor = processor_of(CheckoutSettings(payment=payment, stripe_secret_key=key))
        assert processor is not None
        assert processor.name == payment.value


def test_stripe_without_its_key_is_not_quietly_the_sandbox() -> None:
    with pytest.raises(ConfigurationError, match="TRACKER_STRIPE_SECRET_KEY"):
        CheckoutSettings(payment=Payment.STRIPE)


@pytest.mark.parametrize("key", ["sk_test_é", "sk_test\nHost: a"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_shown(key: str) -> None:
    with pytest.raises(ConfigurationError, match="TRACKER_STRIPE_SECRET_KEY") as caught:
        read_group({"TRACKER_PAYMENT": "stripe", "TRACKER_STRIPE_SECRET_KEY": key}, CheckoutSettings)
    assert key not in str(caught.value)


def test_the_sandbox_loads_nothing_of_stripe() -> None:
    code = (
        "import sys; from tracker.features.checkout.payments import processor_of;"
        "from tracker.features.checkout.settings import *;"
        "processor_of(CheckoutSettings(payment=Payment.SANDBOX));"
        "sys.exit('stripe' in sys.modules or 'httpx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], env=clean_environ(), cwd=REPO, check=False).returncode == 0

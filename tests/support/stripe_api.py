"""Stripe's API for tests, in two processes: localstripe, and the proxy of `tests.support.stripe_service` before it.

`pm_card_visa` and `pm_card_visa_chargeDeclined` are the payment methods of Stripe's own test mode.
localstripe listens on every address; it holds nothing but what the tests make up.
"""

import contextlib
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import msgspec
import pytest

from tests.conftest import REPO, clean_environ
from tests.support.ports import free_port
from tests.support.stripe_service import Calls, Rule
from tests.support.waiting import wait_until

SECRET_KEY = "sk_test_tracker"  # noqa: S105  # localstripe takes any that begins so
WEBHOOK_SECRET = "whsec_tracker"  # noqa: S105  # of these tests alone

ACCEPTED = "pm_card_visa"
DECLINED = "pm_card_visa_chargeDeclined"

NEEDS_CUSTOMER = "4000002500003155"
"""The number of a card that asks for 3-D Secure (Stripe's list of test cards)."""

CREATE = "POST /v1/payment_intents$"
CONFIRM = "POST .*/confirm$"
CANCEL = "POST .*/cancel$"
RETRIEVE = "GET /v1/payment_intents/pi_"


@dataclass
class StripeAPI:
    """A running Stripe."""

    url: str
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.client = httpx.Client(base_url=self.url, timeout=30, headers={"Authorization": f"Bearer {SECRET_KEY}"})

    @property
    def env(self) -> dict[str, str]:
        """The settings of a Tracker that is paid through it."""
        return {
            "TRACKER_PAYMENT": "stripe",
            "TRACKER_STRIPE_URL": self.url,
            "TRACKER_STRIPE_SECRET_KEY": SECRET_KEY,
            "TRACKER_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
        }

    def obey(self, *rules: Rule) -> None:
        """Follow these rules instead of those before; what is held goes on."""
        self.client.put("/_proxy/rules", content=msgspec.json.encode(rules)).raise_for_status()

    def calls(self) -> Calls:
        return msgspec.json.decode(self.client.get("/_proxy/calls").content, type=Calls)

    def wait_until_held(self, count: int = 1) -> None:
        """Return once so many calls are held."""
        wait_until(lambda: self.calls().held >= count)

    def card(self, number: str) -> str:
        """Return a new payment method, as the storefront would send it."""
        card = {"card[number]": number, "card[exp_month]": "12", "card[exp_year]": "2040", "card[cvc]": "123"}
        return str(self._json("POST", "/v1/payment_methods", {"type": "card", **card})["id"])

    def intents(self, order_id: str) -> list[dict[str, Any]]:
        """Return the intents of an order."""
        listed = self._json("GET", "/v1/payment_intents?limit=1000")["data"]
        return [intent for intent in listed if intent["metadata"].get("tracker_order_id") == order_id]

    def charges(self, order_id: str) -> list[dict[str, Any]]:
        """Return what was charged for an order."""
        ids = {intent["id"] for intent in self.intents(order_id)}
        listed = self._json("GET", "/v1/charges?limit=1000")["data"]
        return [charge for charge in listed if charge["payment_intent"] in ids and charge["status"] == "succeeded"]

    def send_webhooks_to(self, url: str) -> None:
        """Have every event of a payment signed and sent, about a second after it."""
        self._json("POST", "/_config/webhooks/tracker", {"url": url, "secret": WEBHOOK_SECRET})

    def _json(self, method: str, path: str, form: dict[str, str] | None = None) -> Any:  # noqa: ANN401  # whatever it is
        answer = self.client.request(method, path, data=form).raise_for_status()
        return answer.json() if answer.content else None


@contextlib.contextmanager
def stripe_api() -> Iterator[StripeAPI]:
    """Run Stripe; both processes are killed at the end of the block."""
    if importlib.util.find_spec("localstripe") is None:
        pytest.skip("localstripe is not installed, so nothing stands in for Stripe")
    upstream, port = free_port(), free_port()
    commands = (
        ["localstripe", "--port", str(upstream), "--from-scratch"],
        ["tests.support.stripe_service", "--port", str(port), "--upstream", f"http://127.0.0.1:{upstream}"],
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command], env=clean_environ(), cwd=REPO, stdout=subprocess.DEVNULL, stderr=log
        )
        for command, log in zip(commands, (subprocess.DEVNULL, None), strict=True)
    ]
    api = StripeAPI(f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: _answers(api, processes))
        yield api
    finally:
        api.client.close()
        for process in processes:
            process.kill()
            process.wait()


def _answers(api: StripeAPI, processes: list[subprocess.Popen[bytes]]) -> bool:
    ended = [process.args for process in processes if process.poll() is not None]
    assert not ended, f"{ended} ended at once"
    try:
        return api.client.get("/v1/charges").is_success
    except httpx.TransportError:
        return False

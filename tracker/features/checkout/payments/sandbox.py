"""A processor that charges nobody: the payment method says what becomes of the payment.

It needs no network and no memory. The payment's id carries the method, so that any process can settle it, also
after a restart. That is why a payment that was begun counts as confirmed here: of one that was announced, and
never confirmed because the process was killed, `conclude` says what its method says.
"""

from typing import Final

from tracker.errors import NotConfiguredError
from tracker.features.checkout.payments.protocol import CALLED_OFF, Charge, Notice, Outcome, Paid, Pending, Refused

REFUSAL: Final = Refused("the sandbox refuses this payment, as its method asks for")

_CONFIRMED: Final[dict[str, Outcome]] = {
    "accepted": Paid(),
    "refused": REFUSAL,
    "times-out-paid": Pending(),
    "times-out-unpaid": Pending(),
}
"""Outcome of confirming a payment, by its method."""

_SETTLED: Final[dict[str, Outcome]] = {
    **_CONFIRMED,
    "times-out-paid": Paid(),
    "times-out-unpaid": Refused(CALLED_OFF),
}
"""Outcome that `conclude` reports later, by the method of the payment."""

METHODS: Final = tuple(_CONFIRMED)
"""The payment methods of the sandbox."""


class SandboxProcessor:
    """A processor for trying Tracker out; it charges nobody."""

    name = "sandbox"

    async def create_payment(self, charge: Charge) -> str | Refused:
        """Return an id that tells the method; refuse a method that the sandbox does not know."""
        if charge.method not in METHODS:
            return Refused(f"the sandbox knows only these payment methods: {', '.join(METHODS)}")
        return f"sandbox:{charge.method}:{charge.order_id}"

    async def confirm(self, payment_id: str, charge: Charge) -> Outcome:
        """Return the outcome that the method asks for; a time-out is Pending at once."""
        del charge
        return _CONFIRMED[_method_of(payment_id)]

    async def conclude(self, payment_id: str) -> Outcome:
        """Return the outcome that the method asks for."""
        return _SETTLED[_method_of(payment_id)]

    def parse_webhook(self, payload: bytes, signature: str) -> Notice | None:
        """Raise NotConfiguredError: the sandbox says nothing by itself."""
        del payload, signature
        raise NotConfiguredError("the sandbox sends no webhooks; set TRACKER_PAYMENT=stripe for those of Stripe")

    async def close(self) -> None:
        """Do nothing: the sandbox holds no connections."""


def _method_of(payment_id: str) -> str:
    return payment_id.split(":")[1]

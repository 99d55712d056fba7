"""The protocol for payment processors: two steps, so that an answer that gets lost costs nobody money.

`create_payment` announces a payment and charges nothing; its id is stored with the order before `confirm` charges.
Whatever happens after that, a crash or an answer that never comes, `conclude` can ask for the payment by its id,
and call off one that was not confirmed: nothing is searched for, and nothing is tried a second time.
"""

from typing import Final, NamedTuple, Protocol

from msgspec import Struct

from tracker.errors import UnavailableError

CALLED_OFF: Final = "the payment did not come through in time and was called off"
"""Reason of the refusal where `conclude` has called the payment off."""


class ProcessorUnavailableError(UnavailableError):
    """The payment processor cannot be reached, or its answer cannot be used."""

    retry_after_s = 10


class Charge(Struct, frozen=True):
    """An amount that a customer has to pay for an order."""

    order_id: str
    """Id of the order, a UUID: the same order is never charged twice."""

    total: int
    """Amount to charge, above 0, in the smallest unit that the currency is charged in (cents; whole yen)."""

    currency: str
    """Currency code: three capital letters (ISO 4217)."""

    method: str
    """The payment method as the customer sent it."""


class Paid(Struct, frozen=True):
    """The customer was charged."""


class Refused(Struct, frozen=True):
    """The customer was not charged, and is not going to be."""

    reason: str
    """Reason of the refusal, for the customer to read."""


class Pending(Struct, frozen=True):
    """The result is not known yet; `conclude` says it later."""


Outcome = Paid | Refused | Pending


class Notice(NamedTuple):
    """A message about a payment that the processor sends without being asked."""

    order_id: str
    """Id of the order, a UUID."""

    payment_id: str
    outcome: Paid | Refused


class Processor(Protocol):
    """Charges the customers."""

    @property
    def name(self) -> str:
        """Name of the processor that is stored with an order; the payments of one processor mean nothing to another."""

    async def create_payment(self, charge: Charge) -> str | Refused:
        """Announce a payment and return its id; nothing is charged yet, and the same order gets the same id.

        Raises ProcessorUnavailableError; then, too, nothing is charged.
        """

    async def confirm(self, payment_id: str, charge: Charge) -> Outcome:
        """Charge the customer; return Pending if no answer comes in time, or none that tells the result."""

    async def conclude(self, payment_id: str) -> Outcome:
        """Return the result of a payment, after calling it off if it was not confirmed.

        The result is Pending while the processor itself does not know. Raises ProcessorUnavailableError.
        """

    def parse_webhook(self, payload: bytes, signature: str) -> Notice | None:
        """Return the notice in a webhook; None if that is nothing about a payment of an order of ours.

        Raises InvalidInputError for one that the processor has not signed, or not lately; NotConfiguredError
        where webhooks are not set up.
        """

    async def close(self) -> None:
        """Close the connections."""

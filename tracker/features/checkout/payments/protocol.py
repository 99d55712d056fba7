"""What a checkout asks of a payment processor, in two steps, so that no answer that is lost costs anybody money.

`begin` announces a payment and charges nothing; its id is stored with the order before `confirm` charges.
Whatever happens after that, a crash or an answer that never comes, `settle` can ask for the payment by its id,
and call off one that was not confirmed: nothing is searched for, and nothing is tried a second time.
"""

from typing import NamedTuple, Protocol

from msgspec import Struct

from tracker.errors import UnavailableError


class ProcessorUnavailableError(UnavailableError):
    """The payment processor cannot be reached, or its answer cannot be used."""

    retry_after_s = 10


class Charge(Struct, frozen=True):
    """What is to be paid."""

    order_id: str
    """A UUID: the same order is never charged twice."""

    total: int
    """In the smallest unit that the currency is charged in (cents; whole yen), above 0."""

    currency: str
    """Three capital letters (ISO 4217)."""

    method: str
    """The payment method as the customer sent it."""


class Paid(Struct, frozen=True):
    """The customer was charged."""


class Refused(Struct, frozen=True):
    """The customer was not charged, and is not going to be."""

    reason: str
    """For the customer to read."""


class Pending(Struct, frozen=True):
    """Not known yet; `settle` says it later."""


Outcome = Paid | Refused | Pending


class Notice(NamedTuple):
    """What the processor says by itself about a payment."""

    order_id: str
    """A UUID."""

    payment_id: str
    outcome: Paid | Refused


class Processor(Protocol):
    """Charges the customers."""

    @property
    def name(self) -> str:
        """What it is stored as with an order; the payments of one processor mean nothing to another."""

    async def begin(self, charge: Charge) -> str | Refused:
        """Announce a payment and return its id; nothing is charged yet, and the same order gets the same id.

        Raises ProcessorUnavailableError; then, too, nothing is charged.
        """

    async def confirm(self, payment_id: str, charge: Charge) -> Outcome:
        """Charge; Pending if no answer comes in time, or none that says what became of the payment."""

    async def settle(self, payment_id: str) -> Outcome:
        """Return what became of a payment, after calling it off if it was not confirmed.

        Pending while the processor itself does not know. Raises ProcessorUnavailableError.
        """

    def notice(self, payload: bytes, signature: str) -> Notice | None:
        """Return what a webhook says; None if that is nothing about a payment of an order of ours.

        Raises InvalidInputError for one that the processor has not signed, or not lately; NotConfiguredError
        where webhooks are not set up.
        """

    async def close(self) -> None:
        """Let go of the connections."""

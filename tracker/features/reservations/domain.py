"""Reservations, and the rule for when to ask again for one."""

import enum
from typing import Annotated, Final, NewType

from msgspec import Meta, Struct

from tracker.kit.backoff import full_jitter_s

BACKOFF_BASE_S: Final = 1.0
BACKOFF_CAP_S: Final = 300.0
"""Maximum seconds between two attempts, unless the service asks for more."""

RETRY_AFTER_CAP_S: Final = 3600.0
"""Maximum seconds of a wait that the service may ask for."""

ReservationKey = NewType("ReservationKey", str)
"""Key of a reservation, a UUID: names it to the service, the same for each attempt (its Idempotency-Key)."""

ReservationId = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | Annotated[str, Meta(min_length=1, max_length=255)]
"""The service's own id of a reservation, shown as it gave it."""


class Status(enum.Enum):
    """How far the reservation of an item is."""

    NONE = "none"
    """Reservations are switched off, or were when the item was last written."""

    PENDING = "pending"
    RESERVED = "reserved"
    FAILED = "failed"
    """The service has refused it, or was asked as often as it may be."""

    CANCELED = "canceled"
    """The item was removed from the cart; it is not shown."""


class Reservation(Struct, frozen=True):
    """The reservation of an item, as a reader sees it."""

    status: Status
    reservation_id: int | str | None = None


VISIBLE: Final = (Status.NONE, Status.PENDING, Status.RESERVED, Status.FAILED)
"""The statuses that a reader may see: an item that is put back into the cart is pending at once."""

NONE: Final = Reservation(Status.NONE)
PENDING: Final = Reservation(Status.PENDING)


class Attempt(Struct, frozen=True):
    """A request for a reservation that is to be sent to the service."""

    key: ReservationKey
    external_id: str
    quantity: int
    number: int
    """Number of the attempt; the first is 1."""


def backoff_s(attempt: int, retry_after_s: float) -> float:
    """Return the seconds to wait after a failed attempt: full jitter, but never less than the service asks for."""
    return min(RETRY_AFTER_CAP_S, retry_after_s) + full_jitter_s(attempt, BACKOFF_BASE_S, BACKOFF_CAP_S)

"""What an order is, and the states it goes through.

An order begins as `paying`, in the transaction that marks its cart as purchased. It ends as `paid`, or as
`failed`, and then the cart is open again. Nothing leaves either of these states.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from msgspec import Struct

from tracker.errors import ConflictError

MAX_TOTAL: Final = 2**63 - 1
"""Cents, as PostgreSQL's bigint holds them."""


class Status(enum.Enum):
    """How far an order is."""

    PAYING = "paying"
    """The payment processor is asked, or what became of that is not known yet."""

    PAID = "paid"
    FAILED = "failed"
    """Nothing was charged; the cart is open again."""


@dataclass(slots=True)
class OrderCounts:
    """What has become of the orders that this process had to do with."""

    placed: int = 0
    paid: int = 0
    failed: int = 0
    unsettled: int = 0
    """Those whose checkout came to no end in time; a job settles them."""
    to_pay_back: int = 0
    """Those that have failed, and whose payment was charged all the same."""


class Line(Struct, frozen=True):
    """What was bought of one product, as it was then."""

    sku: str
    title: str
    item_type: str
    price: int
    """Of one, in cents."""
    quantity: int


class Order(Struct, frozen=True):
    """An order, without its lines."""

    id: str
    cart_id: str
    customer: str
    idempotency_key: str
    processor: str
    payment_method: str
    payment_id: str | None
    status: Status
    reason: str | None
    """Why it failed."""
    total: int
    """In cents."""
    currency: str
    created_at: datetime


def total_of(lines: Sequence[Line]) -> int:
    """Return what lines cost together, in cents; raise ConflictError if nobody could pay that."""
    total = sum(line.price * line.quantity for line in lines)
    if total > MAX_TOTAL:
        raise ConflictError(f"the total must be at most {MAX_TOTAL} cents; it is {total}")
    return total

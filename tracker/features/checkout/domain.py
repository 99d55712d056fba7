"""Orders, and the states they go through.

An order begins as `paying`, in the transaction that marks its cart as purchased. It ends as `paid`, or as
`failed`, and then the cart is open again. Nothing leaves either of these states.
"""

import enum
from collections.abc import Sequence
from datetime import datetime
from typing import Final

from msgspec import Struct

from tracker.errors import ConflictError

MAX_TOTAL: Final = 2**63 - 1
"""Highest total of an order, in cents: the largest number that PostgreSQL's bigint holds."""


class Status(enum.Enum):
    """How far an order is."""

    PAYING = "paying"
    """The payment processor is asked, or it is not known yet whether it has charged the customer."""

    PAID = "paid"
    FAILED = "failed"
    """Nothing was charged; the cart is open again."""


class Line(Struct, frozen=True):
    """A line of an order: one product, with its data at the time when it was bought."""

    sku: str
    title: str
    item_type: str
    price: int
    """Price of one piece, in cents."""
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
    """Reason for which the order failed, if it did."""
    total: int
    """Sum of all lines, in cents."""
    currency: str
    created_at: datetime


def total_of(lines: Sequence[Line]) -> int:
    """Return what lines cost together, in cents; raise ConflictError if nobody could pay that."""
    total = sum(line.price * line.quantity for line in lines)
    if total > MAX_TOTAL:
        raise ConflictError(f"the total must be at most {MAX_TOTAL} cents; it is {total}")
    return total

"""Metrics of orders and their payments: what checkouts and the job that settles orders have counted."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tracker.telemetry.families import Family, MetricKind, Sample

PLACED: Final = Family("tracker_orders_placed_total", MetricKind.COUNTER, "Carts that have become orders")
PAYMENTS: Final = Family(
    "tracker_payments_total",
    MetricKind.COUNTER,
    "What became of payments: paid, failed, unsettled (not known when the checkout was answered; a job goes on)",
    ("result",),
)
TO_PAY_BACK: Final = Family(
    "tracker_payments_to_pay_back_total",
    MetricKind.COUNTER,
    "Payments that were charged although their order has failed",
)

FAMILIES: Final = (PLACED, PAYMENTS, TO_PAY_BACK)


@dataclass(slots=True)
class OrderCounts:
    """Numbers of orders that this process had to do with, by what became of them."""

    placed: int = 0
    paid: int = 0
    failed: int = 0
    unsettled: int = 0
    """Number of orders whose checkout did not end in time; a job settles them."""
    to_pay_back: int = 0
    """Number of orders that have failed although their payment was charged."""


def order_samples(counts: OrderCounts) -> Iterator[Sample]:
    """Return an iterator over the orders and payments that were counted."""
    yield Sample(PLACED, counts.placed)
    yield Sample(PAYMENTS, counts.paid, ("paid",))
    yield Sample(PAYMENTS, counts.failed, ("failed",))
    yield Sample(PAYMENTS, counts.unsettled, ("unsettled",))
    yield Sample(TO_PAY_BACK, counts.to_pay_back)

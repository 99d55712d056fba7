"""The job that settles the orders which a checkout has left `paying`.

It is written with the order and is due when no checkout can wait for it any more. Most times it finds the
order settled, and is done.
"""

import logging
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.carts.batch_writer import FollowUp
from tracker.features.checkout import store
from tracker.features.checkout.domain import Order, Status
from tracker.features.checkout.metrics import OrderCounts
from tracker.features.checkout.payments.protocol import (
    Outcome,
    Paid,
    Pending,
    Processor,
    ProcessorUnavailableError,
    Refused,
)
from tracker.features.checkout.service import NOTHING_CHARGED, SETTLE_AFTER_S, settle
from tracker.jobs.handler import TryAgainError
from tracker.jobs.queue import enqueue
from tracker.kit.backoff import about_s
from tracker.postgres.error_classes import loggable
from tracker.telemetry import tracing
from tracker.telemetry.tracing import SpanKind

JOB: Final = "settle"
"""Name of the handler that settles orders."""

ASK_AGAIN_S: Final = 60.0
"""Average seconds until a processor that does not know the result yet, or does not answer, is asked again."""

OTHER_PROCESSOR_S: Final = 600.0
"""Average seconds until an order of a processor that is not the configured one is tried again.

Somebody must set that processor again for a while.
"""

logger = logging.getLogger(__name__)


async def settle_later(connection: AsyncConnection, order_id: str) -> None:
    """Have an order settled by a job, which is written in the caller's transaction."""
    await enqueue(connection, JOB, [order_id.encode()], delay_s=SETTLE_AFTER_S, first=True)


class Settler:
    """Settles orders, one order for each job."""

    def __init__(self, engine: AsyncEngine, processor: Processor, follow_up: FollowUp | None) -> None:
        self._engine = engine
        self._processor = processor
        self._follow_up = follow_up
        self.counts = OrderCounts()

    async def settle(self, payload: bytes) -> None:
        """Settle the order of a job; raise TryAgainError if it must be tried again."""
        order_id = payload.decode()
        try:
            async with self._engine.connect() as connection:
                order = await store.find(connection, order_id)
            if order is None or order.status is not Status.PAYING:
                return
            outcome = await self._outcome(order)
            async with self._engine.begin() as connection:
                now = await store.lock(connection, order_id)
                if now is not None and now.payment_id != order.payment_id:
                    raise _again(ASK_AGAIN_S, "the payment has begun meanwhile")
                await settle(connection, order_id, outcome, self._follow_up, self.counts)
        except (OSError, SQLAlchemyError, ProcessorUnavailableError) as error:
            raise _again(ASK_AGAIN_S, f"an order cannot be settled now: {loggable(error)}") from error
        if isinstance(outcome, Pending):
            raise _again(ASK_AGAIN_S, "the payment processor does not know yet what becomes of a payment")

    async def _outcome(self, order: Order) -> Outcome:
        if order.total == 0:
            return Paid()
        if order.payment_id is None:
            # Its id is stored before it is confirmed, so nothing was charged, nor will be.
            return Refused(f"the payment was interrupted before it began; {NOTHING_CHARGED}")
        if order.processor != self._processor.name:
            raise _again(OTHER_PROCESSOR_S, f"order {order.id} was begun with TRACKER_PAYMENT={order.processor}")
        with tracing.span("payment settle", SpanKind.CLIENT):
            return await self._processor.conclude(order.payment_id)


def _again(mean_s: float, reason: str) -> TryAgainError:
    logger.warning("an order waits", extra={"reason": reason})
    return TryAgainError(about_s(mean_s), reason)

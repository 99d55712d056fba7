"""A checkout: the cart becomes an order in one transaction, then the customer is charged, then the order is settled.

The processor is called outside of any transaction: it may take its time, and a lock on the cart would keep every
flush waiting. So a process may end between any two steps. What it leaves is an order that is `paying` and, written
with it, a job that settles it later (`jobs`). Whoever settles an order first decides; the others find it settled.
"""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import Final, NamedTuple

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.errors import ConflictError, KeyReusedError, NotFoundError, UnavailableError
from tracker.features.carts.batch_writer import FollowUp
from tracker.features.catalog.domain import Product
from tracker.features.catalog.service import active_products
from tracker.features.checkout import store
from tracker.features.checkout.domain import Line, Order, Status, total_of
from tracker.features.checkout.metrics import OrderCounts
from tracker.features.checkout.payments.protocol import (
    Charge,
    Outcome,
    Paid,
    Pending,
    Processor,
    ProcessorUnavailableError,
    Refused,
)
from tracker.features.customer_carts import service as customer_service
from tracker.ingest.intake import Intake
from tracker.ingest.items import CartId
from tracker.kit.backoff import about_s, longest_s
from tracker.kit.clock import Stamper
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres.request_database import RequestDatabase
from tracker.telemetry import tracing
from tracker.telemetry.tracing import SpanKind

PAYMENT_TIMEOUT_S: Final = 25.0
"""Seconds that a checkout waits for the processor in all, before it answers that the order is still `paying`."""

SETTLE_AFTER_S: Final = 60.0
"""Seconds until a job asks what became of a payment: by then no checkout waits for it any more."""

LOOK_AGAIN_S: Final = 0.2
LOOK_AGAIN_CAP_S: Final = 3.0
"""Longest average wait, in seconds, before a repeated checkout looks again whether the first one has ended.

The waits are, on average, 0.2 s and then twice as long each time up to 3 s. 480 repeats that looked every 0.2 s made
others wait 0.8 s.
"""

MAX_LINES: Final = 1000
"""Most lines of an order: no shopper has more, and more would keep the cart locked for long."""

MAX_NAMED: Final = 20
"""Most items that an error names when they cannot be bought."""


class OrderView(NamedTuple):
    """An order, and what is shown with it."""

    order: Order
    lines: list[Line]
    next_cart_id: CartId | None
    """The cart that took the place of the bought one; None if the order failed."""
    open_cart_id: CartId | None
    """The cart that takes the items of the bought one now: not the next one, if that was bought too."""


SettleLater = Callable[[AsyncConnection, str], Awaitable[None]]
"""Writes a job, in the caller's transaction, that settles an order."""

NOT_YOURS: Final = "this is no cart of yours; POST /carts/claim makes the one of your cookie yours"

NOTHING_CHARGED: Final = "nothing was charged; try again with another Idempotency-Key"

KEY_REUSED: Final = "this Idempotency-Key was used for another checkout; take a new one"

NO_SUCH_ORDER: Final = "you have no order of this id"

EMPTY_CART: Final = "this cart is empty"

logger = logging.getLogger(__name__)


class Checkout:
    """Turns carts into orders and has them paid; one instance serves the whole process."""

    def __init__(
        self,
        database: RequestDatabase,
        timeouts: RequestTimeouts,
        intake: Intake,
        stamper: Stamper,
        processor: Processor,
        *,
        settle_later: SettleLater,
        follow_up: FollowUp | None,
    ) -> None:
        self._database = database
        self._timeouts = timeouts
        self._intake = intake
        self._stamper = stamper
        self._processor = processor
        self._settle_later = settle_later
        self._follow_up = follow_up
        self.counts = OrderCounts()

    async def check_out(self, customer: str, cart_id: CartId, method: str, key: str) -> OrderView:
        """Return the order that a cart has become, as far as it has come in time; the same for the same `key`.

        Raises ConflictError that says why the cart cannot be bought, KeyReusedError, DatabaseUnavailableError.
        """
        async with self._database.transaction() as connection:
            order = await store.of_key(connection, customer, key)
        if order is None:
            await self._intake.flush()
            order, placed = await self._place(customer, cart_id, method, key)
            if placed is not None:
                lines, next_cart_id = placed
                return OrderView(await self._pay(order), lines, next_cart_id, next_cart_id)
        if (order.cart_id, order.payment_method) != (cart_id, method):
            raise KeyReusedError(KEY_REUSED)
        await self._wait_until_settled(order)
        return await self.find(customer, order.id)

    async def find(self, customer: str, order_id: str) -> OrderView:
        """Return an order; raise NotFoundError unless it is the customer's."""
        async with self._database.transaction() as connection:
            order = await store.find(connection, order_id)
            if order is None or order.customer != customer:
                raise NotFoundError(NO_SUCH_ORDER)
            lines = await store.lines_of(connection, order_id)
            if order.status is Status.FAILED:
                return OrderView(order, lines, None, None)
            next_cart_id = await customer_service.successor(connection, CartId(order.cart_id))
            open_cart_id = await customer_service.end_of_chain(connection, CartId(order.cart_id))
            return OrderView(order, lines, next_cart_id, open_cart_id)

    async def handle_webhook(self, payload: bytes, signature: str) -> None:
        """Settle the order that a webhook of the processor is about; raise what `Processor.parse_webhook` raises."""
        notice = self._processor.parse_webhook(payload, signature)
        if notice is None:
            return
        async with self._database.transaction() as connection:
            order = await store.find(connection, notice.order_id)
            if order is None or order.payment_id != notice.payment_id:
                logger.warning(
                    "a webhook is about a payment that no order has", extra={"payment_id": notice.payment_id}
                )
                return
            await settle(connection, order.id, notice.outcome, self._follow_up, self.counts)

    async def _place(
        self, customer: str, cart_id: CartId, method: str, key: str
    ) -> tuple[Order, tuple[list[Line], CartId] | None]:
        """Make the cart an order that is `paying`; return it, and unless it was there already what `find` adds."""
        async with self._database.transaction() as connection:
            cart = await customer_service.lock(connection, cart_id)
            # Who waited for the lock may find that the same call was answered meanwhile.
            known = await store.of_key(connection, customer, key)
            if known is not None:
                return known, None
            if cart is None or cart.customer != customer:
                raise ConflictError(NOT_YOURS)
            if cart.purchased:
                raise ConflictError("this cart is purchased already")
            if cart.is_merged:
                raise ConflictError(f"this cart was merged into another: {cart.next_cart_id}")
            lines, currency = await _priced(connection, await customer_service.quantities(connection, cart_id))
            order = Order(
                id=str(uuid.uuid4()),
                cart_id=cart_id,
                customer=customer,
                idempotency_key=key,
                processor=self._processor.name,
                payment_method=method,
                payment_id=None,
                status=Status.PAYING,
                reason=None,
                total=total_of(lines),
                currency=currency,
                created_at=datetime.now(UTC),
            )
            next_cart_id = await customer_service.purchase(connection, cart_id, customer, self._stamper.next())
            if not await store.create(connection, order, lines):
                raise KeyReusedError(KEY_REUSED)
            await self._settle_later(connection, order.id)
        self.counts.placed += 1
        return order, (lines, next_cart_id)

    async def _pay(self, order: Order) -> Order:
        """Charge the customer and settle the order, or return it as it is when that does not end in time."""
        try:
            async with self._timeouts.within(PAYMENT_TIMEOUT_S):
                outcome = await self._charge(order)
            async with self._database.transaction() as connection:
                settled = await settle(connection, order.id, outcome, self._follow_up, self.counts)
            order = settled
        except (TimeoutError, UnavailableError) as error:
            reason = str(error) or "the payment takes too long"
            logger.warning("an order is settled later", extra={"order_id": order.id, "reason": reason})
        if order.status is Status.PAYING:
            self.counts.unsettled += 1
        return order

    async def _charge(self, order: Order) -> Outcome:
        if order.total == 0:
            return Paid()
        charge = Charge(order.id, order.total, order.currency, order.payment_method)
        try:
            with tracing.span("payment begin", SpanKind.CLIENT):
                payment_id = await self._processor.create_payment(charge)
        except ProcessorUnavailableError as error:
            logger.warning("a payment cannot be begun", extra={"order_id": order.id, "reason": str(error)})
            return Refused(f"the payment processor cannot be reached; {NOTHING_CHARGED}")
        if isinstance(payment_id, Refused):
            return payment_id
        async with self._database.transaction() as connection:
            is_open = await store.store_payment_id(connection, order.id, payment_id)
        if not is_open:
            return Pending()
        with tracing.span("payment confirm", SpanKind.CLIENT):
            return await self._processor.confirm(payment_id, charge)

    async def _wait_until_settled(self, order: Order) -> None:
        """Return once another call has settled an order, or when none waits for the processor any more."""
        age_s = (datetime.now(UTC) - order.created_at).total_seconds()
        looks = 0
        with contextlib.suppress(TimeoutError):
            async with self._timeouts.within(PAYMENT_TIMEOUT_S - max(0.0, age_s)):
                while order.status is Status.PAYING:
                    await asyncio.sleep(about_s(longest_s(looks, LOOK_AGAIN_S, LOOK_AGAIN_CAP_S)))
                    looks += 1
                    async with self._database.transaction() as connection:
                        order = await store.find(connection, order.id) or order


async def settle(
    connection: AsyncConnection, order_id: str, outcome: Outcome, follow_up: FollowUp | None, counts: OrderCounts
) -> Order:
    """Store the result of an order's payment, unless that is known already; return the order.

    Raises NotFoundError. The caller owns the transaction; a commit that fails leaves `counts` one too high.
    """
    order = await store.lock(connection, order_id)
    if order is None:
        raise NotFoundError("there is no order of this id")
    if order.status is Status.FAILED and isinstance(outcome, Paid):
        counts.to_pay_back += 1
        fields = {"order_id": order.id, "payment_id": order.payment_id}
        logger.error("an order has failed, yet its payment was charged: pay it back", extra=fields)
    if order.status is not Status.PAYING or isinstance(outcome, Pending):
        return order
    if isinstance(outcome, Paid):
        status, reason = Status.PAID, None
        counts.paid += 1
    else:
        status, reason = Status.FAILED, outcome.reason
        counts.failed += 1
        await customer_service.undo_purchase(connection, CartId(order.cart_id), follow_up)
    await store.store_outcome(connection, order.id, status, reason)
    return msgspec.structs.replace(order, status=status, reason=reason)


async def _priced(connection: AsyncConnection, quantities: Mapping[str, int]) -> tuple[list[Line], str]:
    """Return the order lines for these items at the prices of the catalog, and their currency; raise ConflictError."""
    if not quantities:
        raise ConflictError(EMPTY_CART)
    if len(quantities) > MAX_LINES:
        raise ConflictError(f"this cart holds {len(quantities)} products; an order may have {MAX_LINES}")
    products = await active_products(connection, list(quantities))
    if missing := [external_id for external_id in quantities if external_id not in products]:
        named = ", ".join(missing[:MAX_NAMED])
        more = f" and {len(missing) - MAX_NAMED} more" if len(missing) > MAX_NAMED else ""
        raise ConflictError(f"not for sale (no active product in the catalog): {named}{more}")
    currencies = sorted({products[sku].currency for sku in quantities})
    if len(currencies) > 1:
        raise ConflictError(f"the prices are in several currencies: {', '.join(currencies)}")
    return [_line(products[sku], quantity) for sku, quantity in quantities.items()], currencies[0]


def _line(product: Product, quantity: int) -> Line:
    return Line(product.sku, product.title, product.item_type, product.price, quantity)

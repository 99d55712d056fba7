"""Writes everything that is stored of a cart or a customer as one JSON document.

It comes in pieces, a cart or an order a line, so that it may be larger than the memory. Prices are cents, times UTC
(RFC 3339). The names of the fields are those of the routes.
"""

import json
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.data_lifecycle import export_store
from tracker.features.data_lifecycle.domain import Amount, Whose
from tracker.features.data_lifecycle.export_store import Rows
from tracker.features.data_lifecycle.service import carts_of
from tracker.ingest.dead_letters import DeadLetter
from tracker.ingest.items import CartId
from tracker.kit.clock import stamp_time
from tracker.postgres.retries import committed

AT_ONCE: Final = 100
"""Number of carts, or orders, that are read in one transaction and held in memory."""

Id = TypeVar("Id", bound=str)

Letters = Callable[[set[CartId]], list[DeadLetter]]
"""Returns the dead letters of some carts."""


class ItemOut(Struct):
    """An item, also one that was removed: its quantity is 0."""

    product_id: str
    name: str | None
    price: int | None
    quantity: int
    added_at: datetime
    updated_at: datetime


class ReservationOut(Struct):
    """A reservation of an item at the reservation service, and its state."""

    product_id: str
    quantity: int
    status: str
    reservation_id: int | str | None
    attempts: int
    error: str | None
    updated_at: datetime


class CartOut(Struct):
    """A cart."""

    cart_id: str
    customer: str | None
    owned_at: datetime | None
    purchased: bool
    closed_at: datetime | None
    next_cart_id: str | None
    items: list[ItemOut]
    reservations: list[ReservationOut]


class OrderLineOut(Struct):
    """A line of an order: one product, with its data at the time when it was bought."""

    product_id: str
    title: str
    item_type: str
    price: int
    quantity: int


class OrderOut(Struct):
    """An order."""

    order_id: str
    cart_id: str
    customer: str
    idempotency_key: str
    processor: str
    payment_method: str
    payment_id: str | None
    status: str
    reason: str | None
    total: int
    currency: str
    created_at: datetime
    updated_at: datetime
    lines: list[OrderLineOut]


class Export:
    """The document, and how much it holds."""

    def __init__(self, engine: AsyncEngine, whose: Whose, letters: Letters) -> None:
        self._engine = engine.execution_options(isolation_level="REPEATABLE READ")
        self._whose = whose
        self._letters = letters
        self.amount = Amount()

    async def pieces(self) -> AsyncIterator[bytes]:
        """Give out the document; nothing at all if nothing is stored.

        Raises DatabaseUnavailableError when PostgreSQL does not give it.
        """
        cart_ids, order_ids = await committed(self._engine, self._ids)
        named = set() if self._whose.cart_id is None else {self._whose.cart_id}
        letters = self._letters(cart_ids | named)
        self.amount = Amount(carts=len(cart_ids), orders=len(order_ids), dead_letters=len(letters))
        if self.amount == Amount():
            return
        yield b'{"exported_at":%s,"carts":[' % msgspec.json.encode(datetime.now(UTC))
        separator = b"\n"
        for ids in _parts(sorted(cart_ids)):
            for cart in await committed(self._engine, partial(_carts, ids=ids)):
                self.amount += Amount(items=len(cart.items), reservations=len(cart.reservations))
                yield separator + msgspec.json.encode(cart)
                separator = b",\n"
        yield b'\n],"orders":['
        separator = b"\n"
        for some in _parts(order_ids):
            for order in await committed(self._engine, partial(_orders, ids=some)):
                yield separator + msgspec.json.encode(order)
                separator = b",\n"
        yield b'\n],"dead_letters":[' + b",".join(b"\n" + _encoded(letter) for letter in letters) + b"\n]}\n"

    async def _ids(self, connection: AsyncConnection) -> tuple[set[CartId], list[str]]:
        cart_ids = await carts_of(connection, self._whose)
        return cart_ids, await export_store.order_ids(connection, self._whose, cart_ids)


async def _carts(connection: AsyncConnection, ids: Sequence[CartId]) -> list[CartOut]:
    rows, items, reservations = await export_store.of_carts(connection, ids)
    return [
        CartOut(
            cart_id=row.id,
            customer=row.customer,
            owned_at=_utc(row.owned_at),
            purchased=row.purchased,
            closed_at=None if row.closed_stamp is None else stamp_time(row.closed_stamp),
            next_cart_id=row.next_cart_id,
            items=[*_items(items.get(row.id, []))],
            reservations=[*_reservations(reservations.get(row.id, []))],
        )
        for row in rows
    ]


async def _orders(connection: AsyncConnection, ids: Sequence[str]) -> list[OrderOut]:
    rows, lines = await export_store.of_orders(connection, ids)
    return [
        OrderOut(
            order_id=row.id,
            cart_id=row.cart_id,
            customer=row.customer,
            idempotency_key=row.idempotency_key,
            processor=row.processor,
            payment_method=row.payment_method,
            payment_id=row.payment_id,
            status=row.status,
            reason=row.reason,
            total=row.total,
            currency=row.currency,
            created_at=row.created_at.astimezone(UTC),
            updated_at=row.updated_at.astimezone(UTC),
            lines=[OrderLineOut(one.sku, one.title, one.item_type, one.price, one.quantity) for one in lines[row.id]],
        )
        for row in rows
    ]


def _items(rows: Rows) -> Iterator[ItemOut]:
    for row in rows:
        updated = max(row.added_stamp, row.name_stamp, row.value_stamp, row.quantity_stamp)
        times = stamp_time(row.added_stamp), stamp_time(updated)
        yield ItemOut(row.external_id, row.name, row.value, row.quantity, *times)


def _reservations(rows: Rows) -> Iterator[ReservationOut]:
    for row in rows:
        yield ReservationOut(
            row.external_id,
            row.quantity,
            row.status,
            row.reservation_id,
            row.attempts,
            row.error,
            row.updated_at.astimezone(UTC),
        )


def _encoded(letter: DeadLetter) -> bytes:
    """Return a dead letter as JSON: in ASCII, as its texts may be no UTF-8."""
    cart_id, product_id = letter.key
    item = letter.item
    found = {"cart_id": cart_id, "product_id": product_id, "name": item.name, "price": item.value}
    return json.dumps(found | {"quantity": item.quantity, "refused_at": letter.at, "error": letter.error}).encode(
        "ascii"
    )


def _utc(time: datetime | None) -> datetime | None:
    return None if time is None else time.astimezone(UTC)


def _parts(ids: Sequence[Id]) -> Iterator[Sequence[Id]]:
    for start in range(0, len(ids), AT_ONCE):
        yield ids[start : start + AT_ONCE]

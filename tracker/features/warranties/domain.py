"""Warranties, and the rules for the sale that a warranty is created for."""

import re
import secrets
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Final, NewType
from uuid import UUID

from msgspec import Struct

from tracker.errors import InvalidInputError
from tracker.kit.text_rules import check_text, uuid_of

WarrantyId = NewType("WarrantyId", str)
"""Id of a warranty, a UUID of version 7: in the order of creation, which is the order of the list and of its pages."""

MAX_TEXT_BYTES: Final = 255
"""Longest type and longest SKU of an item, in bytes of UTF-8: both are parts of a key."""

MAX_TITLE_BYTES: Final = 2048
"""Longest title of an item, in bytes of UTF-8, as for the name of an item in a cart."""

MAX_COST_CENTS: Final = 10**15 - 1
"""Highest cost, in cents: fifteen digits. A float, as most JSON parsers read a number, still holds them to the cent."""

CENTS_PER_UNIT: Final = 100
"""Cents in a unit of every currency that is counted here."""

MAX_STORE_CHARS: Final = 64
"""Longest id of a store, in characters, which are ASCII."""

STORE_RULE: Final = f"must be a string of 1 to {MAX_STORE_CHARS} of A-Z, a-z, 0-9 and -"
COST_RULE: Final = f"must be a number from 0 to {Decimal(MAX_COST_CENTS) / CENTS_PER_UNIT}, exact to the cent"

STORE_PATTERN: Final = f"^[A-Za-z0-9-]{{1,{MAX_STORE_CHARS}}}$"
"""Pattern of a store's id, for a schema and for `check_store`."""

_CENT: Final = Decimal("0.01")
_STORE: Final = re.compile(STORE_PATTERN)
_MAX_NUMBER_CHARS: Final = 28
"""Most characters of a cost as it is written: Decimal multiplies so many digits without rounding."""


class Sale(Struct, frozen=True):
    """A sale of an item, for which a store asks for a warranty."""

    store_uuid: str
    item_type: str
    item_sku: str
    item_title: str
    item_cost: int
    """Cost of the item, in cents."""
    idempotency_key: str | None = None


class Warranty(Struct, frozen=True):
    """A warranty, with the title and the cost that it was sold on."""

    id: WarrantyId
    store_uuid: str
    item_type: str
    item_sku: str
    item_title: str
    item_cost: int
    """Cost of the item, in cents."""
    term_months: int
    price: int
    """Price of the warranty, in cents."""
    terms_version: str
    created_at: datetime


class Selection(Struct, frozen=True):
    """The warranties that are meant: those of one item at one store."""

    store_uuid: str
    item_type: str
    item_sku: str


def check_sale(sale: Sale) -> None:
    """Raise InvalidInputError, naming the request's field, unless a sale is valid."""
    check_store("store_uuid", sale.store_uuid)
    check_text("item_type", sale.item_type, MAX_TEXT_BYTES, required=True)
    check_text("item_sku", sale.item_sku, MAX_TEXT_BYTES, required=True)
    check_text("item_title", sale.item_title, MAX_TITLE_BYTES, required=True)


def check_store(field: str, text: str) -> None:
    """Raise InvalidInputError unless `text` may be the id of a store; it is opaque, and need not be a UUID."""
    if not _STORE.fullmatch(text):
        raise InvalidInputError(field, STORE_RULE)


def cents_of(field: str, number: bytes) -> int:
    """Return the cents of a JSON value that is a number of currency units; raise InvalidInputError if it is not.

    The value counts, not how it is written: 150, 150.0 and 1.5e2 are the same, each in at most 28 characters.
    """
    try:
        cost = Decimal(number.decode()) if len(number) <= _MAX_NUMBER_CHARS else None
    except (InvalidOperation, UnicodeDecodeError):  # `"150"`, `null`, `[…]`: valid JSON, but no number
        cost = None
    if cost is not None and cost == 0:  # its exponent may have any size, as that of a number that is nearly 0
        return 0
    if cost is None or not _CENT <= cost <= MAX_COST_CENTS * _CENT or cost * 100 != int(cost * 100):
        raise InvalidInputError(field, COST_RULE)
    return int(cost * 100)


def new_warranty_id(now_us: int) -> WarrantyId:
    """Return the id of a warranty that is created now, in microseconds since 1970.

    Its time takes 60 bits (RFC 9562, section 6.2, method 3), so that a process that never uses a microsecond twice
    gives ids that grow.
    """
    milliseconds, microseconds = divmod(now_us, 1000)
    fraction = microseconds * 4096 // 1000
    return WarrantyId(str(UUID(int=milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62))))


def parse_warranty_id(text: str) -> WarrantyId | None:
    """Return the id that `text` spells, or None if it is none."""
    found = uuid_of(text)
    return None if found is None else WarrantyId(found)

"""Terms for the end of data: how old is too old, whose data is meant, and how much data it was."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct

from tracker.errors import InvalidInputError
from tracker.ingest.items import CartId
from tracker.kit.clock import WORKER_BITS

_AGE: Final = re.compile(r"(?P<count>[1-9][0-9]{0,3})(?P<unit>[hdw])")

_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Whose(Struct, frozen=True):
    """The data that is meant: that of a cart, with the carts that were merged into it, or all of a customer's."""

    cart_id: CartId | None = None
    customer: str | None = None

    def __str__(self) -> str:
        """Return the name of the cart or the customer."""
        return f"cart {self.cart_id}" if self.customer is None else f"customer {self.customer!r}"


class Amount(Struct, frozen=True):
    """An amount of data: the number of things of each kind that there are, or were."""

    carts: int = 0
    items: int = 0
    reservations: int = 0
    orders: int = 0
    dead_letters: int = 0

    def __add__(self, other: "Amount") -> "Amount":
        """Return the sum of both amounts."""
        return Amount(*(getattr(self, field) + getattr(other, field) for field in Amount.__struct_fields__))

    def __str__(self) -> str:
        """Return the amount as text."""
        parts = []
        for field in Amount.__struct_fields__:
            if number := getattr(self, field):
                name = field.replace("_", " ")
                parts.append(f"{number} {name if number > 1 else name.removesuffix('s')}")
        return ", ".join(parts) or "nothing"


def parse_age(field: str, text: str) -> timedelta:
    """Return the time that `text` spells; raise InvalidInputError, naming `field`, if it does not."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise InvalidInputError(field, "must be a number of hours, days or weeks, such as 12h, 90d or 2w")
    return int(match["count"]) * _UNITS[match["unit"]]


def stamp_at(time: datetime) -> int:
    """Return the greatest stamp that any worker can give out at a time."""
    return ((time - _EPOCH) // timedelta(microseconds=1) + 1 << WORKER_BITS) - 1

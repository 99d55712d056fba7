"""Terms for the end of data: how old is too old, whose data is meant, and how much data it was."""

import re
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Final

from msgspec import Struct

from tracker.errors import InvalidInputError
from tracker.ingest.items import CartId

_AGE: Final = re.compile(r"(?P<count>[1-9][0-9]{0,3})(?P<unit>[hdw])")

_UNITS: Final = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class DataSubject(Struct, frozen=True):
    """The subject of some data: a cart, with the carts that were merged into it, or a customer with all of theirs."""

    cart_id: CartId | None = None
    customer: str | None = None

    def __str__(self) -> str:
        """Return the name of the cart or the customer."""
        return f"cart {self.cart_id}" if self.customer is None else f"customer {self.customer!r}"


Amount = Counter[str]
"""An amount of data: the number of things of each kind. Its kinds are shown in the order of their insertion."""


def nothing_of(kinds: Iterable[str]) -> Amount:
    """Return zero of each kind. Others are added by `update`, which keeps the order; + does not."""
    return Counter(dict.fromkeys(kinds, 0))


def amount_text(amount: Amount) -> str:
    """Return an amount as text, such as "1 cart, 3 dead letters"."""
    parts = []
    for kind, number in amount.items():
        if number:
            name = kind.replace("_", " ")
            parts.append(f"{number} {name if number > 1 else name.removesuffix('s')}")
    return ", ".join(parts) or "nothing"


def parse_age(field: str, text: str) -> timedelta:
    """Return the time that `text` spells; raise InvalidInputError, naming `field`, if it does not."""
    match = _AGE.fullmatch(text)
    if match is None:
        raise InvalidInputError(field, "must be a number of hours, days or weeks, such as 12h, 90d or 2w")
    return int(match["count"]) * _UNITS[match["unit"]]

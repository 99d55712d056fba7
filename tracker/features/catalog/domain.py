"""Products, and the rules for what their fields may hold.

A product that is not sold any more is not deleted but made inactive: carts and orders still name it.
"""

import re
import string
from typing import Final

from msgspec import Struct

from tracker.errors import InvalidInputError
from tracker.kit.text_rules import check_text

MAX_SKU_BYTES: Final = 255
"""Longest SKU, in bytes of UTF-8. An item in a cart uses the SKU as its external id, which is as long."""

MAX_TITLE_BYTES: Final = 2048
"""Longest title, in bytes of UTF-8. A word of PostgreSQL's text search may not be longer than 2,046."""

MAX_DESCRIPTION_BYTES: Final = 16 * 1024
MAX_ITEM_TYPE_BYTES: Final = 255
MAX_PRICE: Final = 2**63 - 1
"""Highest price, in cents: the largest number that PostgreSQL's bigint holds."""

MAX_SEARCH_BYTES: Final = 255
"""Longest search text, in bytes of UTF-8: enough for a title's words, too little for a costly query."""

PUNCTUATION: Final = string.punctuation
"""ASCII punctuation, which separates the words of a title.

PostgreSQL's own parser would take BLACK/BLUE for a single word, a path.
"""

_PARTS: Final = (
    r"\u0009-\u000d\u001c-\u002f\u003a-\u0040\u005b-\u0060\u007b-\u007e"
    r"\u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
)
"""Characters that separate words, for a regular expression: ASCII punctuation, and what Python takes for spaces."""

SEARCH_PATTERN: Final = rf"^[^\u0000]*[^\u0000{_PARTS}][^\u0000]*$"
"""Pattern, for a schema, of the texts that `words_of` accepts: at least one character is no punctuation or space."""

_TO_SPACES: Final = str.maketrans(PUNCTUATION, " " * len(PUNCTUATION))

_CURRENCY: Final = re.compile("[A-Z]{3}")


class Product(Struct, frozen=True, gc=False):
    """Something the store sells, or sold."""

    sku: str
    title: str
    description: str
    item_type: str
    price: int
    """Price in cents of `currency`."""
    currency: str
    """Currency code: three capital letters (ISO 4217)."""
    active: bool
    """Whether it is sold now."""


Numbered = tuple[int, Product]
"""A product with the number of the line it stands on."""


def check_product(product: Product) -> None:
    """Raise InvalidInputError that names the first field of `product` that breaks its rule."""
    check_sku("sku", product.sku)
    check_text("title", product.title, MAX_TITLE_BYTES, required=True)
    check_text("description", product.description, MAX_DESCRIPTION_BYTES)
    check_text("item_type", product.item_type, MAX_ITEM_TYPE_BYTES, required=True)
    if not 0 <= product.price <= MAX_PRICE:
        raise InvalidInputError("price", f"must be an integer number of cents from 0 to {MAX_PRICE}")
    if not _CURRENCY.fullmatch(product.currency):
        raise InvalidInputError("currency", "must be three capital letters, as EUR")


def check_sku(field: str, text: str) -> None:
    """Raise InvalidInputError, naming `field`, unless `text` can be a SKU."""
    check_text(field, text, MAX_SKU_BYTES, required=True)


def words_of(field: str, text: str) -> list[str]:
    """Return the words that `text` searches for; raise InvalidInputError, naming `field`, if it has none."""
    check_text(field, text, MAX_SEARCH_BYTES, required=True)
    words = text.translate(_TO_SPACES).split()
    if not words:
        raise InvalidInputError(field, "must hold a letter or a digit")
    return words

"""Rules for carts: which fields an item may have, what happens to items that come too late, and the ids of carts."""

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from tracker.features.reservations.domain import Reservation
from tracker.ingest.items import Batch, CartId, Item, ItemKey
from tracker.kit.text_rules import check_text, uuid_of

MAX_EXTERNAL_ID_BYTES: Final = 255
"""Longest external id, in bytes of UTF-8. PostgreSQL refuses an index key of 2,700 random bytes (error 54000)."""

MAX_NAME_BYTES: Final = 2048
"""Longest name of an item, in bytes of UTF-8."""

MIN_VALUE: Final = -(2**63)
MAX_VALUE: Final = 2**63 - 1
"""Highest value of an item, in cents: the largest number that PostgreSQL's bigint holds."""

MAX_QUANTITY: Final = 2**31 - 1
"""Highest quantity of an item: the largest number that PostgreSQL's integer holds."""

CartItems = dict[str, tuple[Item, Reservation]]
"""The items in a cart by external id, first added first, without the removed ones."""

Held = tuple[Item, int]
"""An item as a closed cart holds it, and the stamp at which that was closed."""


def shown_items(items: Mapping[str, Item]) -> dict[str, Item]:
    """Return the items of a cart by external id, first added first, without the removed ones."""
    in_order = sorted(items.items(), key=lambda entry: entry[1].added_stamp)
    return {external_id: item for external_id, item in in_order if item.effective_quantity > 0}


def without_erased(batch: Batch, erased: Mapping[CartId, int]) -> Batch:
    """Return `batch` without the writes that have a stamp up to the one at which their cart was erased."""
    kept: Batch = {}
    for key, item in batch.items():
        if (newer := item.since(erased.get(key[0], 0))) is not None:
            kept[key] = newer
    return kept


def redirected(batch: Batch, ends: Mapping[CartId, CartId], held: Mapping[ItemKey, Sequence[Held]]) -> Batch:
    """Return the late writes for the carts in `ends`, each under the cart that it must go to.

    A late write goes to the next cart. What a closed cart holds, as `held` says, was bought with it and comes once more
    when a journal is replayed, so it is left out.
    """
    moved: Batch = {}
    for key, item in batch.items():
        cart_id, external_id = key
        if (target := ends.get(cart_id)) is None:
            continue
        late: Item | None = item
        for stored, closed_stamp in held.get(key, ()):
            late = None if late is None else late.beyond(stored, closed_stamp)
        if late is not None:
            # Into a copy: the batch may have to be written once more from its beginning.
            moved.setdefault((target, external_id), Item(late.added_stamp)).merge(late)
    return moved


def _random_cart_ids() -> Iterator[CartId]:
    """Give out UUIDs of version 4, which must not be guessable: 122 bits each are the system's randomness.

    One call of the system for 256 of them, and no UUID object: 0.9 µs each instead of 4.9.
    """
    while True:
        digits = os.urandom(16 * 256).hex()
        for start in range(0, len(digits), 32):
            part = digits[start : start + 32]
            variant = "89ab"[int(part[16], 16) & 3]
            yield CartId(f"{part[:8]}-{part[8:12]}-4{part[13:16]}-{variant}{part[17:20]}-{part[20:]}")


_next_cart_id: Final = _random_cart_ids().__next__


def new_cart_id() -> CartId:
    """Return the id of a new cart: a UUID of version 4."""
    return _next_cart_id()


def parse_cart_id(text: object) -> CartId | None:
    """Return the cart id that `text` spells, of any UUID version and either case, or None."""
    found = uuid_of(text) if isinstance(text, str) else None
    return None if found is None else CartId(found)


def check_external_id(field: str, text: str) -> None:
    """Raise InvalidInputError, naming `field`, unless `text` can identify an item."""
    check_text(field, text, MAX_EXTERNAL_ID_BYTES, required=True)


def check_name(field: str, text: str) -> None:
    """Raise InvalidInputError, naming `field`, unless `text` can be a name."""
    check_text(field, text, MAX_NAME_BYTES)

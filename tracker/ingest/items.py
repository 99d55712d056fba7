"""Items as maps of last-writer-wins registers.

Every field of an item carries the stamp of the write that set it. Merging two versions takes, field
by field, the one with the greater stamp; a field that a write did not mention has stamp 0 and says
nothing. Stamps are unique, so merging is commutative, associative and idempotent: the order of
flushes, retries, replays and several workers cannot change the result. The carts' `store` holds the same rule
in SQL, and a property test proves that the two are one function.

A cart's id is its canonical text (36 characters, lower case): it comes as text from the cookie, goes
as text into the answer, and asyncpg takes it as it is, so nothing ever converts it.
"""

from collections.abc import Mapping
from typing import Final, NewType

from msgspec import Struct

CartId = NewType("CartId", str)
"""A UUID in its canonical text form, which sorts like PostgreSQL's `uuid`."""

ItemKey = tuple[CartId, str]
"""The pair (cart_id, external_id), which identifies an item in the whole system."""


class ItemWrite(Struct, frozen=True, gc=False):
    """A write of one item, as a request brings it; None fields say nothing."""

    cart_id: CartId
    external_id: str
    name: str | None = None
    value: int | None = None
    """Value in cents."""
    quantity: int | None = None


DEFAULT_QUANTITY: Final = 1
"""Quantity of an item when no write has given a quantity."""


class Item(Struct, gc=False, array_like=True):
    """The known state of one item: its fields, each with the stamp of its write (0: never written).

    `quantity` 0 means a removed item, which is kept as a tombstone so that an older write cannot bring it back.
    """

    added_stamp: int
    """Stamp of the first write; it decides the item's place in its cart."""
    name: str | None = None
    name_stamp: int = 0
    value: int | None = None
    """Value in cents."""
    value_stamp: int = 0
    quantity: int | None = None
    quantity_stamp: int = 0

    @classmethod
    def written(cls, stamp: int, name: str | None, value: int | None, quantity: int | None) -> "Item":
        """Return the item as a single write at `stamp` describes it; None fields say nothing."""
        return cls(
            stamp,
            name,
            0 if name is None else stamp,
            value,
            0 if value is None else stamp,
            quantity,
            0 if quantity is None else stamp,
        )

    def merge(self, other: "Item") -> None:
        """Take over every field that has a greater stamp in `other`, and the smaller `added_stamp`."""
        self.added_stamp = min(self.added_stamp, other.added_stamp)
        if other.name_stamp > self.name_stamp:
            self.name, self.name_stamp = other.name, other.name_stamp
        if other.value_stamp > self.value_stamp:
            self.value, self.value_stamp = other.value, other.value_stamp
        if other.quantity_stamp > self.quantity_stamp:
            self.quantity, self.quantity_stamp = other.quantity, other.quantity_stamp

    def beyond(self, stored: "Item", closed_stamp: int) -> "Item | None":
        """Return what this item says beyond `stored`, for a cart that was closed at `closed_stamp`; None if nothing.

        Fields are newer if their stamps are greater. That the item was put into the cart once more, without any
        field, is known only from the time: it happened after the cart was closed.
        """
        late = Item(self.added_stamp)
        if self.name_stamp > stored.name_stamp:
            late.name, late.name_stamp = self.name, self.name_stamp
        if self.value_stamp > stored.value_stamp:
            late.value, late.value_stamp = self.value, self.value_stamp
        if self.quantity_stamp > stored.quantity_stamp:
            late.quantity, late.quantity_stamp = self.quantity, self.quantity_stamp
        says_more = late.name_stamp or late.value_stamp or late.quantity_stamp or self.added_stamp > closed_stamp
        return late if says_more else None

    def since(self, stamp: int) -> "Item | None":
        """Return the part of the item that was written after `stamp`; None if there is none.

        A write without any field leaves its stamp only if it was the first write; after an older write it does not
        count.
        """
        if self.added_stamp > stamp:
            return self
        newer = [one for one in (self.name_stamp, self.value_stamp, self.quantity_stamp) if one > stamp]
        if not newer:
            return None
        rest = Item(min(newer))
        if self.name_stamp > stamp:
            rest.name, rest.name_stamp = self.name, self.name_stamp
        if self.value_stamp > stamp:
            rest.value, rest.value_stamp = self.value, self.value_stamp
        if self.quantity_stamp > stamp:
            rest.quantity, rest.quantity_stamp = self.quantity, self.quantity_stamp
        return rest

    @property
    def updated_stamp(self) -> int:
        """Stamp of the last write that changed a field."""
        return max(self.added_stamp, self.name_stamp, self.value_stamp, self.quantity_stamp)

    @property
    def effective_quantity(self) -> int:
        """Number of pieces in the cart; 0 means a removed item."""
        return DEFAULT_QUANTITY if self.quantity is None else self.quantity


Batch = dict[ItemKey, Item]
"""Items by key. No key occurs twice: PostgreSQL refuses two rows of one key in one statement (21000)."""


def merge_items(items: dict[str, Item], more: Mapping[str, Item]) -> None:
    """Merge `more` of a cart's items into `items`, both by external id."""
    for external_id, item in more.items():
        items.setdefault(external_id, Item(item.added_stamp)).merge(item)

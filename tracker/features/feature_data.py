"""The way in which a feature offers the data that it stores of carts and customers, to be counted, erased and exported.

A feature that stores any has one object, `DATA` in its `data.py`, made of functions of its own. `data_lifecycle` gets
the objects of all features handed in: it knows no table of theirs, and a later feature takes part by its object alone.

The objects stand in an order: each behind those that its rows belong to. They are counted, shown and exported in this
order, and erased in the reverse one. No function commits: the caller owns the transaction, and runs it again when it
fails.
"""

from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Row
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.ingest.items import CartId

Counts = Mapping[str, int]
"""The number of things of each kind."""

Fields = Mapping[str, Any]
"""Fields of a cart in the exported document, by name, as msgspec encodes them."""


class Contents(Struct, frozen=True):
    """The things that some carts hold, or held."""

    counts: Counts
    carts: AbstractSet[CartId] = frozenset()
    """Those of the carts that count as not empty because of these things."""


class Erasure(Struct, frozen=True):
    """An erasing of carts that the transaction has locked."""

    cart_ids: AbstractSet[CartId]
    stamp: int
    """Stamp of the last write that is erased, wherever it still waits."""
    pseudonym: str | None = None
    """Name that replaces the customer's; None if the carts keep their owner."""


Count = Callable[[AsyncConnection, Collection[CartId], str | None], Awaitable[Contents]]
"""Counts what erasing some carts, and the customer if one is named, would erase."""

EraseCarts = Callable[[AsyncConnection, Erasure], Awaitable[Contents]]
"""Erases the rows of carts that are pruned or erased; returns what there was."""

EraseCustomer = Callable[[AsyncConnection, str, str, int], Awaitable[Counts]]
"""Erases what is stored of a customer, the first text, or gives it to a pseudonym, the second.

It runs before any cart is locked, takes no more rows than the number, and is called until all features together return
that there was nothing any more. Returns how much there was.
"""

ExportCarts = Callable[[AsyncConnection, Collection[CartId]], Awaitable[Mapping[CartId, Fields]]]
"""Returns the fields that a feature adds to each cart, in their order; a cart that it leaves out is not exported.

A field that is named like one of the feature's kinds holds the list of these things.
"""

LeadsTo = Callable[[ColumnElement[Any]], ColumnElement[bool]]
"""Returns the condition that a row of the feature leads to the cart with an id: the cart's row is not pruned then."""


class ExportList(Struct, frozen=True):
    """A list of its own in the exported document. It is read in parts, as it may be larger than the memory."""

    ids: Callable[[AsyncConnection, Collection[CartId], str | None], Awaitable[Sequence[str]]]
    """Returns the ids of what is listed of a customer or, where none is named, of some carts; in their order."""
    read: Callable[[AsyncConnection, Collection[str]], Awaitable[Sequence[Any]]]
    """Returns the things with some of these ids, in the same order, as msgspec encodes them."""


class FeatureData(Struct, frozen=True, kw_only=True):
    """The data of a feature. What is None does not apply to it."""

    kinds: Sequence[str] = ()
    """Kinds of things that it counts: plurals in -s, as the exported document spells them (`dead_letters`)."""
    count: Count | None = None
    erase_carts: EraseCarts | None = None
    erase_customer: EraseCustomer | None = None
    export_carts: ExportCarts | None = None
    export_lists: Mapping[str, ExportList] = {}
    """Lists in the exported document, by kind."""
    leads_to: LeadsTo | None = None


def rows_by(rows: Iterable[Row[Any]], column: str) -> dict[str, list[Row[Any]]]:
    """Return rows by the value of one of their columns, in the order in which they come."""
    found: dict[str, list[Row[Any]]] = {}
    for row in rows:
        found.setdefault(getattr(row, column), []).append(row)
    return found

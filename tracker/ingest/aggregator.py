"""The items that PostgreSQL does not have yet: a pure map, merged by key, bounded in bytes.

It knows no time and does no I/O; the flusher drives it. Several writes of one item become one row.

What is drained stays here, visible and counted, until it is released: a reader sees an item at every
moment between its acceptance and its commit, and the bound covers what is being written. That is
why there is no `requeue`: a batch that PostgreSQL refuses is simply not released, and written again.
"""

from collections.abc import Iterator
from itertools import chain, islice
from sys import getsizeof
from typing import Final

from tracker.errors import BufferFullError
from tracker.ingest.items import Batch, CartId, Item, ItemKey, merge_items

ENTRY_BYTES: Final = 480
"""Bytes that an entry takes in addition to its texts: the item, its key, three stamps, its slot in the map.

A test holds the sum between 0.9 and 1.5 times what Python allocates for items of every kind.
"""


class Aggregator:
    """Gathers items by (cart_id, external_id), in the order in which they were first put."""

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.coalesced = 0
        """Number of writes that were merged into an item that already waited."""
        self._pending: Batch = {}
        self._draining: Batch = {}
        self._pending_bytes = 0
        self._draining_bytes = 0

    def __len__(self) -> int:
        """Return the number of waiting items; includes the items that are being written."""
        return len(self._pending) + len(self._draining)

    @property
    def bytes(self) -> int:
        """Memory that the waiting items take, in bytes; includes the items that are being written."""
        return self._pending_bytes + self._draining_bytes

    @property
    def full(self) -> bool:
        """Whether `check_room` would raise."""
        return self.bytes >= self.max_bytes

    def check_room(self) -> None:
        """Raise BufferFullError when the budget is used up; call it before a put that may be refused."""
        if self.full:
            msg = f"the buffer is full: {self.max_bytes} bytes wait for PostgreSQL"
            raise BufferFullError(msg)

    def put(self, key: ItemKey, item: Item) -> None:
        """Merge `item` into what waits under `key`."""
        known = self._pending.get(key)
        if known is None:
            self._pending[key] = item
            self._pending_bytes += _size(key, item)
        else:
            self.coalesced += 1
            before = known.name
            known.merge(item)
            if known.name is not before:
                self._pending_bytes += getsizeof(known.name) - getsizeof(before)

    def drain(self, max_items: int) -> Batch:
        """Return the `max_items` oldest items as a batch; they stay visible and counted until `release`.

        Raises RuntimeError if the batch drained before was not released.
        """
        if self._draining:
            msg = "the batch drained before was not released"
            raise RuntimeError(msg)
        if len(self._pending) <= max_items:
            self._draining, self._pending = self._pending, {}
            self._draining_bytes, self._pending_bytes = self._pending_bytes, 0
            return self._draining
        self._draining = dict(islice(self._pending.items(), max_items))
        for key, item in self._draining.items():
            del self._pending[key]
            self._draining_bytes += _size(key, item)
        self._pending_bytes -= self._draining_bytes
        return self._draining

    def release(self) -> None:
        """Forget the drained batch: it is stored."""
        self._draining = {}
        self._draining_bytes = 0

    def oldest_stamp(self) -> int | None:
        """Return the stamp of the oldest write that is not released, or None if nothing waits."""
        for batch in (self._draining, self._pending):
            if batch:
                return next(iter(batch.values())).added_stamp
        return None

    def waiting(self) -> Iterator[tuple[ItemKey, Item]]:
        """Iterate over everything that is not released; nothing may be put meanwhile."""
        return chain(self._draining.items(), self._pending.items())

    def of_cart(self, cart_id: CartId) -> dict[str, Item]:
        """Return copies of the waiting items of one cart, by external id.

        This looks at every waiting item, for a call that then reads PostgreSQL: a fraction of a
        millisecond under load, 4 to 12 ms with 100,000 waiting after an outage. An index by cart
        would cost every put instead.
        """
        found: dict[str, Item] = {}
        for (of_cart, external_id), item in self.waiting():
            if of_cart == cart_id:
                merge_items(found, {external_id: item})
        return found


def _size(key: ItemKey, item: Item) -> int:
    return ENTRY_BYTES + getsizeof(key[1]) + getsizeof(item.name)

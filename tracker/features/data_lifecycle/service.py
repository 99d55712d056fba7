"""Prunes and erases carts in small transactions, each of which also stores what keeps its carts from coming back.

Pruning takes one window of carts after the other, in the order of their ids, and leaves out the carts that somebody
has locked: the next run finds them. A cart that an order or a younger cart still leads to stays as an empty row.

Erasing keeps the rows of the carts, empty: a journal that is replayed later meets their `erased_stamp`.
Once they are older than the horizon, pruning removes them like all others.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.carts.domain import new_cart_id
from tracker.features.customer_carts import store as customer_store
from tracker.features.data_lifecycle import store
from tracker.features.data_lifecycle.domain import Amount, Whose, stamp_at
from tracker.ingest.items import CartId
from tracker.kit.clock import WORKER_BITS
from tracker.postgres.retries import committed

WINDOW_CARTS: Final = 1000
"""Number of carts that one transaction of a prune looks at, and the most that it locks: for about 0.1 s."""

PAUSE_S: Final = 0.05
"""Seconds to pause after a transaction that has removed something, so that flushes and replicas can keep up."""

ERASE_AT_ONCE: Final = 500
"""Number of carts, and of orders, of a customer that one transaction erases."""

HORIZON_LOCK_TIMEOUT_MS: Final = 200
"""Milliseconds to wait for the flushes under way to end; the flushes behind wait as long.

A transaction that lasts longer, such as a dump, ends the try.
"""

Forget = Callable[[Collection[CartId]], int]
"""Forgets the dead letters of some carts; returns how many there were."""

OnProgress = Callable[[CartId | None], None]
"""Is called with the id of the last cart that a prune has passed, or None after the last one of all."""


async def prune(engine: AsyncEngine, before: datetime, *, dry_run: bool, on_progress: OnProgress) -> Amount:
    """Remove the carts to which nothing has happened since `before`; return how much that was, or would be.

    Raises DatabaseUnavailableError when PostgreSQL does not take it; what was removed until then stays so.
    """
    stamp = stamp_at(before)
    if not dry_run:
        await committed(engine, partial(store.move_horizon, stamp=stamp, lock_timeout_ms=HORIZON_LOCK_TIMEOUT_MS))
    pruned = Amount()
    after: CartId | None = None
    while True:
        upto = await committed(engine, partial(store.end_of_window, after=after, size=WINDOW_CARTS))
        work = _count_window if dry_run else _prune_window
        amount = await committed(engine, partial(work, stamp=stamp, after=after, upto=upto))
        pruned += amount
        on_progress(upto)
        if upto is None:
            return pruned
        after = upto
        if amount.carts and not dry_run:
            await asyncio.sleep(PAUSE_S)


async def _prune_window(connection: AsyncConnection, stamp: int, after: CartId | None, upto: CartId | None) -> Amount:
    """Remove the carts of a window, and those that were merged into them; empty those that must stay."""
    old = await store.lock_old_in_window(connection, stamp, after, upto)
    old |= await store.lock_old_among(connection, stamp, await store.merged_into(connection, old) - old)
    needed = await _needed(connection, old)
    amount, held = await store.empty(connection, old)
    await store.delete_carts(connection, old - needed)
    emptied = held & needed
    await store.mark_erased(connection, emptied, stamp)
    return amount + Amount(carts=len(old - needed) + len(emptied))


async def _count_window(connection: AsyncConnection, stamp: int, after: CartId | None, upto: CartId | None) -> Amount:
    """Return how much of a window `_prune_window` would remove by now."""
    old = await store.old_in_window(connection, stamp, after, upto)
    merged = await store.old_among(connection, stamp, await store.merged_into(connection, old) - old)
    needed = await _needed(connection, old | merged)
    amount, held = await store.contents(connection, old)
    return amount + Amount(carts=len(old - needed) + len(held & needed))


async def _needed(connection: AsyncConnection, cart_ids: set[CartId]) -> set[CartId]:
    """Return the carts that an order, or a cart that stays, still leads to."""
    needed = await store.needed_among(connection, cart_ids)
    ways = await store.ways_of(connection, cart_ids)
    staying = list(needed)
    while staying:
        following = ways.get(staying.pop())
        if following in ways and following not in needed:
            needed.add(following)
            staying.append(following)
    return needed


async def amount_of(engine: AsyncEngine, whose: Whose) -> Amount:
    """Return how much is stored of a cart or a customer."""

    async def work(connection: AsyncConnection) -> Amount:
        cart_ids = await carts_of(connection, whose)
        amount, _ = await store.contents(connection, cart_ids)
        orders = 0 if whose.customer is None else await store.orders_of(connection, whose.customer)
        return amount + Amount(carts=len(cart_ids), orders=orders)

    return await committed(engine, work)


async def carts_of(connection: AsyncConnection, whose: Whose) -> set[CartId]:
    """Return the carts that are meant, with those that were merged into them."""
    if whose.cart_id is not None:
        return await store.with_merged(connection, whose.cart_id)
    return await store.merged_into(connection, await store.carts_of(connection, whose.customer or ""))


async def erase(engine: AsyncEngine, whose: Whose, *, stamp: int, forget: Forget) -> Amount:
    """Erase all data, stored or still waiting anywhere, that was written up to `stamp`.

    `stamp` is raised to the newest write that is stored. Returns how much it was; raises DatabaseUnavailableError when
    PostgreSQL does not take it.
    """
    if whose.cart_id is not None:
        return await committed(engine, partial(_erase_cart, cart_id=whose.cart_id, stamp=stamp, forget=forget))
    erase_some = partial(
        _erase_some, customer=whose.customer or "", pseudonym=f"erased-{uuid.uuid4()}", stamp=stamp, forget=forget
    )
    erased = Amount()
    while True:  # what comes meanwhile goes too: the cart that follows a purchase, and the order
        amount = await committed(engine, erase_some)
        if amount == Amount():
            return erased
        erased += amount


async def _erase_cart(connection: AsyncConnection, cart_id: CartId, stamp: int, forget: Forget) -> Amount:
    # An unknown one too: it may stand in a journal that nobody has replayed yet.
    await customer_store.create_unless_known(connection, cart_id)
    cart_ids: set[CartId] = set()
    while not cart_ids >= (found := await store.with_merged(connection, cart_id)):
        cart_ids = found
        await customer_store.lock(connection, cart_ids)  # what was merged meanwhile is found the next time
    stamp = max(stamp, _end_of(await store.newest_stamp(connection, cart_ids)))
    amount, held = await store.empty(connection, cart_ids)
    await store.mark_erased(connection, cart_ids, stamp)
    return amount + Amount(carts=len(held), dead_letters=forget(cart_ids))


async def _erase_some(connection: AsyncConnection, customer: str, pseudonym: str, stamp: int, forget: Forget) -> Amount:
    await customer_store.take_turn(connection, customer)  # no cart is claimed meanwhile
    # Before the carts, as who settles an order locks them.
    orders = await store.delete_failed_orders(connection, customer)
    orders += await store.give_orders(connection, customer, pseudonym, ERASE_AT_ONCE)
    theirs = await store.carts_of(connection, customer, ERASE_AT_ONCE)
    cart_ids: set[CartId] = set()
    while not cart_ids >= (found := await store.merged_into(connection, theirs)):
        cart_ids = found
        await customer_store.lock(connection, cart_ids)
    stamp = max(stamp, _end_of(await store.newest_stamp(connection, cart_ids)))
    amount, _ = await store.empty(connection, cart_ids)
    if purchased := await store.purchased_among(connection, cart_ids):
        # Their orders need them. What still comes for them must not lead to a cart that somebody may claim.
        nobodys = await customer_store.newest_open(connection, pseudonym)
        if nobodys is None:
            nobodys = new_cart_id()
            await customer_store.create(connection, nobodys, pseudonym)
        await store.give_purchased(connection, purchased, pseudonym, nobodys, stamp)
    await store.disown(connection, cart_ids, stamp)
    return amount + Amount(carts=len(cart_ids), orders=orders, dead_letters=forget(cart_ids))


def _end_of(stamp: int) -> int:
    """Return the greatest stamp that any worker can have given out at the time of another."""
    return stamp | (1 << WORKER_BITS) - 1

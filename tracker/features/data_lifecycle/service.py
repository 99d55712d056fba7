"""Prunes and erases carts in small transactions, each of which also stores what keeps its carts from coming back.

Pruning takes one window of carts after the other, in the order of their ids, and leaves out the carts that somebody
has locked: the next run finds them. A cart that an order or a younger cart still leads to stays as an empty row.

Erasure keeps the rows of the carts, empty: a journal that is replayed later meets their `erased_stamp`.
Once they are older than the horizon, pruning removes them like all others.
"""

import asyncio
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from datetime import datetime
from functools import partial
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from tracker.features.carts import chains, removal
from tracker.features.customer_carts import store as customer_store
from tracker.features.data_lifecycle.domain import Amount, DataSubject, nothing_of
from tracker.features.feature_data import Contents, Erasure, FeatureData
from tracker.ingest import dead_letter_data
from tracker.ingest.dead_letter_data import DeadLetterData
from tracker.ingest.items import CartId
from tracker.kit.clock import greatest_beside, stamp_at
from tracker.postgres.retries import run_in_transaction

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

OnProgress = Callable[[CartId | None], None]
"""Is called with the id of the last cart that a prune has passed, or None after the last one of all."""

Features = Sequence[FeatureData]
"""The data of all features, each behind those that its rows belong to."""


def nothing(features: Features) -> Amount:
    """Return an amount of nothing, with the kinds of all features in the order in which they are shown."""
    kinds = (kind for feature in features for kind in feature.kinds)
    return nothing_of(("carts", *kinds, dead_letter_data.KIND))


async def prune(
    engine: AsyncEngine, features: Features, before: datetime, *, dry_run: bool, on_progress: OnProgress
) -> Amount:
    """Remove the carts to which nothing has happened since `before`; return how much that was, or would be.

    Raises DatabaseUnavailableError when PostgreSQL does not take it; what was removed until then stays so.
    """
    stamp = stamp_at(before)
    if not dry_run:
        await run_in_transaction(
            engine, partial(removal.move_horizon, stamp=stamp, lock_timeout_ms=HORIZON_LOCK_TIMEOUT_MS)
        )
    pruned = nothing(features)
    after: CartId | None = None
    while True:
        upto = await run_in_transaction(engine, partial(removal.end_of_window, after=after, size=WINDOW_CARTS))
        work = _count_window if dry_run else _prune_window
        amount = await run_in_transaction(engine, partial(work, features=features, stamp=stamp, after=after, upto=upto))
        pruned.update(amount)
        on_progress(upto)
        if upto is None:
            return pruned
        after = upto
        if amount["carts"] and not dry_run:
            await asyncio.sleep(PAUSE_S)


async def _prune_window(
    connection: AsyncConnection, features: Features, stamp: int, after: CartId | None, upto: CartId | None
) -> Amount:
    """Remove the carts of a window, and those that were merged into them; empty those that must stay."""
    old = await removal.lock_old_in_window(connection, stamp, after, upto)
    old |= await removal.lock_old_among(connection, stamp, await chains.merged_into(connection, old) - old)
    needed = await _needed(connection, features, old)
    amount, held = await _empty(connection, features, Erasure(old, stamp))
    await removal.delete_carts(connection, old - needed)
    emptied = held & needed
    await removal.mark_erased(connection, emptied, stamp)
    amount["carts"] = len(old - needed) + len(emptied)
    return amount


async def _count_window(
    connection: AsyncConnection, features: Features, stamp: int, after: CartId | None, upto: CartId | None
) -> Amount:
    """Return how much of a window `_prune_window` would remove by now."""
    old = await removal.old_in_window(connection, stamp, after, upto)
    merged = await removal.old_among(connection, stamp, await chains.merged_into(connection, old) - old)
    needed = await _needed(connection, features, old | merged)
    amount, held = await _count(connection, features, old, None)
    amount["carts"] = len(old - needed) + len(held & needed)
    return amount


async def _needed(connection: AsyncConnection, features: Features, cart_ids: set[CartId]) -> set[CartId]:
    """Return the carts that a row of a feature, or a cart that stays, still leads to."""
    leads_to = [feature.leads_to for feature in features if feature.leads_to is not None]
    needed = await removal.needed_among(connection, cart_ids, leads_to)
    ways = await chains.ways_of(connection, cart_ids)
    staying = list(needed)
    while staying:
        following = ways.get(staying.pop())
        if following in ways and following not in needed:
            needed.add(following)
            staying.append(following)
    return needed


async def _empty(connection: AsyncConnection, features: Features, erasing: Erasure) -> tuple[Amount, set[CartId]]:
    """Erase what locked carts hold, what belongs to something else first; return how much, and what was not empty."""
    erase = [feature.erase_carts for feature in reversed(features) if feature.erase_carts is not None]
    return _together([await erase_carts(connection, erasing) for erase_carts in erase])


async def _count(
    connection: AsyncConnection, features: Features, cart_ids: Collection[CartId], customer: str | None
) -> tuple[Amount, set[CartId]]:
    """Return how much erasing some carts, and their customer, would erase, and which of the carts are not empty."""
    counts = [feature.count for feature in features if feature.count is not None]
    return _together([await count(connection, cart_ids, customer) for count in counts])


def _together(found: Iterable[Contents]) -> tuple[Amount, set[CartId]]:
    amount = Amount()
    held: set[CartId] = set()
    for contents in found:
        amount.update(contents.counts)
        held |= contents.carts
    return amount, held


async def amount_of(engine: AsyncEngine, features: Features, subject: DataSubject) -> Amount:
    """Return how much is stored of a cart or a customer."""

    async def work(connection: AsyncConnection) -> Amount:
        cart_ids = await carts_of(connection, subject)
        amount = nothing(features)
        amount.update((await _count(connection, features, cart_ids, subject.customer))[0])
        amount["carts"] = len(cart_ids)
        return amount

    return await run_in_transaction(engine, work)


async def carts_of(connection: AsyncConnection, subject: DataSubject) -> set[CartId]:
    """Return the carts that are meant, with those that were merged into them."""
    if subject.cart_id is not None:
        return await chains.with_merged(connection, subject.cart_id)
    return await chains.merged_into(
        connection, await customer_store.ids_of_customer(connection, subject.customer or "")
    )


async def erase(
    engine: AsyncEngine, features: Features, letters: DeadLetterData, subject: DataSubject, *, stamp: int
) -> Amount:
    """Erase all data, stored or still waiting anywhere, that was written up to `stamp`.

    `stamp` is raised to the newest write that is stored. Returns how much it was; raises DatabaseUnavailableError when
    PostgreSQL does not take it.
    """
    erased = nothing(features)
    if subject.cart_id is not None:
        erase_cart = partial(_erase_cart, features=features, letters=letters, cart_id=subject.cart_id, stamp=stamp)
        erased.update(await run_in_transaction(engine, erase_cart))
        return erased
    pseudonym = f"erased-{uuid.uuid4()}"
    erase_some = partial(
        _erase_some,
        features=features,
        letters=letters,
        customer=subject.customer or "",
        pseudonym=pseudonym,
        stamp=stamp,
    )
    while True:  # what comes meanwhile goes too: the cart that follows a purchase, and the order
        amount = await run_in_transaction(engine, erase_some)
        if not amount.total():
            return erased
        erased.update(amount)


async def _erase_cart(
    connection: AsyncConnection, features: Features, letters: DeadLetterData, cart_id: CartId, stamp: int
) -> Amount:
    # An unknown one too: it may stand in a journal that nobody has replayed yet.
    await customer_store.create_unless_known(connection, cart_id)
    cart_ids: set[CartId] = set()
    while not cart_ids >= (found := await chains.with_merged(connection, cart_id)):
        cart_ids = found
        await customer_store.lock(connection, cart_ids)  # what was merged meanwhile is found the next time
    stamp = max(stamp, greatest_beside(await removal.newest_stamp(connection, cart_ids)))
    amount, held = await _empty(connection, features, Erasure(cart_ids, stamp))
    await removal.mark_erased(connection, cart_ids, stamp)
    amount["carts"] = len(held)
    amount[dead_letter_data.KIND] = letters.erase(cart_ids)
    return amount


async def _erase_some(
    connection: AsyncConnection,
    features: Features,
    letters: DeadLetterData,
    customer: str,
    pseudonym: str,
    stamp: int,
) -> Amount:
    await customer_store.take_turn(connection, customer)  # no cart is claimed meanwhile
    amount = Amount()
    for feature in reversed(features):
        if feature.erase_customer is not None:
            amount.update(await feature.erase_customer(connection, customer, pseudonym, ERASE_AT_ONCE))
    theirs = await customer_store.ids_of_customer(connection, customer, ERASE_AT_ONCE)
    cart_ids: set[CartId] = set()
    while not cart_ids >= (found := await chains.merged_into(connection, theirs)):
        cart_ids = found
        await customer_store.lock(connection, cart_ids)
    stamp = max(stamp, greatest_beside(await removal.newest_stamp(connection, cart_ids)))
    contents, _ = await _empty(connection, features, Erasure(cart_ids, stamp, pseudonym))
    amount.update(contents)
    amount["carts"] = len(cart_ids)
    amount[dead_letter_data.KIND] = letters.erase(cart_ids)
    return amount

"""Stores what stands in the journal of a dead worker."""

import msgspec

from tracker.carts.delivery import Delivery
from tracker.carts.domain import Batch
from tracker.carts.journal.recovery import Replay
from tracker.carts.record import decode_record
from tracker.db.failures import Failure
from tracker.errors import DatabaseUnavailableError


async def replay(delivery: Delivery, payloads: list[bytes], *, max_items: int) -> Replay:
    """Store the items in `payloads`, `max_items` at a time.

    Raises DatabaseUnavailableError at the first batch that PostgreSQL does not take: what was stored
    until then does no harm the next time.
    """
    batch: Batch = {}
    stored = undecodable = greatest_stamp = 0
    for payload in payloads:
        try:
            cart_id, external_id, item = decode_record(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            undecodable += 1
            continue
        greatest_stamp = max(greatest_stamp, item.updated_stamp)
        known = batch.setdefault((cart_id, external_id), item)
        if known is not item:
            known.merge(item)
        if len(batch) >= max_items:
            await delivery.deliver(batch, _give_up)
            stored += len(batch)
            batch = {}
    if batch:
        await delivery.deliver(batch, _give_up)
        stored += len(batch)
    return Replay(stored, undecodable, greatest_stamp)


async def _give_up(failure: Failure, tries: int) -> None:
    msg = f"PostgreSQL does not take them now ({failure.value}, try {tries})"
    raise DatabaseUnavailableError(msg)

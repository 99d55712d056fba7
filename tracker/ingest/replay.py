"""Stores the items in the journal of a dead worker, and finds the last stamp that the worker has given out."""

import contextlib
from pathlib import Path

import msgspec

from tracker.errors import DatabaseUnavailableError
from tracker.ingest.delivery import Delivery
from tracker.ingest.items import Batch
from tracker.ingest.journal.recovery import Replay, newest_payloads
from tracker.ingest.journal_record import decode_record
from tracker.ingest.last_stamp import load_stamp
from tracker.kit.files import Files
from tracker.postgres.error_classes import Failure


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


def last_stamp(files: Files, folder: Path) -> int:
    """Return the greatest stamp that the worker of a folder has given out and that can be found anywhere."""
    in_journal = 0
    for payload in newest_payloads(files, folder):
        with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
            in_journal = max(in_journal, decode_record(payload)[2].updated_stamp)
    return max(in_journal, load_stamp(files, folder))

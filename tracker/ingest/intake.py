"""Takes writes of items: the only way into the pipeline.

Nothing here waits for PostgreSQL, unless the acknowledgement level asks for it.
"""

import logging
import time
from typing import Final

from tracker.errors import BufferFullError, DatabaseUnavailableError, UnconfirmedError
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.flush_traces import TracedItems
from tracker.ingest.flusher import Flusher
from tracker.ingest.items import Item, ItemWrite
from tracker.ingest.journal.protocol import Journal
from tracker.ingest.journal_record import encode_record
from tracker.kit.clock import Stamper
from tracker.kit.confirmation import Confirmation
from tracker.settings import Ack
from tracker.telemetry import tracing

FULL_TOLD_EVERY_S: Final = 60.0
"""Minimum seconds between two log lines that say that the buffer is full: every refused item finds it full."""

logger = logging.getLogger(__name__)


class Intake:
    """Takes writes of items; one instance serves the whole process."""

    def __init__(
        self,
        *,
        stamper: Stamper,
        journal: Journal,
        aggregator: Aggregator,
        flusher: Flusher,
        traced_items: TracedItems | None,
        ack: Ack,
        commit_timeout_s: float,
    ) -> None:
        self._stamper = stamper
        self._journal = journal
        self._aggregator = aggregator
        self._flusher = flusher
        self._ack = ack
        self._keeps_journal = keeps_journal(ack)
        self._confirms = ack in {Ack.FSYNC, Ack.COMMIT}
        self._commit_timeout_s = commit_timeout_s
        self._traced_items = traced_items
        self._full_told_s = -FULL_TOLD_EVERY_S
        self.accepted = 0
        """Number of writes that were taken."""

    def take(self, write: ItemWrite) -> Confirmation | None:
        """Take a write, whose fields are valid.

        Return None if it is acknowledged at once (other levels than `fsync` and `commit`), or else a confirmation that
        tells when it is acknowledged, or why it is not. If the request is traced, what the write leads to is traced
        with it. Raises BufferFullError or JournalUnavailableError when nothing was taken.
        """
        try:
            self._aggregator.check_room()
        except BufferFullError as error:
            self._tell_full(error)
            raise
        stamp = self._stamper.next()
        item = Item.written(stamp, write.name, write.value, write.quantity)
        if self._keeps_journal:
            self._journal.append(encode_record(write.cart_id, write.external_id, item), stamp)
        key = write.cart_id, write.external_id
        self._aggregator.put(key, item)
        self._flusher.wake()
        self.accepted += 1
        if self._traced_items is not None and (span := tracing.current_span()) is not None:
            self._traced_items.note(key, span.traceparent)
        if not self._confirms:
            return None
        if self._ack is Ack.FSYNC:
            return self._journal.synced()
        return self._flusher.committed(stamp, self._commit_timeout_s)

    async def accept(self, write: ItemWrite) -> None:
        """Take a write as `take` does, and return once it is acknowledged.

        Raises UnconfirmedError when it was taken but is not confirmed in time.
        """
        confirmation = self.take(write)
        if confirmation is not None:
            reason = await confirmation.wait()
            if reason is not None:
                raise UnconfirmedError(write.cart_id, reason)

    async def flush(self) -> None:
        """Return once everything that was taken until now is stored.

        Raises DatabaseUnavailableError when that does not come in time.
        """
        if self._aggregator:
            reason = await self._flusher.committed(self._stamper.last, self._commit_timeout_s).wait()
            if reason is not None:
                raise DatabaseUnavailableError("PostgreSQL has not stored in time what came before")

    def _tell_full(self, error: BufferFullError) -> None:
        now_s = time.monotonic()
        if now_s - self._full_told_s >= FULL_TOLD_EVERY_S:
            self._full_told_s = now_s
            logger.error("no items are accepted", extra={"reason": str(error)})

    def stop_waiting(self) -> None:
        """Answer those who wait for a confirmation that it did not come in time."""
        self._flusher.stop_waiting()
        self._journal.stop_waiting()

    @property
    def ready(self) -> bool:
        """Whether the next write would be taken."""
        return (
            self._flusher.running
            and self._journal.running
            and self._journal.refusal is None
            and not self._aggregator.full
        )


def keeps_journal(ack: Ack) -> bool:
    """Return whether an acknowledgement level needs the journal for what it promises."""
    return ack in {Ack.JOURNAL, Ack.FSYNC}

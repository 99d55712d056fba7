"""The way of an accepted item until it is stored: its parts are built together, and closed in order.

When it closes, what was accepted is stored as long as there is time; what is left then stands in the journal.
"""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

from tracker.ingest.aggregator import Aggregator
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.delivery import Delivery, Write
from tracker.ingest.flush_traces import TracedItems
from tracker.ingest.flusher import Flusher
from tracker.ingest.intake import Intake, keeps_journal
from tracker.ingest.journal.journal import FileJournal, Limits
from tracker.ingest.journal.protocol import Journal, NoJournal
from tracker.ingest.journal.recovery import Recovery
from tracker.ingest.journal_record import encode_record
from tracker.ingest.last_stamp import save_stamp
from tracker.ingest.replay import last_stamp, replay
from tracker.ingest.worker_folders import WorkerFolder
from tracker.kit.clock import Clock, Stamper
from tracker.kit.files import Files
from tracker.settings import Ack, IngestSettings
from tracker.telemetry.tracing import Tracer

LAST_FLUSH_TIMEOUT_S: Final = 4.0
"""Seconds to store what is left when the process stops; with the requests in hand (3 s) and the jobs (2.5 s) a stop
stays within 12 s, unless the disk hangs as well."""

MIB: Final = 1024 * 1024

SEGMENT_BYTES: Final = 16 * MIB
"""Size of a journal's segment, in bytes, at which the next one begins; less where the journal may not be large."""

logger = logging.getLogger(__name__)


class Pipeline:
    """The parts that an accepted item goes through until it is stored."""

    def __init__(
        self,
        settings: IngestSettings,
        *,
        data_dir: Path,
        folder: WorkerFolder,
        clock: Clock,
        files: Files,
        write: Write,
        tracer: Tracer | None,
    ) -> None:
        """Keep the journal in a worker's `folder`, and store batches with `write`.

        `tracer` begins the spans of flushes; None: nothing is traced. Raises OSError if the folder cannot be read.
        """
        self._settings = settings
        self._folder = folder
        self._files = files
        self.clock: Final = clock
        self.stamper: Final = Stamper(clock, folder.number, last=last_stamp(files, folder.path))
        self.aggregator: Final = Aggregator(settings.buffer_max_mb * MIB)
        self.dead_letters: Final = DeadLetters(folder.path)
        self.delivery: Final = Delivery(write, self.dead_letters)
        self.recovery: Final = Recovery(
            data_dir,
            folder,
            files,
            replay=partial(replay, self.delivery, max_items=settings.flush_max_items),
            last_stamp=self._last_stamp,
        )
        self.journal: Final = self._new_journal()
        traced_items = None if tracer is None else TracedItems(tracer)
        self.flusher: Final = Flusher(
            self.aggregator,
            self.delivery,
            traced_items=traced_items,
            interval_ms=settings.flush_interval_ms,
            max_items=settings.flush_max_items,
            on_flush=self.keep_stamp,
            on_committed=self._release_journal,
        )
        self.intake: Final = Intake(
            stamper=self.stamper,
            journal=self.journal,
            aggregator=self.aggregator,
            flusher=self.flusher,
            traced_items=traced_items,
            ack=settings.ack,
            commit_timeout_s=settings.commit_timeout_s,
        )
        self.lost_items = 0
        """Number of items that were accepted and are stored nowhere, once the pipeline is closed."""

    async def open(self) -> None:
        """Start the tasks, whose order does not matter: from now on items are accepted and stored."""
        self.recovery.start()
        await self.journal.start()
        self.flusher.start()

    async def close(self) -> None:
        """Store what is left as long as there is time, and stop the tasks."""
        await self.recovery.close()
        await self.flusher.close(LAST_FLUSH_TIMEOUT_S)
        await self.journal.close()
        if self._settings.ack is Ack.MEMORY:
            self.lost_items = len(self.aggregator)

    def keep_stamp(self) -> None:
        """Write the last stamp to the worker's file; an error is logged, as the journal holds the stamps too."""
        try:
            save_stamp(self._files, self._folder.path, self.stamper.last, durably=False)
        except OSError as error:
            logger.warning("the last stamp cannot be kept", extra={"error": str(error)})

    def _new_journal(self) -> Journal:
        if not keeps_journal(self._settings.ack):
            return NoJournal()
        return FileJournal(
            self._folder.path,
            self._files,
            _limits_of(self._settings),
            waiting=self._records,
            last_stamp=self._last_stamp,
            leftover_bytes=lambda: self.recovery.leftover_bytes,
        )

    def _records(self) -> Iterator[tuple[bytes, int]]:
        for (cart_id, external_id), item in self.aggregator.waiting():
            yield encode_record(cart_id, external_id, item), item.updated_stamp

    def _last_stamp(self) -> int:
        return self.stamper.last

    def _release_journal(self) -> None:
        oldest = self.aggregator.oldest_stamp()
        self.journal.release(self.stamper.last + 1 if oldest is None else oldest)


def _limits_of(settings: IngestSettings) -> Limits:
    """Return the limits of the journal."""
    max_bytes = settings.journal_max_mb * MIB
    return Limits(
        max_bytes=max_bytes,
        # Only whole segments can be removed, so each may take only a part of the budget.
        segment_bytes=min(SEGMENT_BYTES, max_bytes // 8),
        min_free_bytes=settings.journal_min_free_mb * MIB,
        sync_interval_s=0 if settings.ack is Ack.FSYNC else settings.journal_sync_ms / 1000,
    )

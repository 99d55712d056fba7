"""The journal of one worker: what has been accepted stands in a file before the client is answered.

Frames are appended to the active segment on the event loop (a write of 200 bytes into the page cache
takes 0.4 µs, a hop to a thread 30); everything that can wait for a disk (creating, syncing, removing)
is done by one thread, in rounds. A spare segment is always ready, so that rotation waits for nothing.

There is no ledger: the existence of a segment is the only state. It is removed once everything that
was ever appended to it is committed, which its greatest stamp tells: stamps grow, and the flusher
knows the oldest that is not committed.

A segment whose write or sync failed is never written or synced again (after a failed fsync the kernel
may have dropped the pages and report success the next time). A new one takes its place, and what the
lost pages may have held is written there once more, from the aggregator, which still has it.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

from tracker.errors import JournalUnavailableError
from tracker.ingest.journal.frames import HEADER_BYTES, parse_segment_name
from tracker.ingest.journal.segment import Segment, create_segment
from tracker.ingest.last_stamp import save_stamp
from tracker.kit.background_task import end, wait_for_event
from tracker.kit.confirmation import Confirmation, confirmation_within
from tracker.kit.files import Files

TICK_S: Final = 0.5
"""Seconds between two checks of free space, age and a missing segment, while there is something to check."""

SEGMENT_AGE_S: Final = 10.0
"""Age in seconds from which a segment is followed by the next one, so that committed data is removed soon."""

SYNC_TIMEOUT_S: Final = 10.0
"""Longest time that an answer waits for a sync, in seconds; a slower disk is treated as if it were absent."""

CLOSE_TIMEOUT_S: Final = 3.0
"""Seconds for the last sync when the process stops; data that is not synced by then is in the page cache."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits that decide when the journal rotates, syncs and refuses."""

    max_bytes: int
    """Largest size of all segments together, in bytes; above it, appends are refused."""

    min_free_bytes: int
    """Least free space of the file system, in bytes.

    Below it, appends are refused, so that PostgreSQL on the same disk can go on.
    """

    sync_interval_s: float
    """Seconds from one sync to the next; with 0 a sync starts as soon as there is something to sync."""

    segment_bytes: int
    """Size in bytes from which a segment is followed by the next one.

    A restart replays at most this much without need.
    """


class FileJournal:
    """A journal in a folder that this process has locked."""

    def __init__(
        self,
        folder: Path,
        files: Files,
        limits: Limits,
        *,
        waiting: Callable[[], Iterable[tuple[bytes, int]]],
        last_stamp: Callable[[], int],
        leftover_bytes: Callable[[], int],
    ) -> None:
        """Write into `folder`.

        `waiting` returns payload and stamp of everything that is not committed, `last_stamp` the
        greatest stamp given out so far, `leftover_bytes` the size of the data that an earlier process
        left in the folder and that is not replayed yet.
        """
        self._folder = folder
        self._files = files
        self._limits = limits
        self._waiting = waiting
        self._last_stamp = last_stamp
        self._leftover_bytes = leftover_bytes
        self._number = max(
            (parsed[0] for name in files.names(folder) if (parsed := parse_segment_name(name))), default=0
        )
        self._active: Segment | None = None
        self._spare: Segment | None = None
        self._sealed: list[Segment] = []
        self._committed_before = 0
        self._refusal: str | None = None
        self._rewrite = False
        self._disk_low = False
        self._next_look_s = 0.0
        self._bytes = 0
        self._budget = limits.max_bytes - leftover_bytes()
        self._work = asyncio.Event()
        self._closing = asyncio.Event()
        self._nobody_waits = False
        self._next_sync: Confirmation | None = None
        self._this_sync: Confirmation | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._task: asyncio.Task[None] | None = None

    @property
    def used_bytes(self) -> int:
        """Disk space that the journal takes, in bytes; includes the data that an earlier process left."""
        return self._bytes + self._leftover_bytes()

    @property
    def max_bytes(self) -> int:
        """Disk space that the journal may take, in bytes."""
        return self._limits.max_bytes

    @property
    def items(self) -> int:
        """Number of frames of this process that are not removed yet; includes frames of items that are committed."""
        return sum(segment.sequence for segment in (*self._sealed, self._active) if segment is not None)

    @property
    def running(self) -> bool:
        """Whether the journal's background task is alive."""
        return self._task is not None and not self._task.done()

    @property
    def refusal(self) -> str | None:
        """Reason why the next append would be refused; None if it would not."""
        if self._is_full():
            return f"the journal is full: {self._limits.max_bytes} bytes wait for PostgreSQL"
        return self._refusal or (None if self._active is not None else "the journal has no segment yet")

    def _is_full(self) -> bool:
        if self._bytes < self._budget:
            return False
        self._budget = self._limits.max_bytes - self._leftover_bytes()  # which only shrink
        return self._bytes >= self._budget

    async def start(self) -> None:
        """Begin the work in the background, on the running event loop."""
        await self._have_segments()
        self._task = asyncio.create_task(self._run(), name="journal")
        self._work.set()

    def append(self, payload: bytes, stamp: int) -> None:
        """Write `payload`, whose write has `stamp`; raise JournalUnavailableError if it cannot be kept."""
        segment = self._active
        if segment is None or self._refusal is not None or self._is_full():
            raise JournalUnavailableError(self.refusal or "the journal is not available")
        was_dirty = segment.dirty
        try:
            self._bytes += segment.append(payload, stamp)
        except OSError as error:
            # A frame may stand there in part; nothing may follow it.
            self._seal(segment)
            self._refuse(f"the journal cannot be written: {error.strerror or error}")
            self._work.set()  # a new segment is needed, also if nobody writes again
            raise JournalUnavailableError("the journal cannot be written") from error
        if not was_dirty:
            self._work.set()

    def synced(self) -> Confirmation:
        """Return a confirmation that is resolved when everything appended so far would survive a loss of power.

        All callers that wait for the same sync share one confirmation and its timer.
        """
        if self._next_sync is None or self._next_sync.resolved:
            seconds = 0.0 if self._nobody_waits else SYNC_TIMEOUT_S
            self._next_sync = confirmation_within(seconds, f"the disk has not confirmed for {seconds:g} s")
            self._work.set()
        return self._next_sync

    def stop_waiting(self) -> None:
        """Tell everybody who waits for a sync that it has not come in time: the process is about to end."""
        self._nobody_waits = True
        for confirmation in (self._this_sync, self._next_sync):
            if confirmation is not None:
                confirmation.resolve("the service stops, and the disk has not confirmed in time")

    def release(self, before: int) -> None:
        """Tell the journal that everything with a stamp below `before` is committed."""
        self._committed_before = before
        if self._sealed and self._sealed[0].last_stamp < before:
            self._work.set()

    async def close(self) -> None:
        """Sync the data that is left, remove committed segments, and close the files."""
        self._closing.set()
        self._work.set()
        await end(self._task, timeout_s=CLOSE_TIMEOUT_S, cancel_timeout_s=CLOSE_TIMEOUT_S)
        self._thread.shutdown(wait=False)

    async def _run(self) -> None:
        while not self._closing.is_set():
            await wait_for_event(self._work, TICK_S if self._busy else None)
            self._work.clear()
            try:
                await self._round()
            except Exception:
                logger.exception("the journal's work failed")
                self._refuse("the journal's work failed")
                await wait_for_event(self._closing, TICK_S)
            # A disk whose syncs fail one after the other must not be filled with ever new segments.
            if pause_s := TICK_S if self._rewrite else self._limits.sync_interval_s:
                await wait_for_event(self._closing, pause_s)
        if self._rewrite:
            await self._have_segments()
        for segment in (self._active, self._spare):
            if segment is not None:
                self._seal(segment)
        await self._sync()
        await self._remove_committed()
        for segment in self._sealed:
            segment.close()

    @property
    def _busy(self) -> bool:
        """Whether there is anything that must be checked from time to time."""
        active = self._active
        if active is None or self._spare is None or self._refusal is not None:
            return True
        return active.sequence > 0 or bool(self._sealed)

    async def _round(self) -> None:
        await self._have_segments()
        self._rotate()
        await self._sync()
        await self._remove_committed()

    async def _have_segments(self) -> None:
        """Make sure that there are an active segment and a spare one; refuse appends until then."""
        try:
            if await self._is_disk_low():
                self._refuse("the disk is nearly full")
                return
            if self._active is None:
                self._active, self._spare = self._spare or await self._create(), None
            if self._rewrite:
                self._rewrite_waiting(self._active)
            if self._spare is None:
                self._spare = await self._create()
        except OSError as error:
            if self._active is None:
                self._refuse(f"the journal cannot be written: {error.strerror or error}")
            return
        if self._refusal is not None:
            logger.warning("items are accepted again")
            self._refusal = None

    async def _is_disk_low(self) -> bool:
        now_s = time.monotonic()
        if now_s >= self._next_look_s:
            self._next_look_s = now_s + TICK_S
            self._disk_low = await self._in_thread(self._files.free_bytes, self._folder) < self._limits.min_free_bytes
        return self._disk_low

    def _rewrite_waiting(self, active: Segment) -> None:
        """Write into the new segment all data that a segment may have lost because its sync failed."""
        save_stamp(self._files, self._folder, self._last_stamp(), durably=True)
        try:
            for payload, stamp in self._waiting():
                self._bytes += active.append(payload, stamp)
                self._work.set()
        except OSError:
            self._seal(active)
            raise
        self._rewrite = False

    async def _create(self) -> Segment:
        self._number += 1
        segment = await self._in_thread(create_segment, self._files, self._folder, self._number)
        self._bytes += HEADER_BYTES
        return segment

    def _rotate(self) -> None:
        active = self._active
        if active is None or self._spare is None or not active.sequence:
            return
        age_s = time.monotonic() - active.opened_at
        if active.size >= self._limits.segment_bytes or age_s >= SEGMENT_AGE_S:
            self._seal(active)
            self._active, self._spare = self._spare, None
            self._active.opened_at = time.monotonic()
            self._work.set()

    def _seal(self, segment: Segment) -> None:
        self._sealed.append(segment)
        if segment is self._active:
            self._active = None
        elif segment is self._spare:
            self._spare = None

    async def _sync(self) -> None:
        self._this_sync, self._next_sync = self._next_sync, None
        for segment in (*self._sealed, self._active):
            if segment is None or not segment.dirty:
                continue
            segment.dirty = False  # what is appended from here on is for the next round
            try:
                await self._in_thread(segment.sync)
            except OSError as error:
                if segment is self._active:
                    self._seal(segment)
                segment.dirty = False
                self._rewrite = True
                self._refuse(f"the journal cannot be synced: {error.strerror or error}")
        if self._this_sync is not None:
            self._this_sync.resolve("the disk has not confirmed the item" if self._rewrite else None)

    async def _remove_committed(self) -> None:
        done = [s for s in self._sealed if not s.sequence or s.last_stamp < self._committed_before]
        if not done:
            return
        try:
            await self._in_thread(partial(save_stamp, self._files, self._folder, self._last_stamp(), durably=True))
        except OSError as error:
            logger.warning("committed segments cannot be removed, it is tried again", extra={"error": str(error)})
            return
        for segment in done:
            try:
                await self._in_thread(segment.remove)
            except OSError as error:
                logger.warning("a committed segment cannot be removed, it is tried again", extra={"error": str(error)})
                continue
            self._sealed.remove(segment)
            self._bytes -= segment.size
            segment.close()

    def _refuse(self, reason: str) -> None:
        if self._refusal is None:
            logger.error("no items are accepted", extra={"reason": reason})
        self._refusal = reason

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

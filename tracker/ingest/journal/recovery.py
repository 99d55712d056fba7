"""Replays the segments that dead workers left: at the start, and every few seconds.

A worker first finds its own folder's leftovers, of the process that had its number before. Then it
looks at the folders of other numbers: whose lock is free belongs to a dead worker, and whoever takes
the lock replays it. What is replayed twice changes nothing. When PostgreSQL does not take it, the lock
is let go, and somebody tries again in the next round.

A segment goes once all of its frames are stored. One with damage is kept under another name, for
whoever wants to look: its good frames are stored all the same.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, NamedTuple

from tracker.ingest.journal.frames import parse_segment_name, scan
from tracker.ingest.last_stamp import load_stamp, save_stamp
from tracker.ingest.worker_folders import WorkerFolder, locked, worker_folders
from tracker.kit.background_task import cancel
from tracker.kit.backoff import about_s
from tracker.kit.files import Files

ROUND_S: Final = 3.0
"""Seconds between two looks at the other folders, before jitter.

Apart from the jitter, this is the longest time that the folder of a dead worker waits.
"""

MAX_SLOWER: Final = 4
"""Most failed rounds in a row that count; each makes the pause longer by `ROUND_S`.

While PostgreSQL takes nothing, rounds get slower in this way because each try reads a segment again.
"""

CANCEL_TIMEOUT_S: Final = 1.0
"""Seconds that a cancelled write gets to end; a write that hangs in a dead connection may not end at all."""

logger = logging.getLogger(__name__)


class Replay(NamedTuple):
    """The result of replaying the payloads of a segment."""

    stored: int
    undecodable: int
    greatest_stamp: int


class Recovery:
    """Replays the segments that dead workers of a data folder left."""

    def __init__(
        self,
        data_dir: Path,
        own: WorkerFolder,
        files: Files,
        *,
        replay: Callable[[list[bytes]], Awaitable[Replay]],
        last_stamp: Callable[[], int],
    ) -> None:
        """Replay with `replay`, which stores payloads or raises; create this object before `own` gets new segments.

        `last_stamp` returns the greatest stamp that this process has given out.
        """
        self._data_dir = data_dir
        self._own = own
        self._files = files
        self._replay = replay
        self._last_stamp = last_stamp
        self._leftovers = segments_of(files, own.path)
        self._task: asyncio.Task[None] | None = None
        self.leftover_bytes = self._size_of_leftovers()
        """Bytes of the segments that an earlier process left in our own folder and that are not replayed yet."""
        self.damaged_frames = 0
        self.stored = 0
        """Number of items of dead workers that this process has stored."""

    def start(self) -> None:
        """Start the recovery task on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="recovery")

    async def close(self) -> None:
        """Stop the task at any point; the next worker that looks replays the rest."""
        await cancel(self._task, CANCEL_TIMEOUT_S)

    async def _run(self) -> None:
        failures = 0
        while True:
            try:
                await self._replay_own()
                for folder in worker_folders(self._data_dir):
                    if folder != self._own.path and segments_of(self._files, folder):
                        await self._replay_orphan(folder)
                failures = 0
            except Exception as error:  # noqa: BLE001  # whatever it was, it is tried again
                failures = min(failures + 1, MAX_SLOWER)
                logger.warning(
                    "what a dead worker left is not stored yet", extra={"error": f"{type(error).__name__}: {error}"}
                )
            await asyncio.sleep(about_s(ROUND_S * (1 + failures)))

    async def _replay_own(self) -> None:
        for name in tuple(self._leftovers):
            if await self._replay_segment(self._own.path, name):
                self._leftovers.remove(name)
                self.leftover_bytes = self._size_of_leftovers()

    async def _replay_orphan(self, folder: Path) -> None:
        with locked(folder) as is_ours:
            if is_ours:
                for name in segments_of(self._files, folder):
                    await self._replay_segment(folder, name)

    async def _replay_segment(self, folder: Path, name: str) -> bool:
        """Replay a segment and remove it; return False if it cannot be read now, raise if it cannot be stored."""
        path = folder / name
        parsed = parse_segment_name(name)
        assert parsed is not None, name  # noqa: S101  # only such names get here
        try:
            data = await asyncio.to_thread(self._files.read, path)
        except FileNotFoundError:  # somebody has removed it by hand
            return True
        except OSError as error:
            logger.error("a journal cannot be read, it is tried again", extra={"error": str(error)})  # noqa: TRY400  # the trace says nothing
            return False
        found = await asyncio.to_thread(scan, data, parsed[1])
        done = await self._replay(found.payloads)
        greatest = max(done.greatest_stamp, load_stamp(self._files, folder))
        if folder == self._own.path:
            # Here and now: the flusher keeps stamps in the same file, and an older one must not replace them.
            save_stamp(self._files, folder, max(greatest, self._last_stamp()), durably=True)
        else:
            await asyncio.to_thread(save_stamp, self._files, folder, greatest, durably=True)
        if found.intact and not done.undecodable:
            await asyncio.to_thread(self._files.remove, path)
        else:
            kept = path.with_suffix(".corrupt")
            self.damaged_frames += found.damaged + done.undecodable
            await asyncio.to_thread(self._files.rename, path, kept)
            damaged = found.damaged + done.undecodable
            logger.error("frames of a journal are damaged; it is kept", extra={"frames": damaged, "kept_as": str(kept)})
        await asyncio.to_thread(self._files.sync_folder, folder)
        self.stored += done.stored
        if done.stored:
            logger.warning("stored what a dead worker had left", extra={"items": done.stored, "journal": str(path)})
        return True

    def _size_of_leftovers(self) -> int:
        return sum(self._files.size(self._own.path / name) for name in self._leftovers)


def segments_of(files: Files, folder: Path) -> list[str]:
    """Return the names of the segments in a folder, oldest first."""
    return sorted(name for name in files.names(folder) if parse_segment_name(name))


def newest_payloads(files: Files, folder: Path) -> list[bytes]:
    """Return the payloads of the newest segment of a folder that is not empty; an empty list if there is none."""
    for name in reversed(segments_of(files, folder)):
        _, salt = parse_segment_name(name) or (0, 0)
        if payloads := scan(files.read(folder / name), salt).payloads:
            return payloads
    return []

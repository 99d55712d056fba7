"""The metrics of all workers of a data folder, added up by the one that is scraped.

The kernel gives a scrape to any of them. So each keeps its numbers in a file of its folder, and the one that is scraped
adds up the files. Counters stay when their process has ended, and the next one in the folder goes on from them, as
Prometheus would take a sum that falls for a start of all anew. For the same reason nothing is shown that does not
stand in a file yet: what was shown of a process that is killed then is what the file says.

A file is replaced as a whole and not synced: it survives the process, and after a loss of power the worker begins anew.
"""

import contextlib
import logging
import time
from pathlib import Path
from typing import Final

import msgspec

from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.journal.recovery import segments_of
from tracker.kit.files import SystemFiles
from tracker.kit.worker_folders import WorkerFolder, worker_folders
from tracker.metrics.values import Numbers, Series

FILE_NAME: Final = "metrics"

SILENT_S: Final = 5.0
"""Seconds without a new file after which a worker counts as dead, and its numbers of the moment as not true any more.

The lock of its folder does not show that: a process that replays a dead worker's journal holds it too, and trying to
get it could cost a worker that starts its number.
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, Series]).decode

logger = logging.getLogger(__name__)


class Workers:
    """The workers of a data folder, seen by one of them; used by one thread at a time."""

    def __init__(self, data_dir: Path, own: WorkerFolder) -> None:
        self._data_dir = data_dir
        self._own = own
        self._before = _load(own.path).lasting()
        self._failed = False
        self._letters: dict[Path, tuple[tuple[tuple[int, int], ...], int]] = {}

    def publish(self, live: Numbers) -> Numbers:
        """Put what this process has counted into its file; return it with what those before it had."""
        own = self._before.lasting()
        own.add(live)
        self._save(own)
        return own

    def leave(self, live: Numbers) -> None:
        """Keep what this process has counted, and nothing that is over when it ends."""
        self._save(self.publish(live).lasting())

    def total(self, live: Numbers) -> Numbers:
        """Return what all workers have counted, this one included, which has counted `live`."""
        total = self.publish(live)
        for folder in worker_folders(self._data_dir):
            total.put("tracker_dead_letters", self._dead_letters(folder))
            if folder != self._own.path:
                total.add(self._numbers_of(folder))
        return total

    def _save(self, numbers: Numbers) -> None:
        new = self._own.path / f"{FILE_NAME}.new"
        try:
            new.write_bytes(_encode(numbers.found))
            new.replace(self._own.path / FILE_NAME)
        except OSError as error:
            if not self._failed:
                logger.warning("the metrics cannot be kept", extra={"error": str(error)})
            self._failed = True
        else:
            self._failed = False

    def _numbers_of(self, folder: Path) -> Numbers:
        numbers = _load(folder)
        if _lives(folder):
            return numbers
        numbers = numbers.lasting()
        numbers.put("tracker_journal_orphaned_bytes", _size_of_journal(folder))
        return numbers

    def _dead_letters(self, folder: Path) -> int:
        """Return the number of dead letters in `folder`; read them only when their files have changed."""
        letters = DeadLetters(folder)
        known = self._letters.get(folder)
        with contextlib.suppress(OSError):  # at this moment sent again, or removed; or not ours to read
            signature = letters.signature()
            if known is None or known[0] != signature:
                known = self._letters[folder] = signature, letters.count()
        return 0 if known is None else known[1]


def _load(folder: Path) -> Numbers:
    """Return the numbers in a folder's file; none if the file is missing or cannot be read."""
    try:
        return Numbers(_decode((folder / FILE_NAME).read_bytes()))
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return Numbers()


def _lives(folder: Path) -> bool:
    try:
        age_s = time.time() - (folder / FILE_NAME).stat().st_mtime
    except OSError:
        return False
    return abs(age_s) < SILENT_S  # a clock that was turned back makes no dead worker live


def _size_of_journal(folder: Path) -> int:
    files = SystemFiles()
    size = 0
    with contextlib.suppress(OSError):  # somebody replays it, and removes what is done
        for name in segments_of(files, folder):
            size += files.size(folder / name)
    return size

"""The metrics of all workers of a data folder, added up by the one that is scraped.

The kernel gives a scrape to any of them. So each keeps its values in a file of its folder, and the one that is scraped
adds up the files. Counters stay when their process has ended, and the next one in the folder goes on from them, as
Prometheus would take a sum that falls for a start of all anew. For the same reason nothing is shown that does not
stand in a file yet: what was shown of a process that is killed then is what the file says.

A file is replaced as a whole and not synced: it survives the process, and after a loss of power the worker begins anew.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

import msgspec

from tracker.ingest.worker_folders import WorkerFolder, worker_folders
from tracker.metrics.values import ByLabels, Values
from tracker.telemetry.families import Families, Sample

FILE_NAME: Final = "metrics"

SILENT_S: Final = 5.0
"""Seconds without a new file after which a worker counts as dead, and its values of the moment as not true any more.

The lock of its folder does not show that: a process that replays a dead worker's journal holds it too, and trying to
get it could cost a worker that starts its number.
"""

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(dict[str, ByLabels]).decode

FolderSource = Callable[[Path], Iterable[Sample]]
"""Function that reads samples from a worker's folder."""

logger = logging.getLogger(__name__)


class Workers:
    """The workers of a data folder, seen by one of them; used by one thread at a time."""

    def __init__(
        self,
        data_dir: Path,
        own: WorkerFolder,
        families: Families,
        *,
        of_each: FolderSource,
        of_dead: FolderSource,
    ) -> None:
        """Add up `families`, and what `of_each` reads from every folder and `of_dead` from those of dead workers."""
        self._data_dir = data_dir
        self._own = own
        self._families = families
        self._of_each = of_each
        self._of_dead = of_dead
        self._before = self._load(own.path).lasting()
        self._failed = False

    def publish(self, live: Values) -> Values:
        """Put what this process has counted into its file; return it with what those before it had."""
        own = self._before.lasting()
        own.add(live)
        self._save(own)
        return own

    def leave(self, live: Values) -> None:
        """Keep what this process has counted, and nothing that is over when it ends."""
        self._save(self.publish(live).lasting())

    def total(self, live: Values) -> Values:
        """Return what all workers have counted, this one included, which has counted `live`."""
        total = self.publish(live)
        for folder in worker_folders(self._data_dir):
            total.put(self._of_each(folder))
            if folder != self._own.path:
                total.add(self._values_of(folder))
        return total

    def _save(self, values: Values) -> None:
        new = self._own.path / f"{FILE_NAME}.new"
        try:
            new.write_bytes(_encode(values.found))
            new.replace(self._own.path / FILE_NAME)
        except OSError as error:
            if not self._failed:
                logger.warning("the metrics cannot be kept", extra={"error": str(error)})
            self._failed = True
        else:
            self._failed = False

    def _values_of(self, folder: Path) -> Values:
        values = self._load(folder)
        if _lives(folder):
            return values
        values = values.lasting()
        values.put(self._of_dead(folder))
        return values

    def _load(self, folder: Path) -> Values:
        """Return the values in a folder's file; none if the file is missing or cannot be read."""
        try:
            return Values(self._families, _decode((folder / FILE_NAME).read_bytes()))
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
            return Values(self._families)


def _lives(folder: Path) -> bool:
    try:
        age_s = time.time() - (folder / FILE_NAME).stat().st_mtime
    except OSError:
        return False
    return abs(age_s) < SILENT_S  # a clock that was turned back makes no dead worker live

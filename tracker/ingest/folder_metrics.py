"""Metrics that a worker's folder tells by itself, whether its worker lives or not: dead letters and orphaned journals.

They are read from the files by whichever worker is scraped.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.journal.recovery import segments_of
from tracker.ingest.metrics import DEAD_LETTERS, ORPHANED
from tracker.kit.files import SystemFiles
from tracker.telemetry.families import Sample


class DeadLetterCounts:
    """Counts the dead letters in folders; reads them only when their files have changed."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[tuple[tuple[int, int], ...], int]] = {}

    def samples(self, folder: Path) -> Iterator[Sample]:
        """Return an iterator over the number of dead letters in `folder`."""
        letters = DeadLetters(folder)
        known = self._known.get(folder)
        with contextlib.suppress(OSError):  # at this moment sent again, or removed; or not ours to read
            signature = letters.signature()
            if known is None or known[0] != signature:
                known = self._known[folder] = signature, letters.count()
        yield Sample(DEAD_LETTERS, 0 if known is None else known[1])


def orphaned_samples(folder: Path) -> Iterator[Sample]:
    """Return an iterator over the size of the journal in `folder`, whose worker is dead, in bytes."""
    files = SystemFiles()
    size = 0
    with contextlib.suppress(OSError):  # somebody replays it, and removes what is done
        for name in segments_of(files, folder):
            size += files.size(folder / name)
    yield Sample(ORPHANED, size)

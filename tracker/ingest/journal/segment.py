"""A segment: one file of the journal, which this process creates, appends frames to, syncs and removes.

Appending is done on the event loop, all else in the journal's thread: it waits for the disk.
"""

import contextlib
import secrets
import time
from dataclasses import dataclass, field
from pathlib import Path

from tracker.ingest.journal.frames import HEADER_BYTES, frame, header, segment_name
from tracker.kit.files import Files


@dataclass(slots=True, eq=False)
class Segment:
    """An open file of the journal."""

    files: Files
    path: Path
    descriptor: int
    salt: int
    opened_at: float = field(default_factory=time.monotonic)
    size: int = HEADER_BYTES
    """Size of the file in bytes."""
    sequence: int = 0
    """Number of frames in the file, and the sequence number of the next one."""
    last_stamp: int = 0
    """Greatest stamp of the writes in the file."""
    dirty: bool = False
    """Whether a frame was appended since the last sync."""

    def append(self, payload: bytes, stamp: int) -> int:
        """Write the frame of `payload`, whose write has `stamp`; return the size of the frame in bytes.

        Raises OSError if it cannot be written. A part of it may stand in the file then, and nothing may follow it.
        """
        data = frame(payload, self.salt, self.sequence)
        size = len(data)
        written = self.files.write(self.descriptor, data)
        while written < size:
            written += self.files.write(self.descriptor, data[written:])
        self.sequence += 1
        self.size += size
        if stamp > self.last_stamp:  # noqa: PLR1730  # max takes 0.1 µs longer, for each item
            self.last_stamp = stamp
        self.dirty = True
        return size

    def sync(self) -> None:
        """Return once all frames would survive a loss of power; raise OSError if they may not."""
        self.files.sync(self.descriptor)

    def remove(self) -> None:
        """Remove the file, unless somebody has removed it by hand; raise OSError if that fails."""
        with contextlib.suppress(FileNotFoundError):
            self.files.remove(self.path)

    def close(self) -> None:
        """Close the file."""
        self.files.close(self.descriptor)


def create_segment(files: Files, folder: Path, number: int) -> Segment:
    """Create a segment and return it once its name and header would survive a loss of power.

    Raises OSError if they may not; no file is left then, as far as it can be removed.
    """
    salt = secrets.randbits(32)
    path = folder / segment_name(number, salt)
    descriptor = files.create(path)
    try:
        data = header(salt)
        while data:
            data = data[files.write(descriptor, data) :]
        files.sync(descriptor)
        files.sync_folder(folder)
    except OSError:
        files.close(descriptor)
        with contextlib.suppress(OSError):
            files.remove(path)
        raise
    return Segment(files, path, descriptor, salt)

"""The greatest stamp a worker number has given out, kept beside its journal.

A stamp may not be given out twice, nor fall behind one that is stored already, also when the clock
was turned back while the process was away. What counts is what can be found again afterwards: the
stamps in PostgreSQL and in the segments. So the file is written before each flush and synced before
a segment is removed; every later stamp of an item in a cart stands in a segment that is still there. Those of
warranties stand in PostgreSQL alone: for them the file is written before each group.
"""

import struct
from pathlib import Path
from typing import Final
from zlib import crc32

from tracker.kit.files import Files

_FILE_NAME: Final = "stamp"
_RECORD: Final = struct.Struct("<QI")


def load_stamp(files: Files, folder: Path) -> int:
    """Return the greatest stamp known of the worker with this folder; 0 if none or unreadable."""
    try:
        data = files.read(folder / _FILE_NAME)
    except FileNotFoundError:
        return 0
    if len(data) < _RECORD.size:
        return 0
    stamp, crc = _RECORD.unpack_from(data)
    return int(stamp) if crc == crc32(data[:8]) else 0


def save_stamp(files: Files, folder: Path, stamp: int, *, durably: bool) -> None:
    """Write `stamp` to the worker's file; raise OSError if that fails."""
    data = stamp.to_bytes(8, "little")
    files.save(folder / _FILE_NAME, data + crc32(data).to_bytes(4, "little"), durably=durably)

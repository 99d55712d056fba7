"""An exclusive lock on a file, which the kernel takes back however its process ends.

It is flock(2)'s: it belongs to the open file and not to the process, so two locks on one file exclude each other in one
process too, and a child that inherits the descriptor holds the lock as long as it lives. The file stays when the lock
goes: if it were removed, two processes could hold the locks of two files that had the same name.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileLock:
    """The lock on an open file."""

    descriptor: int
    """Descriptor of the file, which a child may inherit."""

    def acquire(self) -> None:
        """Take the lock; wait, without a time-out, while somebody else has it."""
        fcntl.flock(self.descriptor, fcntl.LOCK_EX)

    def try_acquire(self) -> bool:
        """Take the lock unless somebody else has it; return whether it is held now."""
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def open_lock(path: Path) -> Iterator[FileLock]:
    """Yield the lock on the file at `path`, which is created if need be; the lock is let go when the block ends.

    Raises OSError if the file cannot be opened.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        yield FileLock(descriptor)
    finally:
        os.close(descriptor)

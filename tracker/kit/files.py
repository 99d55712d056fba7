"""The file system calls of the journal, as an interface.

Tests can give the journal a file system that fails and forgets.
"""

import os
from pathlib import Path
from typing import Protocol

from tracker.kit import durable


class Files(Protocol):
    """The calls the journal makes. Every one raises OSError when it fails."""

    def create(self, path: Path) -> int:
        """Create a file that must not exist yet, open for appending; return its descriptor."""
        ...

    def write(self, descriptor: int, data: bytes) -> int:
        """Append; return how many bytes were written, which may be fewer than given."""
        ...

    def sync(self, descriptor: int) -> None:
        """Return once the file's content would survive a loss of power."""
        ...

    def close(self, descriptor: int) -> None:
        """Close a descriptor."""
        ...

    def sync_folder(self, folder: Path) -> None:
        """Return once the folder's names would survive a loss of power."""
        ...

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder."""
        ...

    def size(self, path: Path) -> int:
        """Return a file's size in bytes."""
        ...

    def read(self, path: Path) -> bytes:
        """Return a file's content."""
        ...

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name."""
        ...

    def remove(self, path: Path) -> None:
        """Remove a file."""
        ...

    def save(self, path: Path, data: bytes, *, durably: bool) -> None:
        """Write a few bytes at the start of a file, which is created if need be."""
        ...

    def free_bytes(self, folder: Path) -> int:
        """Return how many bytes the file system of a folder has left for us."""
        ...


class SystemFiles:
    """The file system of the machine."""

    def create(self, path: Path) -> int:
        """Create a file that must not exist yet, open for appending; return its descriptor."""
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)

    write = staticmethod(os.write)
    close = staticmethod(os.close)
    sync = staticmethod(os.fdatasync)
    sync_folder = staticmethod(durable.sync)

    def names(self, folder: Path) -> list[str]:
        """Return the names in a folder."""
        return [path.name for path in folder.iterdir()]

    def size(self, path: Path) -> int:
        """Return a file's size in bytes."""
        return path.stat().st_size

    def read(self, path: Path) -> bytes:
        """Return a file's content."""
        return path.read_bytes()

    def rename(self, path: Path, to: Path) -> None:
        """Give a file another name."""
        path.rename(to)

    def remove(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def save(self, path: Path, data: bytes, *, durably: bool) -> None:
        """Write a few bytes at the start of a file, which is created if need be."""
        is_new = not path.exists()
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.pwrite(descriptor, data, 0)
            if durably:
                os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
        if durably and is_new:
            self.sync_folder(path.parent)

    def free_bytes(self, folder: Path) -> int:
        """Return how many bytes the file system of a folder has left for us."""
        found = os.statvfs(folder)
        return found.f_bavail * found.f_frsize

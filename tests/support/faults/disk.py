"""A file system in memory that fails when told to, and forgets what was not synced when the power goes.

It holds what the kernel would show (the page cache) and what would be left after a loss of power. Of
what was written since the last sync any part may be left: whole blocks are new, old, in between or
zeros, and a file ends wherever one of its writes ended, or in the middle of one. Names that were made,
changed or removed since the folder was synced may or may not be so.
"""

import copy
import errno
import os
import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

BLOCK_BYTES = 64
"""Smaller than on any disk: a few frames then span as many blocks as a busy journal's."""


class DiskGoneError(Exception):
    """Raised by every call after a kill or a loss of power; no OSError, so that nobody handles it."""


@dataclass(eq=False)
class _File:
    """A file: what is seen, what is safe, and the writes between the two."""

    seen: bytearray = field(default_factory=bytearray)
    safe: bytearray = field(default_factory=bytearray)
    unsynced: list[tuple[int, bytes]] = field(default_factory=list)

    def write(self, offset: int, data: bytes) -> None:
        _put(self.seen, offset, data)
        self.unsynced.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.unsynced:
            _put(self.safe, offset, data)
        self.unsynced.clear()

    def forget_at_random(self, chance: random.Random) -> None:
        """Become what a loss of power leaves."""
        count = len(self.unsynced)
        versions = [self.safe]
        for offset, data in self.unsynced:
            version = bytearray(versions[-1])
            _put(version, offset, data)
            versions.append(version)
        size = len(versions[chance.randint(0, count)])
        if chance.random() < 0.3:
            size = chance.randint(min(len(self.safe), size), size)
        left = bytearray(size)
        for start in range(0, size, BLOCK_BYTES):
            version = versions[chance.choice([0, count, chance.randint(0, count)])]
            block = version[start : min(start + BLOCK_BYTES, size)]
            left[start : start + len(block)] = block
        self.seen, self.safe, self.unsynced = left, bytearray(left), []


def _put(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


class Disk:
    """Implements `Files` in memory; see the module."""

    def __init__(self, capacity: int = 10**9, chance: random.Random | None = None) -> None:
        """Hold up to `capacity` bytes; `chance` decides what a failed sync or a loss of power leaves."""
        self.capacity = capacity
        self.chance = chance or random.Random(0)
        self.before: Callable[[str, str], None] = lambda _call, _name: None
        """Called before each call with the names of both; what it raises, the call raises."""
        self.after: Callable[[str, str], None] = lambda _call, _name: None
        """The same once the call is done."""
        self.longest_write: int | None = None
        """No call writes more bytes than this."""
        self.syncs = True
        """False: a sync answers well and does nothing."""
        self.gone = False
        """Whether the process that used it is dead: every call raises."""
        self.calls: list[tuple[str, str]] = []
        self._seen: dict[Path, _File] = {}
        self._safe: dict[Path, _File] = {}
        self._renamings: list[dict[Path, _File | None]] = []
        self._open: dict[int, tuple[str, _File]] = {}
        self._next_descriptor = 100
        self._lock = threading.RLock()

    def create(self, path: Path) -> int:
        def work() -> int:
            if path in self._seen:
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
            if self._free <= 0:
                raise _no_space()
            file = _File()
            self._rename({path: file})
            self._next_descriptor += 1
            self._open[self._next_descriptor] = (path.name, file)
            return self._next_descriptor

        return self._call("create", path.name, work)

    def write(self, descriptor: int, data: bytes) -> int:
        name, file = self._open[descriptor]

        def work() -> int:
            fits = data[: self.longest_write][: max(0, self._free)]
            if not fits:
                raise _no_space()
            file.write(len(file.seen), bytes(fits))
            return len(fits)

        return self._call("write", name, work)

    def sync(self, descriptor: int) -> None:
        name, file = self._open[descriptor]

        def work() -> None:
            if self.syncs:
                file.sync()

        try:
            self._call("sync", name, work)
        except OSError:
            # The kernel gives the pages up: the next sync would answer well, and they would not be there.
            with self._lock:
                file.unsynced = [write for write in file.unsynced if self.chance.random() < 0.5]
                file.sync()
            raise

    def close(self, descriptor: int) -> None:
        name, _ = self._open[descriptor]
        self._call("close", name, lambda: self._open.pop(descriptor))

    def sync_folder(self, folder: Path) -> None:
        def work() -> None:
            if self.syncs:
                self._safe = dict(self._seen)
                self._renamings.clear()

        self._call("sync_folder", folder.name, work)

    def names(self, folder: Path) -> list[str]:
        return self._call("names", folder.name, lambda: [path.name for path in self._seen if path.parent == folder])

    def size(self, path: Path) -> int:
        return self._call("size", path.name, lambda: len(self._find(path).seen))

    def read(self, path: Path) -> bytes:
        return self._call("read", path.name, lambda: bytes(self._find(path).seen))

    def rename(self, path: Path, to: Path) -> None:
        self._call("rename", path.name, lambda: self._rename({path: None, to: self._find(path)}))

    def remove(self, path: Path) -> None:
        def work() -> None:
            self._find(path)
            self._rename({path: None})

        self._call("remove", path.name, work)

    def save(self, path: Path, data: bytes, *, durably: bool) -> None:
        def work() -> None:
            file = self._seen.get(path)
            if self._free < len(data) - (len(file.seen) if file else 0):
                raise _no_space()
            if file is None:
                file = _File()
                self._rename({path: file})
            file.write(0, data)
            if durably and self.syncs:
                file.sync()

        self._call("save", path.name, work)

    def free_bytes(self, folder: Path) -> int:
        return self._call("free_bytes", folder.name, lambda: self._free)

    def put(self, path: Path, content: bytes) -> None:
        """Put a file there, synced, past all faults."""
        self._seen[path] = self._safe[path] = _File(bytearray(content), bytearray(content))

    def content(self, folder: Path) -> dict[str, bytes]:
        """Return the files of a folder, past all faults."""
        return {path.name: bytes(file.seen) for path, file in self._seen.items() if path.parent == folder}

    def count(self, call: str) -> int:
        """Return how often a call was made."""
        return sum(made == call for made, _ in self.calls)

    def after_kill(self) -> "Disk":
        """Return what the next process finds after kill -9: the page cache stays; this one is gone."""
        self.gone = True
        with self._lock:
            return self._next(*copy.deepcopy((self._seen, self._safe, self._renamings)))

    def after_power_loss(self) -> "Disk":
        """Return what the next process finds after a loss of power; this one is gone."""
        self.gone = True
        with self._lock:
            names, renamings = copy.deepcopy((self._safe, self._renamings))
        for renaming in renamings:
            if self.chance.random() < 0.5:
                _apply(names, renaming)
        for file in names.values():
            file.forget_at_random(self.chance)
        return self._next(names, dict(names), [])

    def _next(
        self, seen: dict[Path, _File], safe: dict[Path, _File], renamings: list[dict[Path, _File | None]]
    ) -> "Disk":
        disk = Disk(self.capacity, self.chance)
        disk.syncs = self.syncs
        disk._seen, disk._safe, disk._renamings = seen, safe, renamings  # it is one of ours
        return disk

    @property
    def _free(self) -> int:
        return self.capacity - sum(len(file.seen) for file in self._seen.values())

    def _call(self, call: str, name: str, work: Callable[[], T]) -> T:
        with self._lock:
            self._check_alive()
            self.before(call, name)
            self._check_alive()
            self.calls.append((call, name))
            result = work()
            self.after(call, name)
            self._check_alive()
            return result

    def _check_alive(self) -> None:
        if self.gone:
            raise DiskGoneError

    def _find(self, path: Path) -> _File:
        if path not in self._seen:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._seen[path]

    def _rename(self, changes: dict[Path, _File | None]) -> None:
        """Change names all at once, or, after a loss of power, none of them."""
        _apply(self._seen, changes)
        self._renamings.append(changes)


def _apply(names: dict[Path, _File], changes: dict[Path, _File | None]) -> None:
    for path, file in changes.items():
        if file is None:
            names.pop(path, None)
        else:
            names[path] = file


def _no_space() -> OSError:
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def io_error() -> OSError:
    """Return what a broken disk answers."""
    return OSError(errno.EIO, os.strerror(errno.EIO))

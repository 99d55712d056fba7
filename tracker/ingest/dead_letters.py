"""Items that PostgreSQL refuses for good, each with its error, in a file beside the journal.

One JSON object a line, in `dead-letters.jsonl` of the worker that met it. A line is synced before the
item counts as dealt with. Whoever lists or sends them again may do so while the worker runs: a lock
beside the file keeps the two from overwriting each other.
"""

import contextlib
import json
import os
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from tracker.errors import ConfigurationError
from tracker.ingest.items import CartId, Item, ItemKey
from tracker.kit import durable
from tracker.kit.file_lock import open_lock

FILE_NAME: Final = "dead-letters.jsonl"
_LOCK_NAME: Final = "dead-letters.lock"
_RETRY_LOCK_NAME: Final = "dead-letters.retry.lock"


class DeadLetter(NamedTuple):
    """An item that was refused."""

    at: str
    """Time of the refusal, in UTC (RFC 3339)."""
    error: str
    key: ItemKey
    item: Item


class DeadLetters:
    """The dead letters in a worker's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.buried = 0
        """Number of dead letters that this process has added."""

    def bury(self, key: ItemKey, item: Item, error: str) -> None:
        """Add an item; return once it would survive a loss of power, or raise OSError."""
        letter = DeadLetter(datetime.now(UTC).isoformat(), error, key, item)
        with self._locked():
            self._append(letter)
        self.buried += 1

    def all(self) -> list[DeadLetter]:
        """Return all dead letters, oldest first."""
        with self._locked():
            return _read(self._retrying) + _read(self._path)

    def count(self) -> int:
        """Return roughly how many dead letters there are, for monitoring."""
        return sum(path.read_bytes().count(b"\n") for path in (self._retrying, self._path) if path.exists())

    def signature(self) -> tuple[tuple[int, int], ...]:
        """Return a value that changes as soon as dead letters are added or removed."""
        found = [path.stat() for path in (self._retrying, self._path) if path.exists()]
        return tuple((stat.st_mtime_ns, stat.st_size) for stat in found)

    @contextlib.contextmanager
    def taken(self) -> Iterator[list[DeadLetter]]:
        """Yield all dead letters, oldest first, and forget them when the block ends without an error.

        Letters that are added meanwhile stay. Raises ConfigurationError if somebody else does the same at this time.
        """
        with self._alone():
            with self._locked():
                if not self._retrying.exists() and self._path.exists():
                    self._path.rename(self._retrying)
            yield _read(self._retrying)
            self._retrying.unlink(missing_ok=True)

    def forget(self, cart_ids: Collection[CartId]) -> int:
        """Remove the dead letters of some carts; return how many were removed.

        Raises ConfigurationError while somebody sends dead letters again, OSError if they cannot be removed.
        """
        with self._alone(), self._locked():
            return self._forget(self._retrying, cart_ids) + self._forget(self._path, cart_ids)

    def _forget(self, path: Path, cart_ids: Collection[CartId]) -> int:
        letters = _read(path)
        kept = [letter for letter in letters if letter.key[0] not in cart_ids]
        if len(kept) < len(letters):
            durable.replace(path, b"".join(map(_encode, kept)))
        return len(letters) - len(kept)

    @property
    def _path(self) -> Path:
        return self._folder / FILE_NAME

    @property
    def _retrying(self) -> Path:
        """File that holds the letters while they are sent again; after a crash they are taken up next time."""
        return self._folder / f"retrying-{FILE_NAME}"

    def _append(self, letter: DeadLetter) -> None:
        data = _encode(letter)
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            end = os.fstat(descriptor).st_size
            if end and os.pread(descriptor, 1, end - 1) != b"\n":
                data = b"\n" + data  # behind what a kill cut off
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)  # no half line
                raise
        finally:
            os.close(descriptor)
        if not end:
            durable.sync(self._folder)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with open_lock(self._folder / _LOCK_NAME) as lock:
            lock.acquire()
            yield

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with open_lock(self._folder / _RETRY_LOCK_NAME) as lock:
            if not lock.try_acquire():
                raise ConfigurationError("somebody else is sending the dead letters again right now")
            yield


def _read(path: Path) -> list[DeadLetter]:
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        return []
    letters = []
    for line in lines:
        # What a kill cut off was not counted as dealt with: the item came again.
        with contextlib.suppress(json.JSONDecodeError):
            letters.append(_decode(line))
    return letters


def _encode(letter: DeadLetter) -> bytes:
    """Return a letter's line. It is ASCII: JSON's escapes hold what UTF-8 cannot, which may be why it was refused."""
    fields = {name: getattr(letter.item, name) for name in Item.__struct_fields__}
    cart_id, external_id = letter.key
    line = {"at": letter.at, "error": letter.error, "cart_id": cart_id, "external_id": external_id, "item": fields}
    return f"{json.dumps(line)}\n".encode("ascii")


def _decode(line: str) -> DeadLetter:
    found: dict[str, Any] = json.loads(line)
    key = (CartId(found["cart_id"]), found["external_id"])
    return DeadLetter(found["at"], found["error"], key, Item(**found["item"]))

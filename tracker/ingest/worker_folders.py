"""A worker's folder: its number, its lock, its journal.

The worker number makes stamps unique, so no two live workers may share one. Each holds a lock on a
file in the folder of its number for as long as it lives, and the kernel lets go of it however the
process ends: a folder whose lock is free belongs to nobody, and what is in it to whoever takes the
lock first.

Two workers of one machine never share a number, as the folders are in one data folder. Machines with
data folders of their own tell their numbers apart by the node, which is set (`TRACKER_NODE`).
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tracker.errors import ConfigurationError
from tracker.kit.clock import SLOTS
from tracker.kit.durable import make_folder
from tracker.kit.file_lock import open_lock

_LOCK_NAME: Final = "lock"


@dataclass(frozen=True, slots=True)
class WorkerFolder:
    """A folder that this process has locked."""

    path: Path
    number: int


@contextlib.contextmanager
def claim_folder(data_dir: Path, node: int) -> Iterator[WorkerFolder]:
    """Claim the lowest worker number of `node` that no live process has, as long as the block runs.

    Raises ConfigurationError when all are taken or the data folder cannot be written.
    """
    with contextlib.ExitStack() as stack:
        try:
            found = _claim(stack, data_dir, node)
        except OSError as error:
            msg = f"cannot use the data folder {data_dir}: {error.strerror}"
            raise ConfigurationError(msg) from error
        if found is None:
            msg = f"all {SLOTS} workers of node {node} are running on the data folder {data_dir}"
            raise ConfigurationError(msg)
        yield found


def _claim(stack: contextlib.ExitStack, data_dir: Path, node: int) -> WorkerFolder | None:
    """Lock the first folder of `node` that is free, until `stack` ends; return None if none is."""
    for slot in range(SLOTS):
        number = node * SLOTS + slot
        path = data_dir / "workers" / f"{number:04}"
        make_folder(path)  # durably, as the segments in it must be found again
        if stack.enter_context(locked(path)):
            return WorkerFolder(path, number)
    return None


def worker_folders(data_dir: Path) -> list[Path]:
    """Return the folders of all workers that ever ran on a data folder, in the order of their numbers."""
    return sorted((data_dir / "workers").glob("[0-9][0-9][0-9][0-9]"))


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Try to lock a worker's folder without waiting; yield whether it is ours while the block runs."""
    with open_lock(folder / _LOCK_NAME) as lock:
        yield lock.try_acquire()

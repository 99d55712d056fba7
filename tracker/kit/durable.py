"""Files and folders that survive a loss of power.

A file's content is safe once the file is synced, and its name once its folder is (fsync(2), section Notes).
"""

import os
from pathlib import Path


def sync(path: Path) -> None:
    """Return once a file's content, or the names in a folder, would survive a loss of power; raise OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path) -> None:
    """Create a folder that only this user can enter, and what is missing above it.

    Returns once all of their names are safe; raises OSError.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for path in missing:
        sync(path.parent)


def replace(path: Path, data: bytes) -> None:
    """Give a file, readable by this user alone, another content; after a loss of power it has the old or the new one.

    Returns once the new one is safe; raises OSError.
    """
    new = path.with_name(f"{path.name}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    sync(path.parent)

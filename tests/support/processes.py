"""Facts about processes that the system tells."""

import contextlib
from pathlib import Path


def children(pid: int) -> list[int]:
    """Return the processes that a process has started; none if it has ended."""
    with contextlib.suppress(FileNotFoundError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended does not, even if its parent has not looked yet."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"

"""Loads the queue's library when it is first needed: 0.13 s and 12 MiB, which no start waits for.

A process that runs jobs has it loaded in a thread once it serves; one that does not loads it with the first job that
it puts into the queue. The two may meet: the modules import each other, and two threads that load them at once would
each see the other's half, so one waits for the other.
"""

import importlib
import threading
from types import ModuleType
from typing import Final

_TURN: Final = threading.Lock()


def load(name: str) -> ModuleType:
    """Return a module of this package that knows the library: `queries` or `consumer`."""
    with _TURN:
        return importlib.import_module(f"tracker.jobs.{name}")

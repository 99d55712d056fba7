"""Loads the queue's library in a thread when it is first needed.

It takes 0.13 s and 12 MiB. A start does not wait for it, nor do the other requests of a process.

Its modules import each other. Two threads that load them at once would each see the other's half, so one waits for the
other.
"""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from sqlalchemy.ext.asyncio import AsyncConnection

if TYPE_CHECKING:
    from pgqueuer.adapters.persistence.queries import Queries

    from tracker.jobs.consumer import Consumer

_IMPORT_LOCK: Final = threading.Lock()


async def load_queries() -> "Callable[[AsyncConnection], Queries]":
    """Return the function that gives the queue's queries as a part of the transaction of a connection."""
    if "tracker.jobs.queries" in sys.modules and not _IMPORT_LOCK.locked():
        return _queries()
    return await asyncio.to_thread(_queries)


async def load_consumer() -> "type[Consumer]":
    """Return the class that takes jobs out of the queue."""
    return await asyncio.to_thread(_consumer)


def _queries() -> "Callable[[AsyncConnection], Queries]":
    with _IMPORT_LOCK:
        from tracker.jobs.queries import queries_in  # noqa: PLC0415  # see above
    return queries_in


def _consumer() -> "type[Consumer]":
    with _IMPORT_LOCK:
        from tracker.jobs.consumer import Consumer  # noqa: PLC0415  # see above
    return Consumer

"""The waits of requests: each has a time-out of its own, and all end at once when the process stops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class Waits:
    """Shared by everything in a process that makes a request wait."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._ended = False

    @contextlib.asynccontextmanager
    async def within(self, seconds: float) -> AsyncIterator[None]:
        """Raise TimeoutError when the block takes longer than `seconds`, or when the process stops."""
        async with asyncio.timeout(0 if self._ended else seconds) as timeout:
            self._open.add(timeout)
            try:
                yield
            finally:
                self._open.discard(timeout)

    def end(self) -> None:
        """Let every wait, and every later one, time out now."""
        self._ended = True
        for timeout in self._open:
            if not timeout.expired():  # one that has may still be cleaning up
                timeout.reschedule(asyncio.get_running_loop().time())

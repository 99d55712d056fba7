"""The waits of requests: each has a time-out of its own, and all end at once when the process stops."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any


class RequestTimeouts:
    """Limits all waits of requests; shared by everything in a process that makes a request wait."""

    def __init__(self) -> None:
        self._open: set[asyncio.Timeout] = set()
        self._limited: dict[asyncio.Future[Any], Callable[[], Exception]] = {}
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

    def limit(self, future: asyncio.Future[Any], seconds: float, late: Callable[[], Exception]) -> None:
        """Make a future fail with what `late` returns when it takes longer than `seconds`, or when the process stops.

        Use it for a wait that has no task.
        """
        self._limited[future] = late
        timer = asyncio.get_running_loop().call_later(0 if self._ended else seconds, self._fail, future)

        def forget(_: object) -> None:
            timer.cancel()
            self._limited.pop(future, None)

        future.add_done_callback(forget)

    def _fail(self, future: asyncio.Future[Any]) -> None:
        late = self._limited.pop(future, None)
        if late is not None and not future.done():
            future.set_exception(late())

    def end(self) -> None:
        """Make every wait time out now, and every later wait at once."""
        self._ended = True
        for future in list(self._limited):
            self._fail(future)
        for timeout in self._open:
            if not timeout.expired():  # one that has may still be cleaning up
                timeout.reschedule(asyncio.get_running_loop().time())

"""A confirmation tells its waiters later whether a write is as safe as was asked.

It is not a future: all requests whose writes the same sync makes safe wait for one confirmation, and
their callbacks are called directly where it is resolved. A future sends each of them through the event
loop once more, which costs 1 µs for each request.
"""

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

Then = Callable[[str | None], None]
"""Callback that gets None once the write is safe, or the reason why that is not known in time."""


class Confirmation:
    """A result that is resolved once, for all who wait for it."""

    __slots__ = ("_callbacks", "_reason", "resolved")

    def __init__(self) -> None:
        self.resolved = False
        self._reason: str | None = None
        self._callbacks: list[Then] = []

    def then(self, callback: Then) -> None:
        """Have `callback` called once this is resolved, which may be now; what it raises is logged."""
        if self.resolved:
            _tell(callback, self._reason)
        else:
            self._callbacks.append(callback)

    def resolve(self, reason: str | None) -> None:
        """Report that the write is safe (None), or why that is not known in time; only the first call counts."""
        if self.resolved:
            return
        self.resolved, self._reason = True, reason
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            _tell(callback, reason)

    async def wait(self) -> str | None:
        """Return None once the write is safe, or the reason why that is not known in time."""
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.then(lambda reason: None if future.done() else future.set_result(reason))
        return await future


def _tell(callback: Then, reason: str | None) -> None:
    try:
        callback(reason)
    except Exception:  # the others must hear of it all the same
        logger.exception("unexpected error in an answer that waited")


def confirmation_within(seconds: float, reason: str) -> Confirmation:
    """Return a confirmation that is resolved with `reason` after `seconds`, unless it was resolved before."""
    confirmation = Confirmation()
    timer = asyncio.get_running_loop().call_later(seconds, confirmation.resolve, reason)
    confirmation.then(lambda _: timer.cancel())
    return confirmation

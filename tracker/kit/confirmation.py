"""What says later whether a write is as safe as was asked.

Not a future: everybody whose write the same sync makes safe hangs on one confirmation, and is called
straight from where it is settled. A future puts each of them through the event loop once more, which
costs 1 µs for each request.
"""

import asyncio
import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)

Then = Callable[[str | None], None]
"""Called with None once the write is safe, or with the reason why that is not known in time."""


class Confirmation:
    """Settled once, and for all who wait for it."""

    __slots__ = ("_callbacks", "_reason", "settled")

    def __init__(self) -> None:
        self.settled = False
        self._reason: str | None = None
        self._callbacks: list[Then] = []

    def then(self, callback: Then) -> None:
        """Have `callback` called once this is settled, which may be now; what it raises is logged."""
        if self.settled:
            _tell(callback, self._reason)
        else:
            self._callbacks.append(callback)

    def settle(self, reason: str | None) -> None:
        """Say that it is safe (None), or why that is not known in time; only the first word counts."""
        if self.settled:
            return
        self.settled, self._reason = True, reason
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            _tell(callback, reason)

    async def wait(self) -> str | None:
        """Return None once it is safe, or the reason why that is not known in time."""
        future: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self.then(lambda reason: None if future.done() else future.set_result(reason))
        return await future


def _tell(callback: Then, reason: str | None) -> None:
    try:
        callback(reason)
    except Exception:  # the others must hear of it all the same
        logger.exception("unexpected error in an answer that waited")


def confirmation_within(seconds: float, reason: str) -> Confirmation:
    """Return a confirmation that is settled with `reason` unless it was before, so many seconds from now."""
    confirmation = Confirmation()
    timer = asyncio.get_running_loop().call_later(seconds, confirmation.settle, reason)
    confirmation.then(lambda _: timer.cancel())
    return confirmation

"""Keeps a service that is down from being hammered: after many failures in a row nobody calls for a while.

Then one call is let through. Its success lets all go on; its failure makes the next pause longer. Who has
to wait waits here: it holds its place, and the queue is left alone.
"""

import asyncio
import time
from typing import Any, Final

from tracker.kit.backoff import between_s, longest_s

FAILURES: Final = 20
"""Number of failures in a row after which calls wait.

A service that fails every other call reaches this number once in a million.
"""

PAUSE_BASE_S: Final = 0.5
PAUSE_CAP_S: Final = 30.0
"""Longest pause in seconds; a service that has recovered gets the next call after this time at worst."""


class Breaker:
    """Stops calls to one service while it is down; shared by all calls of that service in this process."""

    def __init__(self) -> None:
        self._failures = 0
        self._pauses = 0
        self._open_until_s = 0.0
        self._trial: asyncio.Task[Any] | None = None
        self._trial_ended = asyncio.Event()

    @property
    def is_open(self) -> bool:
        """Whether calls have to wait."""
        return self._failures >= FAILURES

    async def wait(self) -> None:
        """Return when this task may make a call.

        After a call the task calls `succeeded` or `failed`; in every case it calls `leave` at the end.
        """
        while self.is_open:
            if self._trial is not None:
                await self._trial_ended.wait()
            elif (left_s := self._open_until_s - time.monotonic()) > 0:
                await asyncio.sleep(left_s)
            else:
                self._trial = asyncio.current_task()
                self._trial_ended.clear()
                return

    def succeeded(self) -> None:
        """Record that the service has answered."""
        self._failures = self._pauses = 0

    def failed(self) -> None:
        """Record that the service has not answered."""
        self._failures += 1
        if self._failures == FAILURES or (self.is_open and self._is_trial):
            pause_s = longest_s(self._pauses, PAUSE_BASE_S, PAUSE_CAP_S)
            self._open_until_s = time.monotonic() + between_s(pause_s / 2, pause_s)
            self._pauses += 1

    def leave(self) -> None:
        """Record that this task makes no more calls."""
        if self._is_trial:
            self._trial = None
            self._trial_ended.set()

    @property
    def _is_trial(self) -> bool:
        return self._trial is not None and self._trial is asyncio.current_task()

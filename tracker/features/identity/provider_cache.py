"""A value that the identity provider is asked for, kept so that few requests wait for the provider.

However many requests want another value, the provider is called at most once in 5 s, and once for all who wait. A value
older than 10 minutes is fetched anew; while the provider is down the old one stays.
"""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from tracker.features.identity.client import ProviderUnavailableError
from tracker.kit.background_task import cancel
from tracker.kit.backoff import between_s, longest_s

MAX_AGE_S: Final = 600.0
"""Seconds for which a fetched value is used without asking whether it has changed."""

INTERVAL_S: Final = 5.0
"""Minimum seconds between two calls, which limits the calls that strangers can make Tracker send."""

INTERVAL_CAP_S: Final = 30.0
"""Maximum seconds between two calls while the provider is down, so its return goes unnoticed no longer than that."""

CLOSE_TIMEOUT_S: Final = 0.5
"""Seconds that a canceled fetch gets to end."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Kept(Generic[T]):
    """Keeps a value that is fetched from the provider when it is needed."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], *, now_s: Callable[[], float] = time.monotonic) -> None:
        """Keep what `fetch` returns; it may raise ProviderUnavailableError, and ends in bounded time."""
        self._fetch = fetch
        self._now_s = now_s
        self._value: T | None = None
        self._failure: ProviderUnavailableError | None = None
        self._failures = 0
        self._fetched_s = self._tried_s = self._next_s = -math.inf
        self._is_first_in_long = False
        self._task: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """Return the value, at most `MAX_AGE_S` old unless the provider is down; raise ProviderUnavailableError.

        Nobody waits a second time for a provider that was down before.
        """
        if self._now_s() - self._fetched_s > MAX_AGE_S:
            task = self._fetching()
            if task is not None and (self._value is None or self._is_first_in_long):
                await asyncio.shield(task)
        if self._value is None:
            raise self._failure or ProviderUnavailableError("the identity provider did not answer")
        return self._value

    async def renewed(self) -> T:
        """Return the value, fetched anew if a call is allowed by now.

        Raises ProviderUnavailableError if the last fetch failed.
        """
        task = self._fetching()
        if task is not None:
            await asyncio.shield(task)
        if self._failure is not None:
            raise self._failure
        return await self.get()

    async def close(self) -> None:
        """Stop fetching."""
        await cancel(self._task, CLOSE_TIMEOUT_S)

    def _fetching(self) -> asyncio.Task[None] | None:
        """Return the fetch under way, begun now if none is and the last one was long enough ago."""
        if self._task is None:
            now_s = self._now_s()
            if now_s < self._next_s:
                return None
            self._is_first_in_long = now_s - self._tried_s > MAX_AGE_S
            self._tried_s, self._next_s = now_s, now_s + INTERVAL_S
            self._task = asyncio.create_task(self._fetch_once())
        return self._task

    async def _fetch_once(self) -> None:
        try:
            value = await self._fetch()
        except ProviderUnavailableError as error:
            logger.warning("the identity provider has not said what it is asked for", extra={"reason": str(error)})
            self._failure = error
            self._failures += 1
            pause_s = between_s(INTERVAL_S, longest_s(self._failures, INTERVAL_S, INTERVAL_CAP_S))
            self._next_s = self._tried_s + pause_s
        else:
            self._value, self._failure, self._failures = value, None, 0
            self._fetched_s = self._now_s()
        finally:
            self._task = None

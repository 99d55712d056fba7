"""Pauses and ends of background tasks and of connections, each with a time-out.

A task that is canceled may still clean up, or hang in a dead connection: whoever ends it waits for it, but not long.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

logger = logging.getLogger(__name__)


async def wait_for_event(event: asyncio.Event, timeout_s: float | None) -> None:
    """Return once `event` is set, or after `timeout_s` seconds; without a time-out a task sleeps until it has work."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s):
            await event.wait()


async def cancel(task: asyncio.Future[Any] | None, timeout_s: float) -> None:
    """Cancel a task, if there is one, and wait up to `timeout_s` seconds for its end; raise nothing that it raises."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task], timeout=timeout_s)


async def end(task: asyncio.Future[Any] | None, *, timeout_s: float, cancel_timeout_s: float) -> None:
    """Wait up to `timeout_s` seconds for a task to end, if there is one, then cancel it; raise nothing that it raises.

    Once canceled it gets `cancel_timeout_s` seconds more.
    """
    if task is not None:
        await asyncio.wait([task], timeout=timeout_s)
        await cancel(task, cancel_timeout_s)


async def close_within(close: Callable[[], Awaitable[None]], timeout_s: float) -> None:
    """Close connections by `close`, but wait no longer than `timeout_s` seconds; log what it raises."""
    try:
        async with asyncio.timeout(timeout_s):
            await close()
    except Exception as error:  # noqa: BLE001  # whatever it was, nothing depends on it any more
        logger.warning("connections did not end in order", extra={"error": repr(error)})

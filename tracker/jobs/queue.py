"""Puts jobs into the queue, in the caller's transaction."""

from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.jobs.library import load_queries
from tracker.telemetry import tracing


async def enqueue(
    connection: AsyncConnection,
    name: str,
    payloads: Sequence[bytes],
    *,
    delay_s: float = 0,
    first: bool = False,
    headers: Sequence[dict[str, str]] | None = None,
) -> None:
    """Put a job for each of `payloads` into the queue of the handler `name`, in the caller's transaction.

    They are due `delay_s` seconds from now; then those that come `first` are taken before all others. Their `headers`
    say which trace each belongs to, that of the caller if there are none.
    """
    if payloads:
        count = len(payloads)
        priorities = [int(first)] * count
        due: list[timedelta | None] = [timedelta(seconds=delay_s)] * count
        traces = [found or None for found in headers or [tracing.headers()] * count]
        queries_in = await load_queries()
        await queries_in(connection).enqueue([name] * count, list(payloads), priorities, due, headers=traces)

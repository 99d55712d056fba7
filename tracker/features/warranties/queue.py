"""Puts the archiving of warranties into the queue, in the transaction that creates them."""

from collections.abc import Mapping, Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.warranties.domain import WarrantyId
from tracker.jobs.queue import enqueue
from tracker.telemetry import tracing

JOB: Final = "archive"
"""Name of the handler that archives warranties."""

MAX_IDS: Final = 100
"""Most ids in a job: a group of warranties is a few jobs instead of hundreds."""


async def archive_later(
    connection: AsyncConnection,
    ids: Sequence[WarrantyId],
    *,
    delay_s: float = 0,
    traces: Mapping[WarrantyId, dict[str, str]] | None = None,
) -> None:
    """Have warranties archived by jobs, due in `delay_s` seconds, which are written in the caller's transaction.

    Those with `traces` of their own, which are few, have jobs of their own.
    """
    traces = traces or {}
    traced = [one for one in ids if one in traces]
    others = [one for one in ids if one not in traces]
    shared = [",".join(others[start : start + MAX_IDS]).encode() for start in range(0, len(others), MAX_IDS)]
    headers = [*(traces[one] for one in traced), *[tracing.headers()] * len(shared)]
    await enqueue(connection, JOB, [*(one.encode() for one in traced), *shared], delay_s=delay_s, headers=headers)

"""The job that archives warranties: written with them, done once the archive can be reached.

It carries ids alone; the data to archive stands in the warranties, which never change.
"""

import logging
import random
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, date
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from tracker.features.warranties import store
from tracker.features.warranties.archive import Archive, ArchiveUnavailableError, Failures, archived
from tracker.features.warranties.domain import Warranty, WarrantyId, parse_warranty_id
from tracker.features.warranties.metrics import ArchiveCounts
from tracker.features.warranties.queue import archive_later
from tracker.jobs.breaker import Breaker
from tracker.jobs.handler import TryAgainError
from tracker.kit.backoff import about_s
from tracker.postgres.error_classes import loggable
from tracker.telemetry import tracing

CONCURRENCY: Final = 4
"""Maximum number of jobs in hand per process; their uploads share the calls of the archive."""

PAGE: Final = 1000
"""Number of warranties that are looked at in one go."""

AGAIN_S: Final = 10.0
"""Average seconds between two tries; while the archive is down the breaker holds back all but one."""

logger = logging.getLogger(__name__)


class Archiver:
    """Archives warranties, several for each job."""

    def __init__(self, engine: AsyncEngine, archive: Archive) -> None:
        self._engine = engine
        self._archive = archive
        self._breaker = Breaker()
        self.counts = ArchiveCounts()

    @property
    def is_waiting_for_archive(self) -> bool:
        """Whether the archive looks like it is down, so that it is tried with one call at a time."""
        return self._breaker.is_open

    async def archive(self, payload: bytes) -> None:
        """Archive the warranties of a job; raise TryAgainError if it must be tried again.

        Those that fail while others succeed get a job of their own: with one call in ten failing, no try of a hundred
        would ever succeed as a whole.
        """
        await self._breaker.wait()
        try:
            async with self._engine.connect() as connection:
                found = await store.find(connection, list(filter(None, map(parse_warranty_id, _ids_of(payload)))))
            if not found:
                return
            with tracing.span("archive", tracing.SpanKind.CLIENT):
                failed = await create_all(self._archive, found)
            self._breaker.succeeded()
            self.counts.archived += len(found) - len(failed)
            self.counts.failed += len(failed)
            if failed:
                fields = {"failed": len(failed), "of": len(found), "reason": str(next(iter(failed.values())))}
                logger.warning("warranties wait for their archive", extra=fields)
                async with self._engine.begin() as connection:
                    await archive_later(connection, list(failed), delay_s=about_s(AGAIN_S))
        except ArchiveUnavailableError as error:
            self._breaker.failed()
            self.counts.failed += 1
            raise _again(str(error)) from error
        except (OSError, SQLAlchemyError) as error:
            raise _again(f"PostgreSQL does not answer: {loggable(error)}") from error
        finally:
            self._breaker.leave()


def _ids_of(payload: bytes) -> list[str]:
    """Return the ids of a job as they were written; what is damaged is none, and is left to `--missing`."""
    return payload.decode(errors="replace").split(",")


async def create_all(archive: Archive, found: Sequence[Warranty]) -> Failures:
    """Create the objects of these warranties, of which there is at least one; return those that failed.

    One goes ahead alone, and raises ArchiveUnavailableError: an archive that is down gets one call of a job, and is
    noticed after one time-out. Which one is left to chance, lest one that never succeeds keep back the others.
    """
    first, *others = map(archived, random.sample(found, len(found)))
    for error in (await archive.create([first])).values():
        raise error
    return await archive.create(others) if others else {}


async def missing(engine: AsyncEngine, archive: Archive) -> AsyncIterator[tuple[int, list[Warranty]]]:
    """Yield all warranties that there are now, page by page: how many were looked at, and those that have no object.

    What the archive has is asked day by day; the objects themselves are the only record of it.
    """
    async with engine.connect() as connection:
        newest = await store.newest_id(connection)
    last: WarrantyId | None = None
    day, there = date.min, set[str]()
    while True:
        async with engine.connect() as connection:
            page = await store.page(connection, None, after=last, limit=PAGE, until=newest)
        if not page:
            return
        last = page[-1].id
        lacking = []
        for warranty in page:
            if warranty.created_at.astimezone(UTC).date() != day:
                day = warranty.created_at.astimezone(UTC).date()
                there = await archive.ids_of(day)
            if warranty.id not in there:
                lacking.append(warranty)
        yield len(page), lacking


def _again(reason: str) -> TryAgainError:
    logger.warning("warranties wait for their archive", extra={"reason": reason})
    return TryAgainError(about_s(AGAIN_S), reason)

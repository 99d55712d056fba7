"""Stores a batch in PostgreSQL, whatever stands in the way, and moves its bad rows to the dead letters.

What to do about an error depends on its class (`tracker.postgres.error_classes`). TRANSIENT and BROKEN errors say
nothing about the rows: the same batch is written again, at first soon, or slowly and with an alarm
where somebody must mend something first. Only BAD_DATA is looked into: the batch is halved until the
row that PostgreSQL refuses stands alone, and that one goes to the dead letters, so that one bad row
never holds up the others. Writing an item twice changes nothing (see `items`), so a commit whose
outcome is unknown is simply sent again.
"""

import logging
from collections.abc import Awaitable, Callable

from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.flush_traces import NO_TRACES, ItemTraces
from tracker.ingest.items import Batch
from tracker.postgres.error_classes import OF_POSTGRES, Failure, failure_of, loggable
from tracker.telemetry import tracing

Write = Callable[[Batch, ItemTraces], Awaitable[None]]
"""Commits a batch, or raises; what a raise leaves stored is unknown. The traces are those of the batch's items, and
may be of others too."""

OnFailure = Callable[[Failure, int], Awaitable[None]]
"""Function that is called after a failed write; it waits, or raises to give up.

Its arguments are the class of the error and how many times in a row the write failed.
"""

logger = logging.getLogger(__name__)


class Delivery:
    """Stores batches with `write`."""

    def __init__(self, write: Write, dead_letters: DeadLetters) -> None:
        self._write = write
        self._dead_letters = dead_letters
        self.stored = 0
        """Number of items that PostgreSQL has taken; an item in several batches counts once for each batch."""
        self.failures = dict.fromkeys(Failure, 0)
        """Number of writes that failed and had to be tried again, by class of error."""

    async def deliver(self, batch: Batch, on_failure: OnFailure, traces: ItemTraces = NO_TRACES) -> None:
        """Return once every item of `batch` is stored or is a dead letter; raise what `on_failure` raises.

        What is written with the items belongs to their `traces`.
        """
        parts = [batch]
        tries = 0
        while parts:
            part = parts[-1]
            try:
                await self._write(part, traces)
            except Exception as error:  # whatever it was, the batch must not be lost
                failure = failure_of(error)
                if failure is Failure.BAD_DATA and (parts_of := self._without_bad_row(part, error)) is not None:
                    parts[-1:] = parts_of
                    continue
                tries += 1
                self.failures[failure] += 1
                tracing.note(failed_tries=tries)
                level = logging.ERROR if failure is Failure.BROKEN else logging.WARNING
                fields = {"items": len(part), "tries": tries, "error": loggable(error)}
                trace = None if isinstance(error, OF_POSTGRES) else error
                logger.log(level, "items are not stored yet", extra=fields, exc_info=trace)
                await on_failure(failure, tries)
            else:
                parts.pop()
                self.stored += len(part)
                if tries:
                    logger.warning("items are stored at last", extra={"items": len(part), "failed_tries": tries})
                tries = 0

    def _without_bad_row(self, part: Batch, error: Exception) -> list[Batch] | None:
        """Return what is left to write of a part with a bad row: its two halves, or nothing once the row is buried.

        Return None if the row cannot be buried now, so that it must be tried again.
        """
        if len(part) > 1:
            rows = list(part.items())
            middle = len(rows) // 2
            return [dict(rows[middle:]), dict(rows[:middle])]
        ((key, item),) = part.items()
        try:
            self._dead_letters.bury(key, item, _summary(error))
        except OSError as failure:
            logger.error("a dead letter cannot be written", extra={"error": str(failure)})  # noqa: TRY400  # the trace says nothing
            return None
        logger.error("PostgreSQL refuses an item for good, it is a dead letter now", extra={"error": loggable(error)})
        return []


def _summary(error: Exception) -> str:
    cause = getattr(error, "orig", None) or error
    lines = str(cause).splitlines()
    return f"{type(error).__name__}: {lines[0] if lines else ''}"

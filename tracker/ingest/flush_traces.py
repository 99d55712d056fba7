"""Links each flush, and each item in it, to the traced requests that caused it.

Many requests become one row and many rows one flush, so neither can be a step of one request alone: the flush is
linked to all that have caused it, and a job that follows from an item belongs to the trace of the item's last request.

Such a job is written far from here, in the transaction of its flush. So the flush hands the traces of its items along,
from the flusher through `Delivery` and the function that writes a batch to what follows from the written items.
"""

import contextlib
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

from tracker.ingest.items import Batch, ItemKey
from tracker.telemetry import tracing

MAX_TRACED_ITEMS: Final = 128
"""Most notes that are kept at a time: as many as the links that the SDK keeps for a span.

Requests that come later, while PostgreSQL is away, get no link.
"""


ItemTraces = Mapping[ItemKey, dict[str, str]]
"""Headers for the jobs that follow from an item, by the key of the item; those that no traced request has put are
missing."""

NO_TRACES: Final[ItemTraces] = MappingProxyType({})


class TracedItems:
    """The traced requests whose items wait."""

    def __init__(self, tracer: tracing.Tracer) -> None:
        self._tracer = tracer
        self._of: dict[ItemKey, list[str]] = {}
        self._count = 0

    def note(self, key: ItemKey, traceparent: str) -> None:
        """Note that a request has put an item."""
        if self._count < MAX_TRACED_ITEMS:
            self._count += 1
            self._of.setdefault(key, []).append(traceparent)

    @contextlib.contextmanager
    def flushing(self, batch: Batch) -> Iterator[ItemTraces]:
        """Trace the block, which stores `batch`, if a traced request has put any of it.

        The traces of the items are what `with` gives.
        """
        # Taken out at once: who puts an item while it is being written has caused the next flush.
        caused = {key: self._of.pop(key) for key in list(self._of) if key in batch}
        traceparents = [cause for found in caused.values() for cause in found]
        self._count -= len(traceparents)
        with tracing.span_until_end(self._tracer.linked("flush", traceparents)):
            tracing.note(items=len(batch))
            yield {key: {tracing.TRACEPARENT: found[-1]} for key, found in caused.items()}

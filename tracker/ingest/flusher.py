"""The lifespan task that moves items from the aggregator to PostgreSQL.

One batch is in flight at a time, until `delivery` has dealt with every item of it. Then the aggregator
forgets it, the journal learns how far everything is committed, and who waited for that is answered.
With nothing to write the task waits on an event and uses no CPU.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from time import perf_counter
from typing import Final

from tracker.ingest.aggregator import Aggregator
from tracker.ingest.delivery import Delivery
from tracker.ingest.flush_traces import NO_TRACES, ItemTraces, TracedItems
from tracker.ingest.items import Batch
from tracker.kit.background_task import end, wait_for_event
from tracker.kit.backoff import between_s, full_jitter_s
from tracker.kit.confirmation import Confirmation, confirmation_within
from tracker.postgres.error_classes import Failure
from tracker.telemetry.histogram import Histogram

BACKOFF_BASE_S: Final = 0.05
BACKOFF_CAP_S: Final = 5.0
"""Longest wait between two tries, in seconds; a recovered PostgreSQL gets the next write after this time at worst."""

BROKEN_BACKOFF_S: Final = 10.0
"""Average wait between two tries, in seconds, when somebody must repair the database first."""

CLOSING_BACKOFF_CAP_S: Final = 0.25
"""Longest wait between two tries, in seconds, while the process stops and each try may be the last."""

CANCEL_TIMEOUT_S: Final = 1.0
"""Seconds that a cancelled write gets to end; a write that hangs in a dead connection may not end at all."""

FLUSH_ITEMS_BOUNDS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)
"""Bucket bounds for the number of items in a flush, up to the most items that may be set for one statement."""

FLUSH_BOUNDS_S: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
"""Bucket bounds for the seconds that a flush takes.

They reach from one exchange with PostgreSQL to an outage that somebody had to end.
"""

_NOT_CONFIRMED: Final = "PostgreSQL has not confirmed the item in time"

logger = logging.getLogger(__name__)


class Flusher:
    """Drains `aggregator` every few milliseconds into PostgreSQL."""

    def __init__(
        self,
        aggregator: Aggregator,
        delivery: Delivery,
        *,
        traced_items: TracedItems | None,
        interval_ms: int,
        max_items: int,
        on_flush: Callable[[], None],
        on_committed: Callable[[], None],
    ) -> None:
        """Store batches with `delivery`; call `on_flush` before each batch, `on_committed` after it is dealt with.

        `traced_items` are the traced requests whose items wait; None: nothing is traced.
        """
        self._aggregator = aggregator
        self._delivery = delivery
        self._traced_items = traced_items
        self._on_flush = on_flush
        self._on_committed = on_committed
        self._interval_s = interval_ms / 1000
        self._max_items = max_items
        self._wake = asyncio.Event()
        self._closing = asyncio.Event()
        self._waiters: deque[tuple[int, Confirmation]] = deque()
        self._nobody_waits = False
        self.sizes = Histogram(FLUSH_ITEMS_BOUNDS)
        """Histogram of the number of items in each batch that was dealt with."""
        self.times = Histogram(FLUSH_BOUNDS_S)
        """Histogram of the seconds until each batch was dealt with; includes all waits and tries."""
        self.unexpected = 0
        """Number of flushes that failed with an error that the code does not expect."""
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether the task is alive; without it the process is not ready."""
        return self._task is not None and not self._task.done()

    def start(self) -> None:
        """Start the task on the running event loop."""
        self._task = asyncio.create_task(self._run(), name="flusher")

    def wake(self) -> None:
        """Say that there is something to flush; call it after every put."""
        self._wake.set()

    def committed(self, stamp: int, timeout_s: float) -> Confirmation:
        """Return a confirmation that is resolved when PostgreSQL has committed the write with this stamp.

        The write stays queued after `timeout_s` seconds.
        """
        # Every wait has the same time-out, so those that gave up stand at the front.
        while self._waiters and self._waiters[0][1].resolved:
            self._waiters.popleft()
        confirmation = confirmation_within(0 if self._nobody_waits else timeout_s, _NOT_CONFIRMED)
        self._waiters.append((stamp, confirmation))
        return confirmation

    def stop_waiting(self) -> None:
        """Make every wait for a commit time out now: the process is about to end."""
        self._nobody_waits = True
        while self._waiters:
            self._waiters.popleft()[1].resolve(_NOT_CONFIRMED)

    async def close(self, timeout_s: float) -> None:
        """Flush what is left for at most `timeout_s` seconds, then stop; the rest stays in the aggregator."""
        self._closing.set()
        self._wake.set()
        await end(self._task, timeout_s=timeout_s, cancel_timeout_s=CANCEL_TIMEOUT_S)

    async def _run(self) -> None:
        while True:
            if not self._aggregator:
                if self._closing.is_set():
                    return
                self._wake.clear()
                await self._wake.wait()
            if len(self._aggregator) < self._max_items and not self._closing.is_set():
                await wait_for_event(self._closing, self._interval_s)
            if self._aggregator:
                batch = self._aggregator.drain(self._max_items)
                with (
                    nullcontext(NO_TRACES)
                    if self._traced_items is None
                    else self._traced_items.flushing(batch) as traces
                ):
                    await self._flush(batch, traces)

    async def _flush(self, batch: Batch, traces: ItemTraces) -> None:
        began_s = perf_counter()
        items = len(batch)
        while True:
            try:
                self._on_flush()
                await self._delivery.deliver(batch, self._back_off, traces)
                break
            except Exception:
                self.unexpected += 1
                logger.exception("the flush failed in a way that nobody has thought of; it is tried again")
                await asyncio.sleep(CLOSING_BACKOFF_CAP_S if self._closing.is_set() else BACKOFF_CAP_S)
        self._aggregator.release()
        self.sizes.add(items)
        self.times.add(perf_counter() - began_s)
        self._on_committed()
        self._answer_waiters()

    async def _back_off(self, failure: Failure, tries: int) -> None:
        """Wait with full jitter, so that many workers do not come back at the same moment."""
        if self._closing.is_set():
            await asyncio.sleep(between_s(0, CLOSING_BACKOFF_CAP_S))
        elif failure is Failure.BROKEN:
            await wait_for_event(self._closing, between_s(0, 2 * BROKEN_BACKOFF_S))
        else:
            await wait_for_event(self._closing, full_jitter_s(tries, BACKOFF_BASE_S, BACKOFF_CAP_S))

    def _answer_waiters(self) -> None:
        """Settle the confirmations whose stamp is older than everything that is still to be stored."""
        oldest = self._aggregator.oldest_stamp()
        while self._waiters and (oldest is None or self._waiters[0][0] < oldest):
            self._waiters.popleft()[1].resolve(None)

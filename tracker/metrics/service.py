"""The metrics of a process: kept in a file for the other workers, and shown to Prometheus together with theirs."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Final, TypeVar

from tracker.kit.background_task import wait_for_event
from tracker.metrics.database_values import DatabaseValues
from tracker.metrics.exposition import Exposition, expose
from tracker.metrics.process_state import BUILD_INFO
from tracker.metrics.values import Values
from tracker.metrics.worker_files import Workers
from tracker.telemetry.families import Families, Sample, Source

PUBLISH_S: Final = 1.0
"""Seconds between two writes of a worker's values: they are at most that old when another worker is scraped."""

LAST_PUBLISH_TIMEOUT_S: Final = 0.5
"""Seconds that the last write of the values may take when the process stops; a disk that hangs is not waited for."""

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Metrics:
    """The metrics of a process."""

    def __init__(
        self, families: Families, sources: Sequence[Source], *, stored: DatabaseValues, workers: Workers | None
    ) -> None:
        """Show all of `families`: what `sources` count, and what `stored` reads.

        With `workers` it is what all of them have counted, else this process alone.
        """
        self._families = families
        self._sources = sources
        self._stored = stored
        self._workers = workers
        self._stopping = asyncio.Event()
        # One thread, so that what was read later is written later.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        self._version = metadata.version("tracker")

    async def values(self) -> Values:
        """Return all values that are shown."""
        stored = await self._stored.read()
        live = self._live()
        total = live if self._workers is None else await self._in_thread(self._workers.total, live)
        total.add(stored)
        total.put([Sample(BUILD_INFO, 1, (self._version,))])
        return total

    async def show(self, accept: str) -> Exposition:
        """Return all values that are shown, in the format that an Accept header asks for."""
        return await self._in_thread(expose, await self.values(), accept)

    @contextlib.asynccontextmanager
    async def published(self) -> AsyncIterator[None]:
        """Keep the values of this worker for the others while the block runs, and once more at its end."""
        if self._workers is None:
            yield
            return
        task = asyncio.create_task(self._publish(self._workers), name="metrics")
        try:
            yield
        finally:
            self._stopping.set()
            await asyncio.wait([task], timeout=LAST_PUBLISH_TIMEOUT_S)
            task.cancel()
            self._thread.shutdown(wait=False)

    async def close(self) -> None:
        """Stop asking PostgreSQL."""
        await self._stored.close()

    async def _publish(self, workers: Workers) -> None:
        while not self._stopping.is_set():
            await self._keep(workers.publish)
            await wait_for_event(self._stopping, PUBLISH_S)
        await self._keep(workers.leave)

    async def _keep(self, keep: Callable[[Values], object]) -> None:
        try:
            await self._in_thread(keep, self._live())
        except Exception:
            logger.exception("the metrics cannot be kept")

    async def _in_thread(self, function: Callable[..., T], *arguments: object) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *arguments)

    def _live(self) -> Values:
        live = Values(self._families)
        for source in self._sources:
            live.put(source())
        return live

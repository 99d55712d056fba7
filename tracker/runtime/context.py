"""Everything that a serving process shares, built once and in one place; its parts open and close themselves."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Final

from tracker.features.carts.wiring import writer_on
from tracker.features.feature import CLOSE_TIMEOUT_S, FeatureServing, ServingParts
from tracker.ingest.metrics import pipeline_samples
from tracker.ingest.pipeline import Pipeline
from tracker.ingest.worker_folders import WorkerFolder
from tracker.kit.background_task import close_within
from tracker.kit.clock import Clock, SystemClock
from tracker.kit.files import Files, SystemFiles
from tracker.kit.timeouts import RequestTimeouts
from tracker.metrics import process_state
from tracker.postgres.engine import create_engine, dispose
from tracker.postgres.request_database import RequestDatabase
from tracker.runtime.features import FEATURES, by_name
from tracker.settings import DatabaseSettings, FolderSettings, IngestSettings, Settings, WebSettings
from tracker.telemetry.families import Sample
from tracker.telemetry.tracing import Tracer
from tracker.web.fast_lane.interface import FastLanes
from tracker.web.fast_lane.traced import traced
from tracker.web.middleware.browser_policy import BrowserPolicy
from tracker.web.rate_limit import RateLimits

WRITE_CONNECTIONS: Final = 3
"""Connections to PostgreSQL for the flusher, the recovery and the warranties alone: a hundred readers must not keep
them from writing. One for each is enough, as none writes two batches at once."""

REQUEST_LOCK_TIMEOUT_S: Final = 1.0
"""Seconds that a request waits for a cart that another one has locked; while it waits, no other request can use its
connection."""

logger = logging.getLogger(__name__)


class Context:
    """The parts of a process that serves."""

    def __init__(
        self,
        settings: Settings,
        *,
        url: str,
        folder: WorkerFolder,
        clock: Clock | None = None,
        files: Files | None = None,
        tracer: Tracer | None = None,
    ) -> None:
        """Build the parts for the migrated database at `url` and a worker's `folder`; nothing runs yet.

        `clock` and `files` are the machine's own, unless a test passes others; without `tracer` nothing is traced.
        Raises ConfigurationError, or ValueError if two features hand out fast lanes for one path.
        """
        self.settings: Final = settings
        self.url: Final = url
        self.folder: Final = folder
        self.tracer: Final = tracer
        database, web = settings[DatabaseSettings], settings[WebSettings]
        clock = clock or SystemClock()
        self._write_engine = create_engine(url, pool_size=WRITE_CONNECTIONS)
        self._request_engine = create_engine(
            url, pool_size=database.request_connections, lock_timeout_s=REQUEST_LOCK_TIMEOUT_S
        )
        self.timeouts: Final = RequestTimeouts()
        self.database: Final = RequestDatabase(self._request_engine, self.timeouts)
        self.pipeline: Final = Pipeline(
            settings[IngestSettings],
            data_dir=settings[FolderSettings].data_dir,
            folder=folder,
            clock=clock,
            files=files or SystemFiles(),
            write=writer_on(self._write_engine, settings).write,
            tracer=tracer,
        )
        self.policy: Final = BrowserPolicy(web.allowed_origins, web.allowed_hosts)
        self.parts: Final = ServingParts(
            settings=settings,
            clock=clock,
            timeouts=self.timeouts,
            database=self.database,
            write_database=RequestDatabase(self._write_engine, self.timeouts),
            pipeline=self.pipeline,
            policy=self.policy,
            limits=RateLimits(clock, per_address=web.rate_per_address, per_cart=web.rate_per_cart),
        )
        self.features: Final[list[FeatureServing]] = []
        for feature in FEATURES:
            if feature.serve is not None:
                serving = feature.serve(self.parts)
                self.features.append(serving)
                self.parts.services.extend(serving.services)
        lanes = by_name("fast lane", (lane for one in self.features for lane in one.lanes.items()))
        self.lanes: Final[FastLanes] = lanes if tracer is None else traced(lanes, tracer)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Accept and store items while the block runs; at its end what was accepted is stored."""
        await self.pipeline.open()
        worker = {"worker": self.folder.number}
        ack, journal = self.settings[IngestSettings].ack.value, str(self.folder.path)
        logger.info("started", extra={**worker, "ack": ack, "journal": journal})
        try:
            yield
        finally:
            logger.info("stopping", extra={**worker, "items_in_hand": len(self.pipeline.aggregator)})
            for serving in self.features:
                if serving.finish is not None:
                    await serving.finish()
            await self.pipeline.close()
            await asyncio.gather(
                *(close_within(one.close, CLOSE_TIMEOUT_S) for one in self.features if one.close is not None),
                dispose(self._write_engine),
                dispose(self._request_engine),
            )
            logger.info("stopped", extra={**worker, "items_left": len(self.pipeline.aggregator)})

    def stop_waiting(self) -> None:
        """Tell every waiting request that its confirmation did not come in time: the process is about to end."""
        self.pipeline.intake.stop_waiting()
        self.timeouts.end()

    def samples(self) -> Iterator[Sample]:
        """Return an iterator over the samples of the process, its requests and jobs left out."""
        yield from process_state.serving_samples(ready=self.pipeline.intake.ready)
        yield from pipeline_samples(self.pipeline)
        for serving in self.features:
            yield from serving.samples()

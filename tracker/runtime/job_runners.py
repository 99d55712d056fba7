"""Runs the jobs of all features: beside the requests, or in a process of their own."""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Final

from tracker.features.feature import CLOSE_TIMEOUT_S, Feature, FeatureJobs, JobParts
from tracker.jobs.metrics import ended_samples
from tracker.kit.background_task import close_within
from tracker.postgres.engine import create_engine, dispose
from tracker.runtime.features import FEATURES
from tracker.settings import DatabaseSettings, Settings
from tracker.telemetry.families import Sample
from tracker.telemetry.tracing import Tracer

CONNECTION_TIMEOUT_S: Final = 60.0
"""Seconds that a job's handler waits for a connection: without one it cannot store what its service has answered, and
must ask again. With 5 s, two processes on a machine ten times overcommitted asked a hundred times in vain for 1,000
reservations."""


class JobRunners:
    """The jobs of a process, by their features; those of a feature that is switched off do not run."""

    def __init__(self) -> None:
        self._running: dict[Feature, FeatureJobs] = {}
        self._idle = {one: one.metrics().idle_samples for one in FEATURES if one.metrics is not None}

    def samples(self) -> Iterator[Sample]:
        """Return an iterator over what the jobs count; what does not run has counted nothing."""
        for feature, idle_samples in self._idle.items():
            jobs = self._running.get(feature)
            yield from idle_samples() if jobs is None else jobs.samples()
        for jobs in self._running.values():
            for runner in jobs.runners:
                yield from ended_samples(runner.ended)

    @contextlib.asynccontextmanager
    async def running(self, settings: Settings, *, url: str, tracer: Tracer | None) -> AsyncIterator[None]:
        """Run the jobs on the database at `url` while the block runs; without `tracer` nothing is traced."""
        async with contextlib.AsyncExitStack() as stack:
            connections = settings[DatabaseSettings].job_connections
            engine = create_engine(url, pool_size=connections, pool_timeout_s=CONNECTION_TIMEOUT_S)
            stack.push_async_callback(dispose, engine)
            parts = JobParts(settings, url, engine, tracer)
            for feature in FEATURES:
                jobs = None if feature.jobs is None else feature.jobs(parts)
                if jobs is not None:
                    self._running[feature] = jobs
                    if jobs.close is not None:
                        stack.push_async_callback(close_within, jobs.close, CLOSE_TIMEOUT_S)
            runners = [runner for jobs in self._running.values() for runner in jobs.runners]
            for runner in runners:
                runner.start()
            try:
                yield
            finally:
                await asyncio.gather(*(runner.close() for runner in runners))


async def run_jobs_until_signal(
    settings: Settings,
    *,
    url: str,
    tracer: Tracer | None,
    beside: Callable[[JobRunners], contextlib.AbstractAsyncContextManager[None]],
) -> None:
    """Run the jobs until SIGINT or SIGTERM, and meanwhile what is `beside` them."""
    signaled = asyncio.Event()
    loop = asyncio.get_running_loop()
    jobs = JobRunners()
    with _handled(loop, signaled):
        async with jobs.running(settings, url=url, tracer=tracer), beside(jobs):
            await signaled.wait()


@contextlib.contextmanager
def _handled(loop: asyncio.AbstractEventLoop, signaled: asyncio.Event) -> Iterator[None]:
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, signaled.set)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)

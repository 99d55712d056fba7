"""Runs the jobs of a handler in this process, and counts how they end."""

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from tracker.jobs.handler import Handler, TryAgainError
from tracker.jobs.library import load_consumer
from tracker.kit.background_task import cancel, wait_for_event
from tracker.kit.backoff import about_s
from tracker.telemetry import tracing
from tracker.telemetry.tracing import Tracer

if TYPE_CHECKING:
    from pgqueuer.domain.models import Job

    from tracker.jobs.consumer import Consumer

STOP_TIMEOUT_S: Final = 1.0
"""Seconds that calls in hand get to end when the process stops, before their jobs go back into the queue."""

GOODBYE_TIMEOUT_S: Final = 0.5
"""Seconds that cancelled handlers get to end.

Putting their jobs back, and then ending the connections, get the same time each.
"""

RESTART_AFTER_S: Final = 5.0
"""Pause in seconds after an error that the code does not expect, before jobs are taken again."""

UNEXPECTED_AGAIN_S: Final = 60.0
"""Average seconds until a job is tried again that failed with an error that the code does not expect."""

DONE: Final = "done"
AGAIN: Final = "again"
UNEXPECTED: Final = "unexpected"
RESULTS: Final = (DONE, AGAIN, UNEXPECTED)
"""Possible results of a call of a handler.

The job is done, the handler asks to be called again, or it fails with an error that the code does not expect.
"""

logger = logging.getLogger(__name__)


class JobRunner:
    """Runs the jobs of one handler in this process.

    Each handler has a runner of its own: jobs that wait for one service that is down must not keep those of another
    from being taken.
    """

    def __init__(self, url: str, name: str, handler: Handler, *, concurrency: int, tracer: Tracer | None) -> None:
        """Take the jobs called `name` from the database at `url`; at most `concurrency` (2 or more) are in hand.

        `tracer` begins the spans of those that a traced request has caused.
        """
        self._url = url
        self._name = name
        self._handler = handler
        self._concurrency = concurrency
        self._tracer = tracer
        self.ended: dict[tuple[str, str], int] = {(name, result): 0 for result in RESULTS}
        """Number of ended calls, by handler and result."""
        self._cut_off = asyncio.Event()
        self._stopping = asyncio.Event()
        self._consumer: Consumer | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start taking jobs, on the running event loop."""
        self._task = asyncio.create_task(self._run(), name=f"jobs: {self._name}")
        logger.info("the jobs run", extra={"job": self._name, "concurrency": self._concurrency})

    async def close(self) -> None:
        """Take no more jobs; let the jobs in hand end, or put them back into the queue."""
        self._stopping.set()
        if self._consumer is not None:
            self._consumer.stop()
        if self._task is None:
            return
        await asyncio.wait([self._task], timeout=STOP_TIMEOUT_S)
        self._cut_off.set()
        await asyncio.wait([self._task], timeout=2 * GOODBYE_TIMEOUT_S)
        if self._consumer is not None:
            self._consumer.terminate()
        await cancel(self._task, GOODBYE_TIMEOUT_S)
        logger.info("the jobs have stopped", extra={"job": self._name})

    async def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                await self._take_jobs()
            except Exception:
                if self._stopping.is_set():
                    return
                logger.exception("the jobs have stopped and are started again", extra={"job": self._name})
                await wait_for_event(self._stopping, RESTART_AFTER_S)

    async def _take_jobs(self) -> None:
        consumer_class = await load_consumer()
        self._consumer = consumer_class(
            self._url, self._name, self._do, concurrency=self._concurrency, gives_up=self._cut_off
        )
        if not self._stopping.is_set():
            await self._consumer.run()

    async def _do(self, job: "Job") -> None:
        try:
            span = None if self._tracer is None else self._tracer.job(self._name, job.headers)
            with tracing.span_until_end(span):
                await self._call(job.payload or b"")
        except TryAgainError:
            self.ended[self._name, AGAIN] += 1
            raise
        except asyncio.CancelledError:
            raise TryAgainError(0, "the process stops") from None
        except Exception as error:
            # What nobody has thought of is no reason to lose the job, nor to spin.
            self.ended[self._name, UNEXPECTED] += 1
            logger.exception(
                "a job failed in a way that nobody has thought of; it is tried again", extra={"job": self._name}
            )
            raise TryAgainError(about_s(UNEXPECTED_AGAIN_S), repr(error)) from error
        else:
            self.ended[self._name, DONE] += 1

    async def _call(self, payload: bytes) -> None:
        """Call the handler; when the runner cuts it off, cancel it and raise CancelledError."""
        call = asyncio.ensure_future(self._handler(payload))
        cut_off = asyncio.create_task(self._cut_off.wait())
        try:
            await asyncio.wait({call, cut_off}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            cut_off.cancel()
            if not call.done():
                await cancel(call, GOODBYE_TIMEOUT_S)
        if not call.done():
            raise asyncio.CancelledError
        call.result()

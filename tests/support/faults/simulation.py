"""A whole worker without HTTP and PostgreSQL, in simulated time: the same seed gives the same run.

The parts are those of a server. Sleeping costs nothing, a thread is a function
that runs some moments after it was asked for, and what should never end in time fails at once.
"""

import asyncio
import copy
import random
import selectors
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ParamSpec, TypeVar

import pytest

from tests.support.faults.disk import Disk
from tracker.errors import TrackerError
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.items import Batch, CartId, ItemWrite
from tracker.ingest.journal.journal import Limits
from tracker.ingest.pipeline import Pipeline
from tracker.ingest.worker_folders import WorkerFolder
from tracker.kit.clock import Clock, SystemClock
from tracker.kit.files import Files
from tracker.settings import Ack, IngestSettings

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")
POISON = "poison"
"""In an external id: PostgreSQL will never take it."""

ROUND_S = 0.00002
"""What a round of the event loop takes, so that somebody who asks again and again gets older too."""

P = ParamSpec("P")
T = TypeVar("T")


class _Selector(selectors.SelectSelector):
    """Does not wait: time passes by itself."""

    loop: "SimulatedLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        found = super().select(0)
        self.loop.now_s += ROUND_S
        if not found:
            assert timeout is not None, "everything waits for something that never comes"
            self.loop.now_s += timeout
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop whose time goes as fast as there is nothing to do."""

    def __init__(self, chance: random.Random, thread_delay_s: Callable[[], float] | None = None) -> None:
        self.now_s = time.monotonic()
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)
        self.thread_delay_s = thread_delay_s or (lambda: chance.choice([0, 0, 0.001, 0.004]))
        self.set_default_executor(SimulatedThread())

    def time(self) -> float:
        return self.now_s

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # its signature
        """There is no thread to end; asyncio would start one for it, and this loop does not wait for any."""
        del timeout


class SimulatedThread(ThreadPoolExecutor):
    """Runs what it is given on the event loop, one after the other, each a little later, and answers later still."""

    def __init__(self, *_arguments: object, **_named: object) -> None:
        super().__init__(1)
        self._free_at_s = 0.0

    def submit(self, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, SimulatedLoop)
        future: Future[T] = Future()

        def work() -> None:
            try:
                result = function(*args, **kwargs)
            except Exception as error:  # noqa: BLE001  # as a thread would
                loop.call_at(told_at_s, future.set_exception, error)
            else:
                loop.call_at(told_at_s, future.set_result, result)

        done_at_s = max(self._free_at_s, loop.time()) + loop.thread_delay_s()
        # Much may be written between the end of a sync and the moment at which the loop hears of it.
        told_at_s = self._free_at_s = done_at_s + loop.thread_delay_s()
        loop.call_at(done_at_s, work)
        return future


class FakePostgres:
    """Holds what is committed, and fails when told to."""

    def __init__(self) -> None:
        self.items: Batch = {}
        self.before: Callable[[], None] = lambda: None
        """Called before a commit: what it raises is raised, and nothing is stored."""
        self.after: Callable[[], None] = lambda: None
        """Called after a commit: what it raises is raised, and everything is stored."""
        self.delay_s: Callable[[], float] = lambda: 0.001

    async def write(self, batch: Batch, traces: ItemTraces) -> None:
        del traces
        await asyncio.sleep(self.delay_s())
        self.before()
        if any(POISON in external_id for _, external_id in batch):
            "\ud800".encode()  # raises what a row that cannot be sent raises
        for key, item in batch.items():
            self.items.setdefault(key, copy.copy(item)).merge(item)
        self.after()


def away() -> None:
    """Stand in for a PostgreSQL that cannot be reached."""
    raise ConnectionError("away")


@dataclass
class Worker:
    """One worker number through the lives of its processes.

    Every write sets one field to the next of the natural numbers. What is acknowledged is stored when
    its field holds that number or a greater one, as a later write is one of a greater number.
    """

    disk: Files
    folder: Path
    postgres: FakePostgres = field(default_factory=FakePostgres)
    clock: Clock = field(default_factory=SystemClock)
    ack: Ack = Ack.FSYNC
    acknowledged: dict[tuple[str, str], int] = field(default_factory=dict)
    """The greatest number by external id and field."""
    numbers: Iterator[int] = field(default_factory=lambda: count(1))

    @asynccontextmanager
    async def life(self, **settings: Any) -> AsyncIterator[Pipeline]:  # noqa: ANN401  # those of IngestSettings
        """Run a process until the block ends, which is a kill -9 to the process."""
        chosen: dict[str, Any] = {"ack": self.ack, "flush_interval_ms": 1, "journal_min_free_mb": 0} | settings
        pipeline = Pipeline(
            IngestSettings(**chosen),
            data_dir=self.folder.parent.parent,
            folder=WorkerFolder(self.folder, 3),
            clock=self.clock,
            files=self.disk,
            write=self.postgres.write,
            tracer=None,
        )
        await pipeline.open()
        try:
            yield pipeline
        finally:
            if isinstance(self.disk, Disk):
                self.disk.gone = True
            await end_all_tasks()
            await pipeline.close()

    async def accept(self, pipeline: Pipeline, external_id: str, field_name: str = "name") -> bool:
        """Have a write accepted; return whether it was acknowledged."""
        number = next(self.numbers)
        name = str(number) if field_name == "name" else None
        value = number if field_name == "value" else None
        quantity = number if field_name == "quantity" else None
        try:
            await pipeline.intake.accept(ItemWrite(CART, external_id, name, value, quantity))
        except TrackerError:
            return False
        known = self.acknowledged.get((external_id, field_name), 0)
        self.acknowledged[external_id, field_name] = max(known, number)
        return True

    def lost(self) -> list[str]:
        """Return what was acknowledged and is neither stored nor, if it is poison, a dead letter."""
        letters: Batch = {}
        for letter in DeadLetters(self.folder).all():
            letters.setdefault(letter.key, letter.item).merge(letter.item)
        return [
            f"{external_id}.{field_name}={number}"
            for (external_id, field_name), number in self.acknowledged.items()
            if _number(letters if POISON in external_id else self.postgres.items, external_id, field_name) < number
        ]


def _number(batch: Batch, external_id: str, field_name: str) -> int:
    item = batch.get((CART, external_id))
    return 0 if item is None else int(getattr(item, field_name) or 0)


async def end_all_tasks() -> None:
    """Cancel every other task, and wait until it has ended."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def simulated(**limits: Any) -> Iterator[FakePostgres]:  # noqa: ANN401  # those of Limits
    """Give the workers in the block simulated threads and time, a fake PostgreSQL, and other limits."""
    postgres = FakePostgres()
    journal = "tracker.ingest.journal.journal"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{journal}.ThreadPoolExecutor", SimulatedThread)
        patch.setattr(f"{journal}.time", SimpleNamespace(monotonic=lambda: asyncio.get_running_loop().time()))
        patch.setattr("tracker.ingest.pipeline.Limits", lambda **given: Limits(**(given | limits)))
        yield postgres


def run(
    scenario: Coroutine[Any, Any, T], chance: random.Random, thread_delay_s: Callable[[], float] | None = None
) -> T:
    """Run `scenario` in simulated time."""
    with asyncio.Runner(loop_factory=lambda: SimulatedLoop(chance, thread_delay_s)) as runner:
        return runner.run(scenario)


@pytest.fixture
def postgres() -> Iterator[FakePostgres]:
    """A fake PostgreSQL for the workers of a test, which rotate their journals often."""
    with simulated(segment_bytes=400) as postgres:
        yield postgres


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A worker's folder; the journal's files are in the fake disk, locks and dead letters are real."""
    folder = tmp_path / "workers" / "0003"
    folder.mkdir(parents=True)
    return folder

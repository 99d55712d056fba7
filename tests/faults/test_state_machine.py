"""Any sequence of writes, faults of disk and PostgreSQL, kills, losses of power and restarts.

At the end everything that was acknowledged is in PostgreSQL or, if PostgreSQL refuses it for good, a
dead letter. hypothesis looks for a sequence for which that is not so, and prints the shortest it finds.
"""

import asyncio
import random
import shutil
import tempfile
from contextlib import AbstractAsyncContextManager, ExitStack
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.support.clock import ManualClock
from tests.support.faults.disk import Disk, io_error
from tests.support.faults.simulation import POISON, SimulatedLoop, Worker, away, simulated
from tracker.ingest.pipeline import Pipeline
from tracker.settings import Ack

KEYS = st.sampled_from(["a", "b", "c", f"{POISON}-1", f"{POISON}-2"])
FIELDS = st.sampled_from(["name", "value", "quantity"])
CAPACITY = 6000


class WorkerMachine(RuleBasedStateMachine):
    """The lives of one worker."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = ExitStack()
        self.data_dir = Path(tempfile.mkdtemp())
        self.life: AbstractAsyncContextManager[Pipeline] | None = None

    @initialize(seed=st.integers(0, 2**32), ack=st.sampled_from([Ack.FSYNC, Ack.FSYNC, Ack.JOURNAL]))
    def begin(self, seed: int, ack: Ack) -> None:
        self.chance = random.Random(seed)
        self.runner = self.stack.enter_context(asyncio.Runner(loop_factory=lambda: SimulatedLoop(self.chance)))
        postgres = self.stack.enter_context(simulated(segment_bytes=300))
        folder = self.data_dir / "workers" / "0003"
        folder.mkdir(parents=True)
        self.disk = Disk(CAPACITY, self.chance)
        self.clock = ManualClock(10**15)
        self.worker = Worker(self.disk, folder, postgres, self.clock, ack)
        self.failing: dict[str, int] = {}
        self.start()

    def start(self) -> None:
        self.disk.before = self.fail
        self.life = self.worker.life()
        self.pipeline = self.runner.run(self.life.__aenter__())

    def fail(self, call: str, _name: str) -> None:
        if self.failing.get(call, 0):
            self.failing[call] -= 1
            raise io_error()

    def end(self, disk: Disk) -> None:
        assert self.life is not None
        self.runner.run(self.life.__aexit__(None, None, None))
        self.worker.disk = self.disk = disk
        self.failing.clear()

    @rule(writes=st.lists(st.tuples(KEYS, FIELDS), min_size=1, max_size=12), together=st.booleans())
    def write(self, writes: list[tuple[str, str]], *, together: bool) -> None:
        async def scenario() -> None:
            accepting = [self.worker.accept(self.pipeline, key, field_name) for key, field_name in writes]
            if together:
                await asyncio.gather(*accepting)
            else:
                for one in accepting:
                    await one

        self.runner.run(scenario())

    @rule(seconds=st.sampled_from([0.001, 0.01, 0.6, 3, 11]))
    def wait(self, seconds: float) -> None:
        self.runner.run(asyncio.sleep(seconds))

    @rule(call=st.sampled_from(["create", "write", "sync", "sync_folder", "remove", "save"]), times=st.integers(1, 4))
    def break_disk(self, call: str, times: int) -> None:
        self.failing[call] = times

    @rule(bytes_=st.sampled_from([None, 1, 20]))
    def shorten_writes(self, bytes_: int | None) -> None:
        self.disk.longest_write = bytes_

    @rule(left=st.integers(0, 300))
    def fill_disk(self, left: int) -> None:
        self.disk.capacity = CAPACITY - self.disk.free_bytes(self.worker.folder) + left

    @rule()
    def make_room(self) -> None:
        self.disk.capacity = 10**9

    @rule()
    def lose_postgres(self) -> None:
        self.worker.postgres.before = away

    @rule()
    def lose_answers_of_postgres(self) -> None:
        self.worker.postgres.before = lambda: None
        self.worker.postgres.after = away

    @rule()
    def return_postgres(self) -> None:
        self.worker.postgres.before = self.worker.postgres.after = lambda: None

    @rule(moment=st.sampled_from([0, 0.0005, 0.003]), writes=st.lists(st.tuples(KEYS, FIELDS), max_size=5))
    def kill(self, moment: float, writes: list[tuple[str, str]]) -> None:
        self.die_in_mid_write(moment, writes)
        self.end(self.disk.after_kill())
        self.start()

    @precondition(lambda self: self.worker.ack is Ack.FSYNC)
    @rule(moment=st.sampled_from([0, 0.0005, 0.003]), writes=st.lists(st.tuples(KEYS, FIELDS), max_size=5))
    def lose_power(self, moment: float, writes: list[tuple[str, str]]) -> None:
        self.die_in_mid_write(moment, writes)
        self.end(self.disk.after_power_loss())
        self.clock.set(self.clock.now_us() + 10**7)
        self.start()

    def die_in_mid_write(self, moment: float, writes: list[tuple[str, str]]) -> None:
        async def scenario() -> None:
            for key, field_name in writes:
                self.tasks.append(asyncio.create_task(self.worker.accept(self.pipeline, key, field_name)))
            await asyncio.sleep(moment)

        self.tasks: list[asyncio.Task[bool]] = []
        self.runner.run(scenario())

    @rule(hours=st.integers(-2, 2))
    def step_clock(self, hours: int) -> None:
        if self.worker.ack is Ack.JOURNAL:
            self.clock.set(self.clock.now_us() + hours * 3_600_000_000)

    @invariant()
    def background_work_goes_on(self) -> None:
        if self.life is not None:
            self.wait(0.0001)

    def teardown(self) -> None:
        try:
            if self.life is not None:
                self.return_postgres()
                self.make_room()
                self.failing.clear()
                self.wait(120)
                assert self.pipeline.intake.ready
                assert self.worker.lost() == []
                self.end(self.disk.after_kill())
                self.start()
                self.wait(60)
                assert self.worker.lost() == []
                self.end(self.disk.after_kill())
        finally:
            self.life = None
            self.stack.close()
            shutil.rmtree(self.data_dir)


def check(examples: int) -> None:
    run_state_machine_as_test(
        WorkerMachine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_whatever_happens_nothing_acknowledged_is_lost() -> None:
    check(20)


@pytest.mark.slow
def test_whatever_happens_nothing_acknowledged_is_lost_in_many_more_lives() -> None:
    check(400)

"""A disk that answers with errors: nobody is told that it took what it did not, and it is used again."""

import asyncio
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.faults.disk import Disk, io_error
from tests.support.faults.simulation import FakePostgres, Worker, away, folder, postgres, run
from tracker.ingest.journal.frames import parse_segment_name, scan
from tracker.ingest.journal.journal import SYNC_TIMEOUT_S, TICK_S
from tracker.ingest.journal_record import decode_record
from tracker.ingest.pipeline import MIB, Pipeline
from tracker.settings import Ack

__all__ = ["folder", "postgres"]

CHANCE = random.Random(3)


def journaled(disk: Disk, folder: Path) -> Counter[str]:
    """Return what stands in the segments: external ids, and how often."""
    found: Counter[str] = Counter()
    for name, data in disk.content(folder).items():
        if parsed := parse_segment_name(name):
            result = scan(data, parsed[1])
            assert result.intact, name
            found.update(decode_record(payload)[1] for payload in result.payloads)
    return found


def is_segment(name: str) -> bool:
    return parse_segment_name(name) is not None


def is_ready(pipeline: Pipeline) -> bool:
    return pipeline.intake.ready


class FailingSyncs:
    """Lets syncs of segments with frames fail (a new segment's header is synced well)."""

    def __init__(self, disk: Disk, times: int) -> None:
        self.failed: list[str] = []
        self._synced: set[str] = set()
        self._times = times
        self._disk = disk
        disk.before = self

    def __call__(self, call: str, name: str) -> None:
        if call == "sync" and is_segment(name):
            if ("sync", name) in self._disk.calls and len(self.failed) < self._times:
                self.failed.append(name)
                raise io_error()
            assert name not in self.failed, "synced again after a failure"


def test_a_failed_sync_confirms_nobody_and_a_new_segment_takes_what_waits(folder: Path, postgres: FakePostgres) -> None:
    disk = Disk(chance=random.Random(4))
    worker = Worker(disk, folder, postgres)
    postgres.before = away

    async def scenario() -> None:
        async with worker.life() as pipeline:
            assert await worker.accept(pipeline, "before")
            failing = FailingSyncs(disk, 1)
            answers = await asyncio.gather(*[worker.accept(pipeline, f"hit-{n}") for n in range(3)])
            assert answers == [False, False, False]
            [failed] = failing.failed
            assert not is_ready(pipeline)
            await asyncio.sleep(5 * TICK_S)
            assert is_ready(pipeline)
            assert await worker.accept(pipeline, "after")
            later = [name for name in disk.names(folder) if is_segment(name) and name > failed]
            rewritten = Counter[str]()
            for name in later:
                payloads = scan(disk.read(folder / name), (parse_segment_name(name) or (0, 0))[1]).payloads
                rewritten.update(decode_record(payload)[1] for payload in payloads)
            assert rewritten == Counter(["before", "hit-0", "hit-1", "hit-2", "after"])
            assert [call for call in disk.calls if call[0] in {"sync", "write"}].count(("sync", failed)) == 2

    run(scenario(), CHANCE)
    worker.disk = disk.after_power_loss()
    postgres.before = lambda: None
    run(_live(worker, 30), CHANCE)
    assert worker.lost() == []


async def _live(worker: Worker, seconds: float) -> None:
    async with worker.life():
        await asyncio.sleep(seconds)


@pytest.mark.parametrize("rewriting_works", [True, False])
def test_what_was_written_during_a_sync_that_fails_is_confirmed_by_a_sync_of_the_new_segment_only(
    folder: Path, postgres: FakePostgres, *, rewriting_works: bool
) -> None:
    disk = Disk(chance=random.Random(6))
    worker = Worker(disk, folder, postgres)
    postgres.before = away
    delay_s = 0.0

    async def scenario() -> None:
        nonlocal delay_s
        async with worker.life() as pipeline:
            assert await worker.accept(pipeline, "before")
            failing = FailingSyncs(disk, 1 if rewriting_works else 2)
            delay_s = 1.0
            first = asyncio.create_task(worker.accept(pipeline, "first"))
            await asyncio.sleep(0.5)
            second = asyncio.create_task(worker.accept(pipeline, "second"))
            assert await first is False
            assert not second.done()
            assert await second is rewriting_works
            assert len(failing.failed) == (1 if rewriting_works else 2)

    run(scenario(), CHANCE, lambda: delay_s)
    if rewriting_works:
        assert ("second", "name") in worker.acknowledged
    worker.disk = disk.after_power_loss()
    postgres.before = lambda: None
    run(_live(worker, 30), CHANCE)
    assert worker.lost() == []


def test_all_who_wait_share_a_sync_and_who_comes_during_it_waits_for_the_next(
    folder: Path, postgres: FakePostgres
) -> None:
    disk = Disk()
    worker = Worker(disk, folder, postgres)
    postgres.before = away
    delay_s = 0.0

    async def scenario() -> None:
        nonlocal delay_s
        async with worker.life() as pipeline:
            assert await worker.accept(pipeline, "before")
            delay_s = 1.0
            syncs = len(disk.calls)
            first = [asyncio.create_task(worker.accept(pipeline, f"first-{n}")) for n in range(10)]
            await asyncio.sleep(0.5)
            second = [asyncio.create_task(worker.accept(pipeline, f"second-{n}")) for n in range(10)]
            assert await asyncio.gather(*first) == [True] * 10
            assert not any(task.done() for task in second)
            assert await asyncio.gather(*second) == [True] * 10
            assert sum(call == "sync" for call, _ in disk.calls[syncs:]) <= 3

    run(scenario(), CHANCE, lambda: delay_s)


def test_nobody_waits_for_a_sync_longer_than_its_time(folder: Path, postgres: FakePostgres) -> None:
    worker = Worker(Disk(), folder, postgres)
    delay_s = 0.0

    async def scenario() -> None:
        nonlocal delay_s
        async with worker.life() as pipeline:
            assert await worker.accept(pipeline, "before")
            delay_s = 100.0
            asked = asyncio.get_running_loop().time()
            assert not await worker.accept(pipeline, "waits")
            assert SYNC_TIMEOUT_S - 1 < asyncio.get_running_loop().time() - asked < SYNC_TIMEOUT_S + 1

    run(scenario(), CHANCE, lambda: delay_s)


def test_who_waits_for_a_disk_that_hangs_is_told_when_the_process_stops(folder: Path, postgres: FakePostgres) -> None:
    worker = Worker(Disk(), folder, postgres)
    delay_s = 0.0

    async def scenario() -> None:
        nonlocal delay_s
        async with worker.life() as pipeline:
            assert await worker.accept(pipeline, "before")
            delay_s = 5.0
            waits = asyncio.create_task(worker.accept(pipeline, "waits"))
            await asyncio.sleep(0.5)
            comes_later = asyncio.create_task(worker.accept(pipeline, "comes-later"))
            await asyncio.sleep(0.5)
            told = asyncio.get_running_loop().time()
            pipeline.intake.stop_waiting()
            assert not await waits
            assert not await comes_later
            assert asyncio.get_running_loop().time() - told < 1

    run(scenario(), CHANCE, lambda: delay_s)


def test_a_disk_whose_syncs_all_fail_is_tried_again_at_leisure(folder: Path, postgres: FakePostgres) -> None:
    disk = Disk()
    worker = Worker(disk, folder, postgres)
    postgres.before = away
    seconds = 20

    async def scenario() -> None:
        async with worker.life() as pipeline:
            assert await worker.accept(pipeline, "before")
            failing = FailingSyncs(disk, 10**9)
            assert not await worker.accept(pipeline, "hit")
            for second in range(1, seconds):
                await asyncio.sleep(1)
                assert not is_ready(pipeline)
                assert len(failing.failed) <= 2 * (second + 1) / TICK_S
            failing._times = 0  # noqa: SLF001  # it is this test's
            await asyncio.sleep(5)
            assert await worker.accept(pipeline, "after")

    run(scenario(), CHANCE)


@pytest.mark.parametrize("longest_write", [1, 7, 64])
def test_short_writes_make_whole_frames(folder: Path, postgres: FakePostgres, longest_write: int) -> None:
    disk = Disk()
    disk.longest_write = longest_write
    worker = Worker(disk, folder, postgres)
    postgres.before = away

    async def scenario() -> None:
        async with worker.life() as pipeline:
            for number in range(20):
                assert await worker.accept(pipeline, f"sku-{number}")
            assert journaled(disk, folder) == Counter(f"sku-{number}" for number in range(20))

    run(scenario(), CHANCE)


@pytest.mark.parametrize("ack", [Ack.JOURNAL, Ack.FSYNC])
@pytest.mark.parametrize("left_over", range(0, 60, 4))
def test_a_full_disk_takes_whole_items_or_none_and_takes_up_again(
    folder: Path, postgres: FakePostgres, ack: Ack, left_over: int
) -> None:
    disk = Disk(capacity=2000 + left_over)
    worker = Worker(disk, folder, postgres, ack=ack)
    postgres.before = away

    async def scenario() -> None:
        async with worker.life() as pipeline:
            taken: list[str] = []
            for number in range(100):
                if await worker.accept(pipeline, f"sku-{number}"):
                    taken.append(f"sku-{number}")
                await asyncio.sleep(0.01)
            assert 10 < len(taken) < 60
            assert journaled(disk, folder) == Counter(taken)
            assert not is_ready(pipeline)
            postgres.before = lambda: None
            await asyncio.sleep(30)
            assert is_ready(pipeline)
            for number in range(100, 110):
                assert await worker.accept(pipeline, f"sku-{number}")
            await asyncio.sleep(1)
            assert worker.lost() == []

    run(scenario(), CHANCE)


def test_a_full_disk_loses_nothing_to_a_kill(folder: Path, postgres: FakePostgres) -> None:
    disk = Disk(capacity=2000)
    worker = Worker(disk, folder, postgres, ack=Ack.JOURNAL)
    postgres.before = away

    async def fill() -> None:
        async with worker.life() as pipeline:
            for number in range(100):
                await worker.accept(pipeline, f"sku-{number}")
                await asyncio.sleep(0.01)

    async def resume() -> None:
        async with worker.life() as pipeline:
            await asyncio.sleep(30)
            assert await worker.accept(pipeline, "after")
            await asyncio.sleep(1)

    run(fill(), CHANCE)
    assert worker.acknowledged
    worker.disk = disk.after_kill()
    postgres.before = lambda: None
    run(resume(), CHANCE)
    assert worker.lost() == []


@pytest.mark.parametrize("failing_call", ["create", "write", "sync", "sync_folder"])
def test_a_start_on_a_disk_that_fails_takes_items_once_it_does_not(
    folder: Path, postgres: FakePostgres, failing_call: str
) -> None:
    disk = Disk()
    worker = Worker(disk, folder, postgres)

    def fail(call: str, _name: str) -> None:
        if call == failing_call:
            raise io_error()

    async def scenario() -> None:
        disk.before = fail
        async with worker.life() as pipeline:
            assert not await worker.accept(pipeline, "a")
            await asyncio.sleep(5 * TICK_S)
            assert not await worker.accept(pipeline, "b")
            assert not any(is_segment(name) for name in disk.names(folder))
            disk.before = lambda _call, _name: None
            await asyncio.sleep(2 * TICK_S)
            assert await worker.accept(pipeline, "c")

    run(scenario(), CHANCE)


@pytest.mark.parametrize("failing_call", ["create", "write", "sync", "sync_folder", "remove", "save", "close"])
def test_errors_now_and_then_lose_nothing(folder: Path, postgres: FakePostgres, failing_call: str) -> None:
    for seed in range(15):
        chance = random.Random(f"{failing_call} {seed}")
        disk = Disk(chance=chance)
        worker = Worker(disk, folder, postgres)
        postgres.items.clear()
        run(_with_errors(worker, disk, failing_call, chance), chance)
        worker.disk = disk.after_power_loss()
        run(_live(worker, 30), chance)
        assert worker.lost() == [], f"seed {seed}"
        assert worker.acknowledged


async def _with_errors(worker: Worker, disk: Disk, failing_call: str, chance: random.Random) -> None:
    def fail(call: str, _name: str) -> None:
        if call == failing_call and chance.random() < 0.2:
            raise io_error()

    async with worker.life() as pipeline:
        disk.before = fail
        for number in range(60):
            await worker.accept(pipeline, f"sku-{number % 20}")
            await asyncio.sleep(chance.choice([0, 0.01, TICK_S]))
        disk.before = lambda _call, _name: None
        await asyncio.sleep(3)
        assert is_ready(pipeline)
        # Nothing is left behind by what failed: all is committed, so only active and spare segments remain.
        await asyncio.sleep(30)
        assert sum(map(is_segment, disk.names(worker.folder))) <= 3


def filled(disk: Disk, folder: Path, size: int) -> Callable[[], None]:
    """Have somebody else fill the disk; return what makes them go away."""
    other = folder.parent / "other"
    disk.put(other, bytes(size))
    return lambda: disk.remove(other)


def test_below_the_low_water_mark_nothing_is_taken_until_there_is_room(folder: Path, postgres: FakePostgres) -> None:
    disk = Disk(capacity=4 * MIB)
    worker = Worker(disk, folder, postgres)
    postgres.before = away

    async def scenario() -> None:
        async with worker.life(journal_min_free_mb=2) as pipeline:
            assert await worker.accept(pipeline, "before")
            make_room = filled(disk, folder, 3 * MIB)
            await asyncio.sleep(3 * TICK_S)
            assert not is_ready(pipeline)
            assert not await worker.accept(pipeline, "refused")
            assert journaled(disk, folder) == Counter(["before"])
            make_room()
            await asyncio.sleep(3 * TICK_S)
            assert is_ready(pipeline)
            assert await worker.accept(pipeline, "after")
            assert journaled(disk, folder) == Counter(["before", "after"])

    run(scenario(), CHANCE)


@pytest.mark.parametrize("wait_s", [0, 0.25, 0.6, 1, 3, 9.9, 10.1, 10.6, 11, 12])
def test_a_disk_that_was_nearly_full_when_the_last_item_was_stored_is_used_again(
    folder: Path, postgres: FakePostgres, wait_s: float
) -> None:
    disk = Disk(capacity=4 * MIB)
    worker = Worker(disk, folder, postgres)
    postgres.before = away

    async def scenario() -> None:
        async with worker.life(journal_min_free_mb=2) as pipeline:
            assert await worker.accept(pipeline, "before")
            await asyncio.sleep(wait_s)
            make_room = filled(disk, folder, 3 * MIB)
            await asyncio.sleep(3 * TICK_S)
            postgres.before = lambda: None
            await asyncio.sleep(60)
            make_room()
            await asyncio.sleep(60)
            assert is_ready(pipeline)
            assert await worker.accept(pipeline, "after")

    run(scenario(), CHANCE)


def test_over_the_byte_budget_nothing_is_taken_until_postgresql_is_back(folder: Path, postgres: FakePostgres) -> None:
    disk = Disk()
    worker = Worker(disk, folder, postgres, ack=Ack.JOURNAL)
    postgres.before = away

    async def scenario() -> None:
        async with worker.life(journal_max_mb=1) as pipeline:
            taken = 0
            while await worker.accept(pipeline, f"{taken:0250}"):
                taken += 1
            assert 3000 < taken < 4000
            assert not is_ready(pipeline)
            postgres.before = lambda: None
            await asyncio.sleep(30)
            assert await worker.accept(pipeline, "after")
            await asyncio.sleep(1)
            assert worker.lost() == []

    run(scenario(), CHANCE)

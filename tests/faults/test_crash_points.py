"""A process that dies right before or right after any call to its disk: the next one starts and loses nothing."""

import asyncio
import contextlib
import random
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.faults.disk import Disk, DiskGoneError
from tests.support.faults.simulation import FakePostgres, Worker, folder, postgres, run
from tracker.ingest.journal.frames import frame, header, segment_name

__all__ = ["folder", "postgres"]

CALLS = ("create", "write", "sync", "sync_folder", "rename", "remove", "save")
DAMAGED = header(5) + frame(b"damaged", 5, 0)[:-1] + b"?"


class Crash:
    """Ends the process before or after the nth call of a kind."""

    def __init__(self, disk: Disk, call: str, nth: int, *, after: bool) -> None:
        self.happened = asyncio.Event()
        self._disk = disk
        self._call = call
        self._left = nth
        if after:
            disk.after = self._look
        else:
            disk.before = self._look

    def _look(self, call: str, _name: str) -> None:
        if call == self._call:
            self._left -= 1
            if self._left == 0:
                self._disk.gone = True
                self.happened.set()
                raise DiskGoneError


async def _crash(worker: Worker, disk: Disk, call: str, nth: int, *, after: bool) -> bool:
    """Run a life that makes every call; return whether it came to the crash."""
    crash = Crash(disk, call, nth, after=after)

    async def write() -> None:
        with contextlib.suppress(DiskGoneError):
            for number in range(40):
                await worker.accept(pipeline, f"sku-{number % 10}")
                await asyncio.sleep(0.002)
        await asyncio.sleep(15)
        crash.happened.set()

    with contextlib.suppress(DiskGoneError):
        async with worker.life() as pipeline:
            writing = asyncio.create_task(write())
            await crash.happened.wait()
            writing.cancel()
    return disk.gone and crash._left == 0  # noqa: SLF001  # of this module


async def _recover(worker: Worker) -> None:
    async with worker.life() as pipeline:
        await asyncio.sleep(30)
        assert pipeline.intake.ready
        for number in range(10):
            assert await worker.accept(pipeline, f"sku-{number}")
        await asyncio.sleep(1)


@pytest.mark.parametrize("power_goes", [False, True], ids=["kill", "power"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", CALLS)
def test_a_crash_at_any_call_loses_nothing_and_the_next_process_starts(
    folder: Path, postgres: FakePostgres, call: str, *, after: bool, power_goes: bool
) -> None:
    crashes = 0
    for nth in range(1, 12):
        chance = random.Random(nth)
        disk = Disk(chance=chance)
        disk.put(folder / segment_name(1, 5), DAMAGED)
        postgres.items.clear()
        clock = ManualClock(10**15)
        worker = Worker(disk, folder, postgres, clock)
        if not run(_crash(worker, disk, call, nth, after=after), chance):
            break
        crashes += 1
        worker.disk = disk.after_power_loss() if power_goes else disk.after_kill()
        if power_goes:
            # PostgreSQL may have what the journal had not synced yet: without power only time makes later stamps.
            clock.set(10**15 + 10**7)
        run(_recover(worker), chance)
        assert worker.lost() == [], f"{nth}. {call}"
        kept = worker.disk.content(folder)
        assert kept.get("0000000001-00000005.corrupt") == DAMAGED, f"{nth}. {call}"
    assert crashes >= (1 if call == "rename" else 5)


@pytest.mark.parametrize("failing_call", ["sync_folder", "remove", "rename", "save", "read"])
def test_an_error_while_replaying_does_not_hold_up_the_rest_for_good(
    folder: Path, postgres: FakePostgres, failing_call: str
) -> None:
    disk = Disk()
    disk.put(folder / segment_name(1, 5), DAMAGED)
    worker = Worker(disk, folder, postgres)

    def away() -> None:
        raise ConnectionError

    async def fill() -> None:
        async with worker.life() as pipeline:
            for number in range(40):
                assert await worker.accept(pipeline, f"sku-{number}")

    async def recover() -> None:
        async with worker.life():
            await asyncio.sleep(60)

    postgres.before = away
    run(fill(), random.Random(1))
    assert worker.acknowledged
    disk = worker.disk = disk.after_kill()
    postgres.before = lambda: None
    failures = 3

    def fail(call: str, name: str) -> None:
        nonlocal failures
        started = any(call == "create" for call, _ in disk.calls)
        if call == failing_call and started and name != "stamp" * (call == "read") and failures:
            failures -= 1
            raise OSError

    disk.before = fail
    run(recover(), random.Random(1))
    assert worker.lost() == []

"""A clock that steps back or forth between restarts: stamps still grow, and the later write wins."""

import asyncio
import random
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.faults.disk import Disk
from tests.support.faults.simulation import CART, FakePostgres, Worker, away, folder, postgres, run
from tracker.kit.files import Files, SystemFiles

__all__ = ["folder", "postgres"]

HOUR_US = 3_600_000_000
START_US = 1_800_000_000_000_000


def _later_writes_win(worker: Worker, clock: ManualClock, seed: int) -> None:
    """Step the clock between lives that end at every stage, and write the same items in each."""
    chance = random.Random(seed)
    postgres = worker.postgres
    stamp = 0
    for _ in range(8):
        clock.set(START_US + chance.choice([-HOUR_US, 0, HOUR_US, chance.randint(-HOUR_US, HOUR_US)]))
        postgres.before = chance.choice([away, lambda: None])
        run(_life(worker, chance), chance)
        if isinstance(worker.disk, Disk):
            worker.disk = worker.disk.after_kill()
        for (_, external_id), item in postgres.items.items():
            if external_id == "watched":
                assert item.updated_stamp >= stamp
                stamp = item.updated_stamp
    clock.set(START_US - HOUR_US)
    postgres.before = lambda: None
    run(_last_life(worker), chance)
    assert worker.lost() == []
    assert postgres.items[CART, "watched"].updated_stamp > stamp


async def _life(worker: Worker, chance: random.Random) -> None:
    async with worker.life() as context:
        await asyncio.sleep(chance.choice([0, 10]))
        for _ in range(chance.randint(0, 12)):
            await worker.accept(context, chance.choice(["watched", "other"]))
            await asyncio.sleep(chance.choice([0, 0.001, 1]))
        await asyncio.sleep(chance.choice([0, 0.01, 1, 30]))


async def _last_life(worker: Worker) -> None:
    async with worker.life() as context:
        assert await worker.accept(context, "watched")
        assert await worker.accept(context, "other")
        await asyncio.sleep(30)


@pytest.mark.parametrize("seed", range(40))
def test_the_later_write_wins_whatever_the_clock_did_between_restarts(
    folder: Path, postgres: FakePostgres, seed: int
) -> None:
    clock = ManualClock()
    _later_writes_win(Worker(Disk(), folder, postgres, clock), clock, seed)


@pytest.mark.parametrize("seed", range(3))
def test_the_same_on_a_real_folder(folder: Path, postgres: FakePostgres, seed: int) -> None:
    clock = ManualClock()
    files: Files = SystemFiles()
    _later_writes_win(Worker(files, folder, postgres, clock), clock, seed)

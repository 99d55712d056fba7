"""A disk that loses what was not synced when the power goes: at level `fsync` nothing is lost.

Clients write, PostgreSQL is there or away, syncs fail now and then, segments rotate every few frames;
at a random call to the disk the power goes, and the next process replays what is left.
"""

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

import pytest

from tests.support.clock import ManualClock
from tests.support.faults.disk import Disk, DiskGoneError, io_error
from tests.support.faults.simulation import FakePostgres, Worker, away, folder, postgres, run
from tracker.ingest.pipeline import Pipeline

__all__ = ["folder", "postgres"]

CLIENTS = 4


def lost_in_a_run(seed: int, folder: Path, postgres: FakePostgres, *, syncs: bool = True) -> tuple[int, list[str]]:
    """Return how many writes were acknowledged, and which of them are gone."""
    chance = random.Random(seed)
    disk = Disk(chance=chance)
    disk.syncs = syncs
    postgres.items.clear()
    worker = Worker(disk, folder, postgres, ManualClock(10**15))
    run(_until_the_power_goes(worker, disk, chance), chance)
    worker.disk = disk.after_power_loss()
    postgres.before = postgres.after = lambda: None
    run(_recovery(worker), chance)
    return len(worker.acknowledged), worker.lost()


async def _until_the_power_goes(worker: Worker, disk: Disk, chance: random.Random) -> None:
    power_is_gone = asyncio.Event()
    calls_left = chance.randint(1, 250)
    failing_syncs = chance.choice([0, 0, 0.1])
    is_away = chance.random() < 0.5
    breath_s = chance.choice([0, 0.001, 0.02])

    def cut() -> None:
        nonlocal calls_left
        calls_left -= 1
        if calls_left == 0:
            disk.gone = True
            power_is_gone.set()
            raise DiskGoneError

    def before(call: str, _name: str) -> None:
        cut()
        if call == "sync" and chance.random() < failing_syncs:
            raise io_error()

    def postgres_fails() -> None:
        if disk.gone or (is_away and chance.random() < 0.9):
            away()

    disk.before = before
    disk.after = lambda _call, _name: cut()
    worker.postgres.before = postgres_fails
    with contextlib.suppress(DiskGoneError):
        async with worker.life() as pipeline:
            for client in range(CLIENTS):
                asyncio.create_task(_client(worker, pipeline, client, breath_s, chance))  # noqa: RUF006
            await power_is_gone.wait()


async def _client(worker: Worker, pipeline: Pipeline, client: int, breath_s: float, chance: random.Random) -> None:
    with contextlib.suppress(DiskGoneError):
        while True:
            external_id = f"{client}-{chance.randint(0, 3)}"
            taken = await worker.accept(pipeline, external_id, chance.choice(["name", "value", "quantity"]))
            await asyncio.sleep(chance.random() * breath_s if taken else 0.01)


async def _recovery(worker: Worker) -> None:
    async with worker.life():
        await asyncio.sleep(60)


def _check_runs(seeds: range, folder: Path, postgres: FakePostgres) -> None:
    acknowledged = 0
    for seed in seeds:
        count, lost = lost_in_a_run(seed, folder, postgres)
        assert not lost, f"seed {seed}: {lost}"
        acknowledged += count
    assert acknowledged > len(seeds)


def test_what_was_acknowledged_outlives_a_loss_of_power(folder: Path, postgres: FakePostgres) -> None:
    _check_runs(range(50), folder, postgres)


@pytest.mark.slow
def test_what_was_acknowledged_outlives_a_thousand_losses_of_power(folder: Path, postgres: FakePostgres) -> None:
    _check_runs(range(50, 1050), folder, postgres)


def test_without_syncs_the_same_runs_lose_something(folder: Path, postgres: FakePostgres) -> None:
    losses = Counter(bool(lost_in_a_run(seed, folder, postgres, syncs=False)[1]) for seed in range(50))
    assert losses[True] >= 10

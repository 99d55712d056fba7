"""A pipeline alone, in simulated time: the way it opens and closes, and what each level asks of its journal."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.support.faults.disk import Disk
from tests.support.faults.simulation import CART, FakePostgres, away, run, simulated
from tracker.ingest.items import ItemWrite
from tracker.ingest.journal.recovery import newest_payloads, segments_of
from tracker.ingest.pipeline import Pipeline
from tracker.ingest.worker_folders import WorkerFolder
from tracker.kit.clock import SystemClock
from tracker.settings import Ack, IngestSettings

T = TypeVar("T")

FOLDER = Path("/workers/0003")

NEVER_MS = 10_000
"""A flush interval that no test waits for."""


def in_pipeline(
    scenario: Callable[[Pipeline, Disk, FakePostgres], Coroutine[Any, Any, T]],
    disk: Disk | None = None,
    **settings: Any,  # noqa: ANN401  # those of IngestSettings
) -> T:
    """Run `scenario` with a pipeline that is open."""
    disk = disk or Disk()
    chosen: dict[str, Any] = {"flush_interval_ms": 1, "journal_min_free_mb": 0} | settings

    async def main(postgres: FakePostgres) -> T:
        pipeline = Pipeline(
            IngestSettings(**chosen),
            data_dir=FOLDER.parent.parent,
            folder=WorkerFolder(FOLDER, 3),
            clock=SystemClock(),
            files=disk,
            write=postgres.write,
            tracer=None,
        )
        await pipeline.open()
        return await scenario(pipeline, disk, postgres)

    with simulated() as postgres:
        return run(main(postgres), random.Random(0))


def write(external_id: str, name: str | None = None) -> ItemWrite:
    return ItemWrite(CART, external_id, name, None, 1)


def test_nothing_runs_any_more_once_it_is_closed() -> None:
    async def main(pipeline: Pipeline, _disk: Disk, _postgres: FakePostgres) -> set[str]:
        assert {task.get_name() for task in asyncio.all_tasks()} >= {"recovery", "journal", "flusher"}
        await pipeline.close()
        return {task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task()}}

    assert in_pipeline(main) == set()


def test_what_waits_when_it_closes_is_stored_and_leaves_no_segment() -> None:
    async def main(pipeline: Pipeline, disk: Disk, postgres: FakePostgres) -> None:
        await pipeline.intake.accept(write("a"))
        assert not postgres.items
        assert segments_of(disk, FOLDER)
        await pipeline.close()
        assert [*postgres.items] == [(CART, "a")]
        assert segments_of(disk, FOLDER) == []

    in_pipeline(main, flush_interval_ms=NEVER_MS)


@pytest.mark.parametrize(("ack", "lost"), [(Ack.MEMORY, 2), (Ack.JOURNAL, 0), (Ack.FSYNC, 0), (Ack.COMMIT, 0)])
def test_what_is_not_stored_at_the_close_is_lost_at_level_memory_alone(ack: Ack, lost: int) -> None:
    async def main(pipeline: Pipeline, _disk: Disk, postgres: FakePostgres) -> int:
        postgres.before = away
        for external_id in ("a", "b"):
            pipeline.intake.take(write(external_id))
        await pipeline.close()
        assert len(pipeline.aggregator) == 2
        return pipeline.lost_items

    assert in_pipeline(main, ack=ack) == lost


@pytest.mark.parametrize(("ack", "frames"), [(Ack.MEMORY, 0), (Ack.JOURNAL, 1), (Ack.FSYNC, 1), (Ack.COMMIT, 0)])
def test_a_level_that_promises_to_survive_a_kill_has_a_frame_in_the_journal(ack: Ack, frames: int) -> None:
    async def main(pipeline: Pipeline, disk: Disk, _postgres: FakePostgres) -> int:
        pipeline.intake.take(write("a"))
        return len(newest_payloads(disk, FOLDER))

    assert in_pipeline(main, ack=ack, flush_interval_ms=NEVER_MS // 10) == frames


def test_level_fsync_waits_for_no_interval() -> None:
    async def main(pipeline: Pipeline, _disk: Disk, _postgres: FakePostgres) -> float:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        for external_id in ("a", "b", "c"):
            await pipeline.intake.accept(write(external_id))
        return loop.time() - began_s

    assert in_pipeline(main, ack=Ack.FSYNC, journal_sync_ms=2000) < 1


def test_level_journal_syncs_once_in_an_interval() -> None:
    async def main(pipeline: Pipeline, disk: Disk, _postgres: FakePostgres) -> int:
        before = disk.count("sync")
        for number in range(500):
            await pipeline.intake.accept(write(f"sku-{number}"))
            await asyncio.sleep(0.01)
        return disk.count("sync") - before

    assert 3 <= in_pipeline(main, ack=Ack.JOURNAL, journal_sync_ms=1000) <= 10


def test_a_small_journal_has_segments_small_enough_to_go_one_by_one() -> None:
    async def main(pipeline: Pipeline, _disk: Disk, _postgres: FakePostgres) -> None:
        for number in range(1500):  # 3 MiB in 3 s, all of it stored meanwhile
            await pipeline.intake.accept(write(f"sku-{number}", "x" * 2000))
            await asyncio.sleep(0.002)

    in_pipeline(main, ack=Ack.JOURNAL, journal_max_mb=1)

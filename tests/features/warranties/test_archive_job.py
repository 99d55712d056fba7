"""The job that archives warranties, and the folder that it fills, where their parts fail."""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.support.archives import store_some
from tracker.features.warranties.archive import Archive, Object
from tracker.features.warranties.domain import new_warranty_id
from tracker.features.warranties.jobs import AGAIN_S, Archiver
from tracker.jobs import breaker
from tracker.jobs.handler import TryAgainError
from tracker.postgres.engine import create_engine

OLD_DAY = datetime(2024, 2, 29, tzinfo=UTC)
DAY = datetime(2026, 2, 28, tzinfo=UTC)
WAIT_S = 30


def run_with_archiver(database: Database, folder: Path, act: Callable[[Archiver], Awaitable[None]]) -> None:
    async def run() -> None:
        engine = create_engine(database.url)
        try:
            await act(Archiver(engine, Archive(folder.as_uri())))
        finally:
            await engine.dispose()

    asyncio.run(run())


def in_the_way(folder: Path) -> Path:
    """Return a file where the folder of the old day must be."""
    (folder / "2024" / "02").mkdir(parents=True, exist_ok=True)
    file = folder / "2024" / "02" / "29"
    file.write_text("in the way")
    return file


def test_an_archive_that_is_back_is_not_taken_for_down_any_more(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = store_some(database, 1, created_at=OLD_DAY), store_some(database, 1, created_at=DAY)
    in_the_way(tmp_path)

    async def act(archiver: Archiver) -> None:
        for _ in range(breaker.FAILURES):
            with pytest.raises(TryAgainError):
                await archiver.archive(old[0].encode())
        await archiver.archive(new[0].encode())
        monkeypatch.setattr(breaker, "PAUSE_BASE_S", 3600)
        monkeypatch.setattr(breaker, "PAUSE_CAP_S", 3600)
        async with asyncio.timeout(WAIT_S):
            for _ in range(2):
                with pytest.raises(TryAgainError):
                    await archiver.archive(old[0].encode())

    monkeypatch.setattr(breaker, "PAUSE_BASE_S", 0.01)
    run_with_archiver(database, tmp_path, act)


def test_what_failed_alone_is_tried_again_later_and_not_at_once(database: Database, tmp_path: Path) -> None:
    old, new = store_some(database, 1, created_at=OLD_DAY), store_some(database, 9, created_at=DAY)
    in_the_way(tmp_path)

    async def act(archiver: Archiver) -> None:
        while True:
            try:
                return await archiver.archive(",".join([*old, *new]).encode())
            except TryAgainError:  # the one that fails went ahead of the others, which is left to chance
                continue

    run_with_archiver(database, tmp_path, act)
    assert sorted(path.stem for path in tmp_path.rglob("*.json")) == new
    job, *others = database.fetch("SELECT payload, execute_after - created AS delay FROM pgqueuer")
    assert (job["payload"].decode().split(","), others) == (old, [])
    assert timedelta(seconds=AGAIN_S * 0.4) < job["delay"] < timedelta(seconds=AGAIN_S * 1.6)


def objects(*days: datetime) -> list[Object]:
    return [Object(new_warranty_id(number), day, b"{}") for number, day in enumerate(days)]


def test_all_objects_and_the_folders_that_lead_to_them_are_synced_before_they_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, made = tmp_path / "archive", objects(OLD_DAY, DAY, DAY)
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    for _ in range(2):  # also what is there already: who wrote it may not have come to that
        synced.clear()
        assert asyncio.run(Archive(root.as_uri()).create(made)) == {}
        assert {one.path: (root / one.path).read_bytes() for one in made} == {one.path: b"{}" for one in made}
        folders = ["2024/02/29", "2024/02", "2024", "2026/02/28", "2026/02", "2026", "."]
        assert sorted(synced) == sorted((root / path).stat().st_ino for path in (*(one.path for one in made), *folders))


def test_a_folder_is_synced_after_what_is_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    made = objects(DAY)
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    asyncio.run(Archive(tmp_path.as_uri()).create(made))
    file = tmp_path / made[0].path
    assert synced == [path.stat().st_ino for path in (file, *list(file.parents)[:4])]


def test_what_cannot_be_synced_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, f"no sync of {descriptor}")

    monkeypatch.setattr(os, "fsync", broken)
    archive, made = Archive(tmp_path.as_uri()), objects(OLD_DAY, DAY)
    for _ in range(2):  # also when it is there already
        failures = asyncio.run(archive.create(made))
        assert {one.id: "no sync of" in str(failures[one.id]) for one in made} == {one.id: True for one in made}

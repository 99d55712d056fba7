"""GroupCommit: what comes together is committed together, and everybody hears what became of their own."""

import asyncio
from collections.abc import Sequence

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError

from tracker.errors import BufferFullError, ConflictError
from tracker.features.warranties import group_commit
from tracker.features.warranties.group_commit import GroupCommit

BAD_DATA = DBAPIError("", None, asyncpg.StringDataRightTruncationError("no"))
BAD_DATA.orig.sqlstate = "22001"  # type: ignore[union-attr]  # as SQLAlchemy's adapter has it


class Log:
    """Commits, and remembers in which groups; the first waits until it is let go."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()

    async def commit(self, submissions: Sequence[int]) -> list[int | Exception]:
        self.groups.append(list(submissions))
        await self.go.wait()
        if 13 in submissions:
            raise BAD_DATA
        if 99 in submissions:
            raise ConnectionResetError
        return [ConflictError("odd") if submission % 2 else submission * 10 for submission in submissions]


def test_what_comes_during_a_commit_is_the_next_group() -> None:
    async def run() -> None:
        log = Log()
        gathered = GroupCommit(log.commit)
        tasks = [gathered.submit(0, 1)]
        await asyncio.sleep(0.01)
        tasks += [gathered.submit(submission, 1) for submission in (2, 4, 6)]
        await asyncio.sleep(0.01)
        assert log.groups == [[0]]
        log.go.set()
        assert await asyncio.gather(*tasks) == [0, 20, 40, 60]
        assert log.groups == [[0], [2, 4, 6]]

    asyncio.run(run())


def test_each_wish_has_a_result_or_an_error_of_its_own() -> None:
    async def run() -> None:
        log = Log()
        log.go.set()
        gathered = GroupCommit(log.commit)
        results = await asyncio.gather(
            *(gathered.submit(submission, 1) for submission in range(4)), return_exceptions=True
        )
        assert [type(result) for result in results] == [int, ConflictError, int, ConflictError]

    asyncio.run(run())


def test_a_wish_that_is_refused_for_good_does_not_stop_the_others() -> None:
    async def run() -> None:
        log = Log()
        log.go.set()
        gathered = GroupCommit(log.commit)
        submissions = [0, 2, 13, 4, 6, 8]
        results = await asyncio.gather(
            *(gathered.submit(submission, 1) for submission in submissions), return_exceptions=True
        )
        assert results == [0, 20, BAD_DATA, 40, 60, 80]

    asyncio.run(run())


def test_everybody_in_a_group_hears_that_the_database_is_away() -> None:
    async def run() -> None:
        log = Log()
        log.go.set()
        gathered = GroupCommit(log.commit)
        results = await asyncio.gather(
            *(gathered.submit(submission, 1) for submission in (0, 99)), return_exceptions=True
        )
        assert [type(result) for result in results] == [ConnectionResetError] * 2
        assert await gathered.submit(2, 1) == 20

    asyncio.run(run())


def test_a_group_has_a_bound_and_so_has_what_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_GROUP", 2)
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 50)

    async def run() -> None:
        log = Log()
        gathered = GroupCommit(log.commit)
        tasks = [gathered.submit(submission, 10) for submission in (0, 2, 4, 6, 8)]
        await asyncio.sleep(0.01)
        with pytest.raises(BufferFullError):
            await gathered.submit(10, 1)
        log.go.set()
        assert await asyncio.gather(*tasks) == [0, 20, 40, 60, 80]
        assert max(map(len, log.groups)) == 2
        assert await gathered.submit(10, 50) == 100

    asyncio.run(run())


def test_who_gives_up_waiting_leaves_the_others_alone() -> None:
    async def run() -> None:
        log = Log()
        gathered = GroupCommit(log.commit)
        leaving, staying = (gathered.submit(submission, 1) for submission in (2, 4))
        await asyncio.sleep(0.01)
        leaving.cancel()
        log.go.set()
        assert await staying == 40
        assert log.groups == [[2, 4]]
        await gathered.close()

    asyncio.run(run())


def test_who_gives_up_before_the_group_begins_is_left_out_and_its_room_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "MAX_WAITING_BYTES", 30)

    async def run() -> None:
        log = Log()
        gathered = GroupCommit(log.commit)
        first = gathered.submit(0, 10)
        await asyncio.sleep(0.01)
        leaving, staying = (gathered.submit(submission, 10) for submission in (2, 4))
        await asyncio.sleep(0.01)
        leaving.cancel()
        await asyncio.sleep(0.01)
        late = gathered.submit(6, 10)
        await asyncio.sleep(0.01)
        log.go.set()
        assert [await first, await staying, await late] == [0, 40, 60]
        assert log.groups == [[0], [4, 6]]

    asyncio.run(run())

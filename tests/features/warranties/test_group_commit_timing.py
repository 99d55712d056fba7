"""When a group is committed: at once for who comes alone, a moment later where several come again and again."""

import asyncio
from collections.abc import Sequence

import pytest

from tracker.features.warranties import group_commit
from tracker.features.warranties.group_commit import GroupCommit


class Log:
    """Commits, and remembers in which groups."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []

    async def commit(self, submissions: Sequence[int]) -> list[int]:
        self.groups.append(list(submissions))
        await asyncio.sleep(0)
        return list(submissions)


def test_who_comes_alone_waits_for_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_S", 3600)
    log = Log()

    async def main() -> None:
        alone = GroupCommit(log.commit)
        async with asyncio.timeout(60):
            for number in range(3):
                assert await alone.submit(number, 1) == number

    asyncio.run(main())
    assert log.groups == [[0], [1], [2]]


def test_after_a_group_those_who_were_answered_may_join_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_S", 0.2)
    log = Log()

    async def main() -> None:
        together = GroupCommit(log.commit)

        async def ask(client: int) -> None:
            for _ in range(3):
                await together.submit(client, 1)
                await asyncio.sleep(0.001 if client % 2 else 0)  # half of them take longer to come again

        async with asyncio.timeout(60):
            await asyncio.gather(*(ask(client) for client in range(8)))

    asyncio.run(main())
    assert [len(group) for group in log.groups] == [8, 8, 8]


def test_who_comes_alone_after_a_group_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_commit, "GATHER_S", 0.01)
    log = Log()

    async def main() -> None:
        together = GroupCommit(log.commit)
        async with asyncio.timeout(60):
            await asyncio.gather(*(together.submit(client, 1) for client in range(4)))
            await together.submit(4, 1)
            monkeypatch.setattr(group_commit, "GATHER_S", 3600)
            await together.submit(5, 1)

    asyncio.run(main())
    assert log.groups == [[0, 1, 2, 3], [4], [5]]

"""A service that is down is left in peace, and found again when it is back."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tracker.jobs import breaker
from tracker.jobs.breaker import FAILURES, Breaker


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(breaker, "PAUSE_BASE_S", 0.05)
    monkeypatch.setattr(breaker, "PAUSE_CAP_S", 0.1)


async def call(breaker: Breaker, service: Callable[[], Awaitable[bool]]) -> None:
    await breaker.wait()
    try:
        if await service():
            breaker.succeeded()
        else:
            breaker.failed()
    finally:
        breaker.leave()


async def down() -> bool:
    return False


async def up() -> bool:
    return True


async def trip(breaker: Breaker) -> None:
    for _ in range(FAILURES):
        await call(breaker, down)


def test_failures_between_successes_change_nothing() -> None:
    async def main() -> None:
        breaker = Breaker()
        for _ in range(3):
            for _ in range(FAILURES - 1):
                await call(breaker, down)
            await call(breaker, up)
        assert not breaker.is_open

    asyncio.run(main())


def test_after_many_failures_in_a_row_one_call_at_a_time_tries() -> None:
    async def main() -> None:
        breaker = Breaker()
        await trip(breaker)
        calls = at_once = most = 0

        async def counted() -> bool:
            nonlocal calls, at_once, most
            calls, at_once = calls + 1, at_once + 1
            most = max(most, at_once)
            await asyncio.sleep(0.01)
            at_once -= 1
            return calls >= 3

        started = asyncio.get_running_loop().time()
        await asyncio.gather(*(call(breaker, counted) for _ in range(50)))
        assert asyncio.get_running_loop().time() - started > 3 * 0.05 / 2
        assert not breaker.is_open
        assert calls == 50
        assert most > 1, "once it is back all go on at once"

    asyncio.run(main())


def test_while_it_is_down_hardly_anybody_calls() -> None:
    async def main() -> None:
        breaker = Breaker()
        await trip(breaker)
        calls = 0

        async def counted() -> bool:
            nonlocal calls
            calls += 1
            return False

        waiting = [asyncio.create_task(call(breaker, counted)) for _ in range(50)]
        await asyncio.sleep(0.5)
        assert 2 <= calls <= 20
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(main())


def test_a_trial_that_is_given_up_leaves_the_place_to_the_next() -> None:
    async def main() -> None:
        breaker = Breaker()
        await trip(breaker)
        reached = asyncio.Event()

        async def hangs() -> bool:
            reached.set()
            await asyncio.sleep(3600)
            return True

        trial = asyncio.create_task(call(breaker, hangs))
        await reached.wait()
        following = asyncio.create_task(call(breaker, up))
        await asyncio.sleep(0.05)
        assert not following.done()
        trial.cancel()
        await asyncio.wait_for(following, 10)
        assert not breaker.is_open

    asyncio.run(main())

"""The waits of requests end when their time is up, and all at once when the process stops."""

import asyncio
import contextlib

import pytest

from tracker.kit.timeouts import RequestTimeouts


async def clean_up_for_long(begun: asyncio.Event) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.2)


async def wait(timeouts: RequestTimeouts, seconds: float, cleaning_up: asyncio.Event | None = None) -> None:
    with pytest.raises(TimeoutError):  # the block is what times out
        async with timeouts.within(seconds):
            await clean_up_for_long(cleaning_up or asyncio.Event())


def test_a_wait_ends_when_its_time_is_up() -> None:
    asyncio.run(wait(RequestTimeouts(), 0.01))


def test_all_waits_end_at_once_also_beside_one_that_is_over_and_cleans_up() -> None:
    async def main() -> None:
        timeouts, cleaning_up = RequestTimeouts(), asyncio.Event()
        over = [asyncio.create_task(wait(timeouts, 0.01, cleaning_up)) for _ in range(8)]
        others = [asyncio.create_task(wait(timeouts, 3600)) for _ in range(8)]
        await cleaning_up.wait()
        timeouts.end()
        await asyncio.wait_for(asyncio.gather(*others, *over), 10)

    asyncio.run(main())


def test_a_wait_that_begins_after_the_end_is_over_at_once() -> None:
    async def main() -> None:
        timeouts = RequestTimeouts()
        timeouts.end()
        await asyncio.wait_for(wait(timeouts, 3600), 10)

    asyncio.run(main())


class LateError(Exception):
    pass


def test_a_future_fails_when_its_time_is_up_or_all_waits_end_and_what_is_done_stays() -> None:
    async def main() -> None:
        timeouts, loop = RequestTimeouts(), asyncio.get_running_loop()
        done, short, long, later = (loop.create_future() for _ in range(4))
        for future, seconds in ((done, 0.01), (short, 0.01), (long, 3600)):
            timeouts.limit(future, seconds, LateError)
        done.set_result("in time")
        with pytest.raises(LateError):
            await asyncio.wait_for(short, 10)
        assert not long.done()
        timeouts.end()
        timeouts.limit(later, 3600, LateError)
        for future in (long, later):
            with pytest.raises(LateError):
                await asyncio.wait_for(future, 10)
        assert await done == "in time"

    asyncio.run(main())

"""A background task is waited for when it pauses or ends, but never for longer than it may take."""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

import pytest

from tracker.kit.background_task import cancel, close_within, end, wait_for_event

LONG_S: Final = 3600.0


async def clean_up_for(seconds: float, done: list[str]) -> None:
    try:
        await asyncio.sleep(LONG_S)
    finally:
        await asyncio.sleep(seconds)
        done.append("cleaned up")


async def work_for(seconds: float, done: list[str]) -> None:
    await asyncio.sleep(seconds)
    done.append("worked")


async def begun(coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    task = asyncio.create_task(coroutine)
    await asyncio.sleep(0)
    return task


def took_s(scenario: Coroutine[Any, Any, None]) -> float:
    began_s = time.monotonic()
    asyncio.run(scenario)
    return time.monotonic() - began_s


@pytest.mark.parametrize("timeout_s", [LONG_S, None])
def test_a_pause_ends_with_its_event(timeout_s: float | None) -> None:
    async def main() -> None:
        event = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, event.set)
        await wait_for_event(event, timeout_s)
        assert event.is_set()

    assert took_s(main()) < 30


def test_a_pause_ends_when_its_time_is_up() -> None:
    async def main() -> None:
        event = asyncio.Event()
        await wait_for_event(event, 0.05)
        assert not event.is_set()

    assert 0.05 <= took_s(main()) < 30


def test_a_canceled_task_may_clean_up_but_not_for_long() -> None:
    async def main() -> None:
        done: list[str] = []
        short = await begun(clean_up_for(0.01, done))
        await cancel(short, 30)
        assert (short.cancelled(), done) == (True, ["cleaned up"])
        long = await begun(clean_up_for(LONG_S, done))
        await cancel(long, 0.05)
        assert (long.done(), done) == (False, ["cleaned up"])
        await cancel(long, 30)  # canceled once more, it does not go on with that

    assert took_s(main()) < 30


def test_a_task_that_ends_in_its_time_is_not_canceled() -> None:
    async def main() -> None:
        done: list[str] = []
        await end(task := await begun(work_for(0.05, done)), timeout_s=30, cancel_timeout_s=30)
        assert (task.cancelled(), done) == (False, ["worked"])

    assert took_s(main()) < 30


def test_a_task_that_does_not_end_in_its_time_is_canceled() -> None:
    async def main() -> None:
        done: list[str] = []
        await end(task := await begun(clean_up_for(0.05, done)), timeout_s=0.05, cancel_timeout_s=30)
        assert (task.cancelled(), done) == (True, ["cleaned up"])
        hanging = await begun(clean_up_for(LONG_S, done))
        await end(hanging, timeout_s=0.01, cancel_timeout_s=0.01)
        assert not hanging.done()
        await cancel(hanging, 30)

    assert took_s(main()) < 30


def test_a_task_that_never_began_has_no_end_to_wait_for() -> None:
    async def main() -> None:
        await cancel(None, LONG_S)
        await end(None, timeout_s=LONG_S, cancel_timeout_s=LONG_S)

    assert took_s(main()) < 30


def test_what_a_task_raises_does_not_stop_who_ends_it() -> None:
    async def fail() -> None:
        raise ValueError("the task's own")

    async def main() -> None:
        task = await begun(fail())
        await end(task, timeout_s=30, cancel_timeout_s=30)
        assert isinstance(task.exception(), ValueError)

    asyncio.run(main())


def test_connections_that_do_not_close_in_time_are_left(caplog: pytest.LogCaptureFixture) -> None:
    async def hang() -> None:
        await asyncio.sleep(LONG_S)

    assert took_s(close_within(hang, 0.05)) < 30
    assert ("connections did not end in order", "TimeoutError()") in said(caplog)


def test_connections_that_cannot_be_closed_hinder_nobody(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise OSError("gone")

    asyncio.run(close_within(fail, LONG_S))
    assert said(caplog) == [("connections did not end in order", "OSError('gone')")]


def test_connections_that_close_in_order_are_no_news(caplog: pytest.LogCaptureFixture) -> None:
    done: list[str] = []
    asyncio.run(close_within(lambda: work_for(0.01, done), LONG_S))
    assert done == ["worked"]
    assert said(caplog) == []


def said(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.getMessage(), record.__dict__["error"]) for record in caplog.records]

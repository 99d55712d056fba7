"""What waits for a confirmation hears of it once, whatever the others do."""

import asyncio

from tracker.kit.confirmation import Confirmation, confirmation_within


def test_all_who_wait_hear_the_first_word_and_no_other() -> None:
    confirmation = Confirmation()
    heard: list[str | None] = []
    confirmation.then(heard.append)
    confirmation.then(heard.append)
    confirmation.resolve("too late")
    confirmation.resolve(None)
    confirmation.then(heard.append)
    assert heard == ["too late"] * 3


def test_one_that_fails_does_not_keep_it_from_the_others() -> None:
    def fail(_: str | None) -> None:
        raise OSError("away")

    confirmation = Confirmation()
    heard: list[str | None] = []
    confirmation.then(fail)
    confirmation.then(heard.append)
    confirmation.resolve(None)
    assert heard == [None]


def test_its_time_settles_it_with_the_reason() -> None:
    async def main() -> str | None:
        async with asyncio.timeout(10):
            return await confirmation_within(0.01, "not in time").wait()

    assert asyncio.run(main()) == "not in time"


def test_one_who_gives_up_does_not_take_it_from_the_others() -> None:
    async def main() -> str | None:
        confirmation = Confirmation()
        gives_up = asyncio.create_task(confirmation.wait())
        waits = asyncio.create_task(confirmation.wait())
        await asyncio.sleep(0)
        gives_up.cancel()
        await asyncio.sleep(0)
        confirmation.resolve(None)
        return await waits

    assert asyncio.run(main()) is None

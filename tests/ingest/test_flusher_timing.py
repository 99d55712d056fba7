"""When the flusher confirms, waits and sleeps."""

import asyncio
import random

import pytest

from tests.support.parts import new_flusher, new_intake
from tracker.errors import BufferFullError
from tracker.ingest import intake as intake_module
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.flusher import BACKOFF_CAP_S
from tracker.ingest.items import Batch, CartId, Item, ItemWrite

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")


def put(aggregator: Aggregator, stamp: int) -> None:
    aggregator.put((CART, f"sku-{stamp}"), Item.written(stamp, None, None, 1))


def test_no_item_is_confirmed_by_the_commit_of_the_batch_before_its_own() -> None:
    stored: list[int] = []

    async def write_slowly(batch: Batch, traces: ItemTraces) -> None:
        del traces
        await asyncio.sleep(0.02)
        stored.extend(item.added_stamp for item in batch.values())

    async def main() -> None:
        aggregator = Aggregator(max_bytes=10**9)
        flusher = new_flusher(aggregator, write_slowly, max_items=1)
        for stamp in (1, 2, 3):
            put(aggregator, stamp)
        flusher.start()
        flusher.wake()

        async def stored_when_confirmed(stamp: int) -> list[int]:
            assert await flusher.committed(stamp, timeout_s=30).wait() is None
            return stored.copy()

        seen = await asyncio.gather(*(stored_when_confirmed(stamp) for stamp in (1, 2, 3)))
        assert seen == [[1], [1, 2], [1, 2, 3]]
        await flusher.close(timeout_s=30)

    asyncio.run(main())


def test_the_wait_before_another_try_is_random_from_zero_up_to_a_bound_that_grows(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[float, float]] = []
    failures = 12

    def no_wait(low: float, high: float) -> float:
        asked.append((low, high))
        return 0.0

    async def fail_at_first(batch: Batch, traces: ItemTraces) -> None:
        del batch, traces
        if len(asked) < failures:
            raise ConnectionError("away")

    async def main() -> None:
        aggregator = Aggregator(max_bytes=10**9)
        flusher = new_flusher(aggregator, fail_at_first)
        put(aggregator, 1)
        flusher.start()
        flusher.wake()
        assert await flusher.committed(1, timeout_s=30).wait() is None
        await flusher.close(timeout_s=30)

    monkeypatch.setattr(random, "uniform", no_wait)
    asyncio.run(main())
    bounds = [high for _, high in asked]
    assert [low for low, _ in asked] == [0] * failures
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[1] < bounds[-1] == BACKOFF_CAP_S


def test_a_flusher_with_nothing_to_write_does_not_wake_up() -> None:
    class Watched(Aggregator):
        looks = 0

        def __len__(self) -> int:
            self.looks += 1
            return super().__len__()

    async def main() -> None:
        aggregator = Watched(max_bytes=10**9)
        flusher = new_flusher(aggregator)
        put(aggregator, 1)
        flusher.start()
        flusher.wake()
        assert await flusher.committed(1, timeout_s=30).wait() is None
        await asyncio.sleep(0.1)
        before = aggregator.looks
        await asyncio.sleep(0.3)
        assert aggregator.looks == before
        await flusher.close(timeout_s=30)

    asyncio.run(main())


def test_an_intake_whose_flusher_has_ended_is_not_ready() -> None:
    async def main() -> None:
        flusher = new_flusher(aggregator := Aggregator(max_bytes=10**9))
        intake = new_intake(aggregator, flusher)
        ready = [intake.ready]
        flusher.start()
        ready.append(intake.ready)
        (task,) = (task for task in asyncio.all_tasks() if task.get_name() == "flusher")
        task.cancel()
        await asyncio.wait([task])
        assert [*ready, intake.ready] == [False, True, False]

    asyncio.run(main())


def test_a_full_buffer_is_told_once_a_minute_however_many_items_it_refuses(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    aggregator = Aggregator(max_bytes=1)
    intake = new_intake(aggregator, new_flusher(aggregator))
    intake.take(ItemWrite(CART, "one", quantity=1))
    for _ in range(100):
        with pytest.raises(BufferFullError):
            intake.take(ItemWrite(CART, "two", quantity=1))
    assert caplog.messages == ["no items are accepted"]
    monkeypatch.setattr(intake_module, "FULL_TOLD_EVERY_S", 0.0)
    with pytest.raises(BufferFullError):
        intake.take(ItemWrite(CART, "two", quantity=1))
    assert caplog.messages == ["no items are accepted"] * 2

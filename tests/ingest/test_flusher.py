"""The flusher with a stand-in for the database, which fails to order."""

import asyncio
from collections.abc import Callable

from tests.support.parts import new_flusher
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.flusher import Flusher
from tracker.ingest.items import Batch, CartId, Item

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")


class Sink:
    """Keeps what is written; fails as often as it is told to."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.calls = 0
        self.batches: list[list[str]] = []

    async def __call__(self, batch: Batch, traces: ItemTraces) -> None:
        del traces
        self.calls += 1
        await asyncio.sleep(0)
        if self.failures > 0:
            self.failures -= 1
            raise ConnectionError("away")
        self.batches.append([external_id for _, external_id in batch])


def run(sink: Sink, scenario: Callable[[Aggregator, Flusher], object], max_items: int = 1000) -> int:
    """Run `scenario` beside a flusher, close it, and return what remains."""

    async def main() -> int:
        aggregator = Aggregator(max_bytes=10**9)
        flusher = new_flusher(aggregator, sink, max_items=max_items)
        flusher.start()
        result = scenario(aggregator, flusher)
        if asyncio.iscoroutine(result):
            await result
        await flusher.close(timeout_s=20)
        return len(aggregator)

    return asyncio.run(main())


def put(aggregator: Aggregator, flusher: Flusher, count: int, start: int = 0) -> None:
    for number in range(start, start + count):
        aggregator.put((CART, f"sku-{number}"), Item.written(number + 1, None, None, 1))
        flusher.wake()


def test_everything_put_is_written_in_batches_of_at_most_the_maximum() -> None:
    sink = Sink()
    assert run(sink, lambda aggregator, flusher: put(aggregator, flusher, 25), max_items=10) == 0
    assert [len(batch) for batch in sink.batches] == [10, 10, 5]


def test_a_batch_that_fails_is_written_again_until_it_is_stored() -> None:
    sink = Sink(failures=3)
    assert run(sink, lambda aggregator, flusher: put(aggregator, flusher, 5)) == 0
    assert sink.calls == 4
    assert sink.batches == [[f"sku-{number}" for number in range(5)]]


def test_what_cannot_be_stored_when_closing_stays_in_the_aggregator() -> None:
    async def main() -> int:
        aggregator = Aggregator(max_bytes=10**9)
        flusher = new_flusher(aggregator, Sink(failures=10**9), max_items=10)
        flusher.start()
        put(aggregator, flusher, 15)
        await flusher.close(timeout_s=0.3)
        return len(aggregator)

    assert asyncio.run(main()) == 15


def test_committed_returns_once_the_write_is_stored() -> None:
    sink = Sink(failures=2)

    async def scenario(aggregator: Aggregator, flusher: Flusher) -> None:
        put(aggregator, flusher, 15)
        assert await flusher.committed(15, timeout_s=20).wait() is None
        assert sum(map(len, sink.batches)) == 15

    assert run(sink, scenario, max_items=10) == 0
    assert len(sink.batches) == 2


def test_committed_gives_up_after_its_time_and_the_write_is_stored_later() -> None:
    sink = Sink(failures=8)

    async def scenario(aggregator: Aggregator, flusher: Flusher) -> None:
        put(aggregator, flusher, 1)
        assert await flusher.committed(1, timeout_s=0.01).wait() == "PostgreSQL has not confirmed the item in time"

    assert run(sink, scenario) == 0
    assert sink.batches == [["sku-0"]]


def test_waits_that_gave_up_take_no_memory() -> None:
    async def scenario(aggregator: Aggregator, flusher: Flusher) -> None:
        put(aggregator, flusher, 1)
        for _ in range(100):
            await flusher.committed(1, timeout_s=0).wait()
        assert len(flusher._waiters) == 1  # noqa: SLF001  # there is nothing else to see it by

    run(Sink(failures=5), scenario)


def test_an_idle_flusher_writes_nothing_and_wakes_for_the_next_item() -> None:
    sink = Sink()

    async def scenario(aggregator: Aggregator, flusher: Flusher) -> None:
        await asyncio.sleep(0.05)
        assert sink.calls == 0
        put(aggregator, flusher, 1)
        assert await flusher.committed(1, timeout_s=20).wait() is None
        await asyncio.sleep(0.05)
        put(aggregator, flusher, 1, start=1)
        assert await flusher.committed(2, timeout_s=20).wait() is None
        assert flusher.running

    run(sink, scenario)
    assert sink.batches == [["sku-0"], ["sku-1"]]

"""What a flush costs per item, by the size of its batch: `BatchWriter`, as the flusher calls it.

In this process, which moves to the contestant's core for it, against the real PostgreSQL on its own. Half of
the batches are new items, half write the same items again. "Time" is from call to commit; "CPU" is this
process's part of it, which is what a flush takes from the answering of requests.
"""

import time
from typing import Final

import uvloop
from msgspec import Struct

from tests.benchmarks.machine import move_to
from tests.benchmarks.processes import Site
from tests.benchmarks.stats import Spread, spread
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.domain import new_cart_id
from tracker.ingest.items import Batch, Item
from tracker.kit.clock import Stamper, SystemClock
from tracker.postgres.engine import create_engine

SIZES: Final = (10, 50, 100, 500, 1000, 5000)
ITEMS_PER_CART: Final = 4
ITEMS_PER_SIZE: Final = 20_000
"""Written for each size, in as many batches as that takes, but not more than 200."""


class FlushCost(Struct, frozen=True):
    """Of batches of one size."""

    items: int
    new_us: Spread
    """Time per item that is new."""
    again_us: Spread
    """Time per item that is stored already."""
    cpu_us: float
    """CPU time of this process per item."""


def measure(site: Site, *, quick: bool) -> list[FlushCost]:
    """Write batches of every size."""
    move_to({site.cores.server})
    try:
        with site.databases.fresh() as url:
            return uvloop.run(_measure(url, ITEMS_PER_SIZE // 5 if quick else ITEMS_PER_SIZE))
    finally:
        move_to({site.cores.load})


async def _measure(url: str, items: int) -> list[FlushCost]:
    engine = create_engine(url)
    writer = BatchWriter(engine)
    stamper = Stamper(SystemClock(), worker=0)
    try:
        await writer.write(new_batch(stamper, 10))  # connects and prepares
        return [await _cost(writer, stamper, size, min(200, max(3, items // size))) for size in SIZES]
    finally:
        await engine.dispose()


async def _cost(writer: BatchWriter, stamper: Stamper, size: int, repeats: int) -> FlushCost:
    new_us: list[float] = []
    again_us: list[float] = []
    cpu_s = 0.0
    for _ in range(repeats):
        batch = new_batch(stamper, size)
        again = {key: _item(stamper) for key in batch}
        for times_us, part in ((new_us, batch), (again_us, again)):
            started_cpu_s, started_s = time.process_time(), time.perf_counter()
            await writer.write(part)
            times_us.append((time.perf_counter() - started_s) * 1e6 / size)
            cpu_s += time.process_time() - started_cpu_s
    return FlushCost(size, spread(new_us), spread(again_us), cpu_s * 1e6 / (2 * repeats * size))


def new_batch(stamper: Stamper, size: int) -> Batch:
    """Return a batch of items that are not stored yet."""
    batch: Batch = {}
    while len(batch) < size:
        cart_id = new_cart_id()
        for number in range(min(ITEMS_PER_CART, size - len(batch))):
            batch[cart_id, f"sku-{number}"] = _item(stamper)
    return batch


def _item(stamper: Stamper) -> Item:
    return Item.written(stamper.next(), "Blue mug", 1250, 2)

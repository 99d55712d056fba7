"""From the answer until the row is visible in PostgreSQL, at half load.

Beside the open-loop load one more client sends an item that nobody else sends, notes when the answer is here,
and asks PostgreSQL for the row over and over. The time includes the last of these questions (half a
millisecond or so) and up to a millisecond between two of them. Between two items it waits for a random time,
so as not to fall into step with the flusher.
"""

import asyncio
import random
import time
import uuid
from typing import Any, Final

import asyncpg
from msgspec import Struct

from tests.benchmarks import openloop
from tests.benchmarks.contestants import JOURNAL
from tests.benchmarks.errors import BenchmarkError
from tests.benchmarks.processes import Server, Site, running
from tests.benchmarks.requests import ITEM_KNOWN, request, write_requests
from tests.benchmarks.stats import percentile

BETWEEN_QUESTIONS_S: Final = 0.001
BETWEEN_ITEMS_S: Final = 0.02
"""At most."""

TIMEOUT_S: Final = 10.0
"""For one item to appear."""

_IS_STORED: Final = "SELECT EXISTS (SELECT FROM items WHERE cart_id = $1 AND external_id = $2)"


class Visible(Struct, frozen=True):
    """How long items took to appear."""

    per_second: float
    """Of the load beside it."""
    items: int
    p50_ms: float
    p99_ms: float
    max_ms: float


def measure(site: Site, *, half_per_s: float, seconds: float) -> Visible:
    """Watch items appear for `seconds` at the default level."""
    with running(JOURNAL, site) as server:
        load = openloop.begin(server.port, write_requests(ITEM_KNOWN, site.folder), half_per_s, seconds + 1)
        try:
            times_ms = sorted(1e3 * taken_s for taken_s in asyncio.run(_watch(server, seconds)))
        finally:
            openloop.finish(load, seconds + 1)
    return Visible(
        half_per_s, len(times_ms), percentile(times_ms, 50), percentile(times_ms, 99), percentile(times_ms, 100)
    )


async def _watch(server: Server, seconds: float) -> list[float]:
    await asyncio.sleep(openloop.WARM_UP_S)
    draw = random.Random(1)
    times_s: list[float] = []
    database = await asyncpg.connect(server.database_url)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    try:
        stop_s = time.perf_counter() + seconds
        while time.perf_counter() < stop_s:
            cart_id, sku = str(uuid.UUID(int=draw.getrandbits(128), version=4)), f"seen-{len(times_s)}"
            writer.write(request(ITEM_KNOWN, cart_id, sku, 100))
            if not (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 204"):
                raise BenchmarkError("an item was not accepted")
            times_s.append(await _until_stored(database, cart_id, sku))
            await asyncio.sleep(draw.uniform(0, BETWEEN_ITEMS_S))
    finally:
        writer.close()
        await database.close()
    return times_s


async def _until_stored(database: Any, cart_id: str, sku: str) -> float:  # noqa: ANN401  # asyncpg ships no types
    answered_s = time.perf_counter()
    while not await database.fetchval(_IS_STORED, cart_id, sku):
        if time.perf_counter() > answered_s + TIMEOUT_S:
            raise BenchmarkError(f"an accepted item is not stored after {TIMEOUT_S:.0f} s")
        await asyncio.sleep(BETWEEN_QUESTIONS_S)
    return time.perf_counter() - answered_s

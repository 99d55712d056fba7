"""Several processes on one data folder and one database: whoever does a thing, and however often, the result is one."""

import asyncio
import random
import shutil
import signal
import uuid
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.conftest import Database, StartTracker, Tracker, cookie
from tests.support.faults.load import Load, wait_for_acknowledged
from tests.support.faults.outages import Outage
from tests.support.strategies import Stored, Write, fold
from tests.support.waiting import wait_until
from tracker.features.carts.batch_writer import BatchWriter
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.delivery import Delivery
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.items import Batch, ItemKey
from tracker.ingest.journal.frames import parse_segment_name, scan
from tracker.ingest.journal.recovery import Recovery, Replay
from tracker.ingest.journal_record import decode_record
from tracker.ingest.replay import replay
from tracker.ingest.worker_folders import claim_folder
from tracker.kit.files import SystemFiles
from tracker.postgres.engine import create_engine


@pytest.fixture
def outage(server_url: str, database: Database) -> Iterator[Outage]:
    outage = Outage(server_url, database)
    yield outage
    outage.end()


def segments(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.journal"))


def writes_in_journals(data_dir: Path) -> dict[ItemKey, set[Write]]:
    """Return every write that stands in any journal, by item."""
    found: dict[ItemKey, set[Write]] = defaultdict(set)
    for segment in data_dir.glob("workers/*/*.journal"):
        _, salt = parse_segment_name(segment.name) or (0, 0)
        for payload in scan(segment.read_bytes(), salt).payloads:
            cart_id, external_id, item = decode_record(payload)
            found[cart_id, external_id].add(Write(item.updated_stamp, item.name, item.value, item.quantity))
    return found


def stored(database: Database) -> dict[ItemKey, Stored]:
    rows = database.fetch("SELECT cart_id::text, external_id, name, value, quantity FROM items")
    return {(row["cart_id"], row["external_id"]): Stored(row["name"], row["value"], row["quantity"]) for row in rows}


def deadlocks(database: Database) -> int:
    rows = database.fetch("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    return int(rows[0]["deadlocks"])


class Operation(NamedTuple):
    """A write that several workers are sent, in any order."""

    cart_id: str
    body: dict[str, Any]


def operations(rng: random.Random, count: int) -> list[Operation]:
    carts = [str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(5)]

    def one(number: int) -> Operation:
        fields = {"name": f"name {number}", "value": number, "quantity": rng.randrange(9)}
        kept = {name: value for name, value in fields.items() if rng.random() < 0.6}
        return Operation(rng.choice(carts), {"external_id": f"sku-{rng.randrange(8)}", **kept})

    return [one(number) for number in range(count)]


def send(trackers: list[Tracker], some: list[Operation], *, rng: random.Random, connections: int = 2) -> None:
    """Send every operation to every worker twice, in other orders, over several connections at once."""

    async def post_all(session: aiohttp.ClientSession, shuffled: list[Operation]) -> None:
        for operation in shuffled:
            async with session.post("/item", json=operation.body, headers=cookie(operation.cart_id)) as answer:
                assert answer.status == 204

    async def run() -> None:
        sessions = [
            aiohttp.ClientSession(tracker.url, cookie_jar=aiohttp.DummyCookieJar())
            for tracker in trackers
            for _ in range(connections)
        ]
        await asyncio.gather(*(post_all(session, rng.sample(some, len(some))) for session in sessions))
        for session in sessions:
            await session.close()

    asyncio.run(run())


def four_workers_converge(
    start_tracker: StartTracker, database: Database, data_dir: Path, outage: Outage, *, count: int, seed: int
) -> None:
    rng = random.Random(seed)
    trackers = [start_tracker(env={"DATABASE_URL": database.url}) for _ in range(4)]
    some = operations(rng, count)
    # While PostgreSQL is away everything stands in the journals, with its stamps.
    outage.begin()
    send(trackers, some, rng=rng)
    send(trackers[3:], some, rng=rng, connections=1)
    written = writes_in_journals(data_dir)
    assert sum(map(len, written.values())) == 9 * count
    # The journal of the one that wrote last is replayed by others, and a copy of it too, while they write.
    copy = data_dir / "workers" / "0020"
    shutil.copytree(data_dir / "workers" / "0003", copy)
    trackers.pop().stop(signal.SIGKILL)
    outage.end()
    expected = {key: fold(list(writes)) for key, writes in written.items()}
    wait_until(lambda: stored(database) == expected, what=f"the fold by stamps; seed {seed}")
    wait_until(lambda: not segments(copy) and not segments(data_dir / "workers" / "0003"), what="no orphan left")
    # The same with PostgreSQL there: what is written last is what all agree on.
    send(trackers, some, rng=rng)
    last = {(operation.cart_id, operation.body["external_id"]): operation for operation in some}
    final = [
        Operation(cart_id, {"external_id": external_id, "name": "last", "value": -1, "quantity": 7})
        for cart_id, external_id in last
    ]
    send(trackers[:1], final, rng=rng, connections=1)
    for tracker in trackers:
        assert tracker.stop() == 0
    assert set(stored(database).values()) == {Stored("last", -1, 7)}, f"seed {seed}"
    assert deadlocks(database) == 0


def test_four_workers_that_write_the_same_carts_converge(
    start_tracker: StartTracker, database: Database, tmp_path: Path, outage: Outage
) -> None:
    four_workers_converge(start_tracker, database, tmp_path, outage, count=40, seed=1)


@pytest.mark.slow
def test_four_workers_that_write_the_same_carts_a_lot_converge(
    start_tracker: StartTracker, database: Database, tmp_path: Path, outage: Outage
) -> None:
    four_workers_converge(start_tracker, database, tmp_path, outage, count=500, seed=random.randrange(10**6))


@pytest.mark.slow
def test_two_workers_that_race_for_an_orphan_store_it_and_remove_it(
    start_tracker: StartTracker, database: Database, tmp_path: Path, outage: Outage
) -> None:
    survivors = [start_tracker(env={"DATABASE_URL": database.url}) for _ in range(2)]
    orphan = tmp_path / "workers" / "0002"
    for turn in range(3):
        victim = start_tracker(env={"DATABASE_URL": database.url})
        outage.begin()
        with Load(victim.url, seed=turn) as load:
            wait_for_acknowledged(load, 200)
        victim.stop(signal.SIGKILL)
        assert any(segment.stat().st_size > 1000 for segment in segments(orphan))
        outage.end()
        load.wait_until_stored(database)
        wait_until(lambda: not segments(orphan), what="the orphan's journal to be removed")
        assert load.problems(database) == []
        database.fetch("TRUNCATE items, carts CASCADE")
    for tracker in survivors:
        assert tracker.stop() == 0


def test_adopters_that_come_at_the_same_moment_store_an_orphan_and_remove_it(
    start_tracker: StartTracker, database: Database, tmp_path: Path, outage: Outage
) -> None:
    victim = start_tracker(env={"DATABASE_URL": database.url})
    outage.begin()
    rng = random.Random(1)
    send([victim], operations(rng, 100), rng=rng)
    victim.stop(signal.SIGKILL)
    outage.end()
    (tmp_path / "workers" / "0000").rename(tmp_path / "workers" / "0009")
    expected = {key: fold(list(writes)) for key, writes in writes_in_journals(tmp_path).items()}
    orphan = tmp_path / "workers" / "0009"
    kept = tmp_path / "kept"
    shutil.copytree(orphan, kept)

    async def race() -> int:
        """Return how many items were stored by two adopters."""
        engine = create_engine(database.url, pool_size=2)
        stored_items = 0

        async def write(batch: Batch, traces: ItemTraces) -> None:
            nonlocal stored_items
            await BatchWriter(engine).write(batch, traces)
            stored_items += len(batch)

        async def store(payloads: list[bytes]) -> Replay:
            return await replay(Delivery(write, DeadLetters(tmp_path)), payloads, max_items=30)

        with claim_folder(tmp_path, 0) as one, claim_folder(tmp_path, 0) as other:
            adopters = [
                Recovery(tmp_path, folder, SystemFiles(), replay=store, last_stamp=int) for folder in (one, other)
            ]
            for adopter in adopters:
                adopter.start()
            await asyncio.to_thread(wait_until, lambda: not segments(orphan), what="the journal to be removed")
            for adopter in adopters:
                await adopter.close()
        await engine.dispose()
        return stored_items

    for _ in range(5):
        shutil.copytree(kept, orphan, dirs_exist_ok=True)
        assert asyncio.run(race()) >= len(expected)
        assert stored(database) == expected
        database.fetch("TRUNCATE items, carts CASCADE")

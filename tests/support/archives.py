"""What tests of the archive do with warranties: create them, and say what their objects must be."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from tests.conftest import Database, Tracker
from tracker.features.warranties.domain import WarrantyId, new_warranty_id
from tracker.features.warranties.queue import JOB, archive_later
from tracker.postgres.engine import create_engine
from tracker.runtime.features import load_settings
from tracker.runtime.job_runners import JobRunners

Object = dict[str, Any]


def sale(number: int = 0, *, item_type: str = "furniture") -> Object:
    """Return what a store asks for; of 1,000 numbers 20 stores and 50 items get their turn."""
    return {
        "store_uuid": f"{item_type}-{number % 20}",
        "item_type": item_type,
        "item_sku": f"sku-{number // 20 % 50}",
        "item_cost": 149.5,
        "item_title": "Amy's “Sectional” Sofa",
    }


def create(tracker: Tracker, count: int, *, item_type: str = "furniture") -> dict[str, Object]:
    """Create warranties one after the other; return the object that each must get, by its path in the archive."""
    objects: dict[str, Object] = {}
    for number in range(count):
        request = sale(number, item_type=item_type)
        answer = tracker.client.post("/warranties", json=request)
        assert answer.status_code == 201, answer.text
        objects |= object_of(request, answer.json())
    return objects


def object_of(request: Object, response: Object) -> dict[str, Object]:
    """Return the object that a warranty must get, by its path."""
    day = datetime.fromisoformat(response["created_at"]).strftime("%Y/%m/%d")
    return {f"{day}/{response['id']}.json": {"request": request, "response": response}}


def id_of(path: str) -> WarrantyId:
    return WarrantyId(path.rpartition("/")[2].removesuffix(".json"))


def store_some(database: Database, count: int, *, created_at: datetime) -> list[WarrantyId]:
    """Store warranties as if they had been created without jobs; return their ids in order."""
    database.fetch("INSERT INTO stores VALUES ('old', now()) ON CONFLICT DO NOTHING")
    database.fetch("INSERT INTO warranty_items VALUES ('old', 'item', 'title', 1, 1) ON CONFLICT DO NOTHING")
    ids = sorted(new_warranty_id(int(created_at.timestamp() * 1e6) + number) for number in range(count))
    database.fetch(
        "INSERT INTO warranties"
        " SELECT id, 'old', 'old', 'item', 'title', 1, 12, 499, 'v', $2 FROM unnest($1::uuid[]) id",
        ids,
        created_at,
    )
    return ids


@contextlib.contextmanager
def working(env: Mapping[str, str]) -> Iterator[None]:
    """Run the jobs as `tracker worker` does, but in this process, as long as the block runs."""

    async def run() -> None:
        async with JobRunners().running(load_settings(env), url=env["DATABASE_URL"], tracer=None):
            await asyncio.to_thread(done.wait)

    done = threading.Event()
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(asyncio.run, run())
        try:
            yield
        finally:
            done.set()
            running.result()


def jobs(database: Database) -> int:
    """Return how many jobs of the archive the queue holds."""
    count: int = database.fetch("SELECT count(*) FROM pgqueuer WHERE entrypoint = $1", JOB)[0]["count"]
    return count


def all_done(database: Database) -> bool:
    """Have the jobs done without waiting for their time; return whether they are."""
    database.fetch("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = $1 AND status = 'queued'", JOB)
    return jobs(database) == 0


def archive_again(database: Database, ids: Sequence[WarrantyId]) -> None:
    """Put a job into the queue."""

    async def run() -> None:
        engine = create_engine(database.url)
        try:
            async with engine.begin() as connection:
                await archive_later(connection, ids)
        finally:
            await engine.dispose()

    asyncio.run(run())


def objects_in(folder: Path) -> dict[str, Object]:
    """Return what each object in a folder says, by its path."""
    return {
        str(path.relative_to(folder)): msgspec.json.decode(path.read_bytes())
        for path in folder.rglob("*")
        if path.is_file()
    }

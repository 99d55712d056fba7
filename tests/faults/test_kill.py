"""kill -9 of the service under load, again and again: what was acknowledged is in PostgreSQL at the end."""

import os
import random
import signal
from pathlib import Path

import pytest

from tests.conftest import Database, StartTracker
from tests.support.faults.load import Load, Outcome, wait_for_acknowledged
from tests.support.ports import free_port
from tests.support.processes import children
from tests.support.waiting import wait_until


def segments(data_dir: Path) -> list[Path]:
    return list(data_dir.glob("workers/*/*.journal"))


def kill_again_and_again(
    start_tracker: StartTracker, database: Database, data_dir: Path, *, ack: str, kills: int, seed: int
) -> Load:
    """Kill and restart the service on the same data folder under load, and compare at the end."""
    rng = random.Random(seed)
    port = str(free_port())
    env = {"DATABASE_URL": database.url, "TRACKER_ACK": ack}
    tracker = start_tracker("--port", port, env=env)
    with Load(tracker.url, seed=seed) as load:
        for _ in range(kills):
            wait_for_acknowledged(load, rng.randrange(1, 150))
            tracker.stop(signal.SIGKILL)
            tracker = start_tracker("--port", port, env=env)
        wait_for_acknowledged(load, 50)
    load.wait_until_stored(database)
    assert tracker.stop() == 0
    assert load.problems(database) == []
    assert segments(data_dir) == []
    assert load.count(Outcome.UNKNOWN) >= kills / 2, f"the kills did not hit requests in hand; {load}"
    return load


def test_a_killed_service_has_lost_nothing_when_it_is_back(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    kill_again_and_again(start_tracker, database, tmp_path, ack="journal", kills=2, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("ack", ["journal", "fsync"])
def test_thirty_kills_under_load_lose_nothing(
    start_tracker: StartTracker, database: Database, tmp_path: Path, ack: str
) -> None:
    load = kill_again_and_again(start_tracker, database, tmp_path, ack=ack, kills=30, seed=random.randrange(10**6))
    print(load)  # noqa: T201  # pytest shows it with -s: how much was at stake


@pytest.mark.slow
@pytest.mark.parametrize("ack", ["journal", "fsync"])
def test_killed_workers_lose_nothing_and_their_journals_are_adopted(
    start_tracker: StartTracker, database: Database, tmp_path: Path, ack: str
) -> None:
    seed = random.randrange(10**6)
    rng = random.Random(seed)
    tracker = start_tracker("--workers", "2", env={"DATABASE_URL": database.url, "TRACKER_ACK": ack})
    killed = set[int]()
    with Load(tracker.url, seed=seed) as load:
        for _ in range(8):
            wait_for_acknowledged(load, rng.randrange(1, 300))
            wait_until(lambda: set(children(tracker.process.pid)) - killed, what="a worker to kill")
            victim = rng.choice(sorted(set(children(tracker.process.pid)) - killed))
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
        wait_for_acknowledged(load, 50)
        wait_until(lambda: len(set(children(tracker.process.pid)) - killed) == 2, what="the last one to be replaced")
    load.wait_until_stored(database)
    assert tracker.stop() == 0
    assert load.problems(database) == []
    assert segments(tmp_path) == []
    print(load)  # noqa: T201  # as above


@pytest.mark.slow
def test_the_comparison_notices_what_is_missing_or_wrong(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    with Load(tracker.url, seed=2) as load:
        wait_for_acknowledged(load, 200)
    load.wait_until_stored(database)
    tracker.stop()
    row = "ctid = (SELECT min(ctid) FROM items)"
    for change in (
        f"UPDATE items SET name = 'other' WHERE {row}",
        f"UPDATE items SET value = coalesce(value, 0) + 7 WHERE {row}",
        f"UPDATE items SET quantity = 1000000 WHERE {row}",
        f"DELETE FROM items WHERE {row}",
        "INSERT INTO items (cart_id, external_id, added_stamp) SELECT cart_id, 'stranger', 1 FROM items LIMIT 1",
    ):
        before = len(load.problems(database))
        database.fetch(change)
        assert len(load.problems(database)) == before + 1, change

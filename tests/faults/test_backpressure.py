"""Over its budget of memory or disk the service refuses, loses nothing, and takes up again by itself."""

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database, StartTracker, Tracker
from tests.support.faults.load import Load, Outcome, wait_for_acknowledged
from tests.support.faults.outages import Outage
from tests.support.ports import free_port
from tests.support.waiting import wait_until

MIB = 1024 * 1024


@pytest.fixture
def outage(server_url: str, database: Database) -> Iterator[Outage]:
    outage = Outage(server_url, database)
    yield outage
    outage.end()


def heavy_load(tracker: Tracker) -> Load:
    """Return a load that fills a budget of 1 MiB in a second."""
    return Load(tracker.url, seed=random.randrange(10**6), pause_s=0.004, padding=1500, new_items_only=True)


def ready(tracker: Tracker) -> bool:
    return tracker.client.get("/health/ready").status_code == 200


def fill_up(tracker: Tracker, load: Load) -> None:
    wait_until(lambda: load.count(Outcome.REFUSED) >= 30, what=f"refusals; {load}")
    full = load.acknowledged
    time.sleep(0.5)
    assert load.acknowledged - full < 10, f"{full} were acknowledged until it was full; {load}"
    assert not ready(tracker)
    assert tracker.client.get("/health/live").status_code == 200


def journal_bytes(data_dir: Path) -> int:
    return sum(path.stat().st_size for path in data_dir.glob("workers/*/*.journal"))


@pytest.mark.slow
@pytest.mark.parametrize("budget", ["TRACKER_JOURNAL_MAX_MB", "TRACKER_BUFFER_MAX_MB"])
def test_what_is_over_the_budget_is_refused_until_postgresql_is_back(
    start_tracker: StartTracker, database: Database, outage: Outage, tmp_path: Path, budget: str
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, budget: "1"})
    with heavy_load(tracker) as load:
        wait_for_acknowledged(load, 20)
        outage.begin()
        fill_up(tracker, load)
        assert journal_bytes(tmp_path) < 1.5 * MIB
        outage.end()
        wait_until(lambda: ready(tracker), what="ready again")
        wait_for_acknowledged(load, 100)
    load.wait_until_stored(database)
    assert tracker.stop() == 0
    assert load.problems(database) == []


@pytest.mark.slow
def test_a_service_killed_while_full_loses_nothing(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    port = str(free_port())
    env = {"DATABASE_URL": database.url, "TRACKER_JOURNAL_MAX_MB": "1"}
    tracker = start_tracker("--port", port, env=env)
    with heavy_load(tracker) as load:
        wait_for_acknowledged(load, 20)
        outage.begin()
        fill_up(tracker, load)
        tracker.stop(signal.SIGKILL)
        outage.end()
        tracker = start_tracker("--port", port, env=env)
        wait_until(lambda: ready(tracker), what="ready again")
        wait_for_acknowledged(load, 100)
    load.wait_until_stored(database)
    assert tracker.stop() == 0
    assert load.problems(database) == []


@pytest.mark.slow
def test_a_small_journal_does_not_refuse_what_postgresql_takes(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_JOURNAL_MAX_MB": "1"})
    with heavy_load(tracker) as load:
        wait_for_acknowledged(load, 1500)  # twice the budget and more
        assert load.count(Outcome.REFUSED) == 0, str(load)

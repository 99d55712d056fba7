"""A stop with requests half sent and much that PostgreSQL did not take: in time, and the rest replays."""

import contextlib
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.conftest import Database, StartTracker, Tracker
from tests.support.faults.load import Load, wait_for_acknowledged
from tests.support.faults.outages import Outage, Proxy, locked_table
from tests.support.waiting import wait_until

STOP_S = 15.0
"""What a stop may take at most."""

HEAD = b"POST /item HTTP/1.1\r\nHost: tracker\r\nContent-Type: application/json\r\n"

HALF_SENT = (
    b"",
    b"PO",
    HEAD,
    HEAD + b"Content-Length: 100\r\n\r\n",
    HEAD + b'Content-Length: 100\r\n\r\n{"external_id": ',
    HEAD + b'Transfer-Encoding: chunked\r\n\r\n5\r\n{"ext\r\n',
)


@pytest.fixture
def outage(server_url: str, database: Database) -> Iterator[Outage]:
    outage = Outage(server_url, database)
    yield outage
    outage.end()


@contextlib.contextmanager
def half_open_requests(tracker: Tracker, count: int) -> Iterator[None]:
    """Have requests that are never completed, as long as the block runs."""
    host, _, port = tracker.url.removeprefix("http://").rpartition(":")
    with contextlib.ExitStack() as stack:
        for number in range(count):
            connection = stack.enter_context(socket.create_connection((host, int(port))))
            connection.sendall(HALF_SENT[number % len(HALF_SENT)])
        time.sleep(0.2)  # for them to arrive
        yield


def waits_for_lock(database: Database) -> bool:
    return bool(database.fetch("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'items'::regclass"))


class Fault(NamedTuple):
    """A way to take PostgreSQL away from what connects to `url`."""

    url: str
    begin: Callable[[], None]
    end: Callable[[], None]


def stop_and_replay(
    start_tracker: StartTracker, database: Database, data_dir: Path, fault: Fault, *, backlog: int, workers: int = 1
) -> None:
    """Stop the service in the middle of `fault`, and have the next one store the rest."""
    tracker = start_tracker("--workers", str(workers), env={"DATABASE_URL": fault.url})
    with Load(tracker.url, seed=random.randrange(10**6), pause_s=0.001, new_items_only=True) as load:
        wait_for_acknowledged(load, 100)
        fault.begin()
        wait_for_acknowledged(load, backlog)
        with half_open_requests(tracker, 60):
            began_s = time.monotonic()
            tracker.process.send_signal(signal.SIGTERM)
            code = tracker.process.wait(60)
            took_s = time.monotonic() - began_s
    print(f"stopped in {took_s:.1f} s; {load}")  # noqa: T201  # pytest shows it of a failure
    assert code == 0
    assert took_s < STOP_S
    fault.end()
    assert load.problems(database), "there was no backlog"
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    load.wait_until_stored(database)
    wait_until(lambda: len(list(data_dir.glob("workers/*/*.journal"))) <= 2, what="the journals to be replayed")
    assert tracker.stop() == 0
    assert load.problems(database) == []


@pytest.mark.slow
def test_a_stop_while_postgresql_is_away_is_in_time_and_the_rest_replays(
    start_tracker: StartTracker, database: Database, tmp_path: Path, outage: Outage
) -> None:
    away = Fault(database.url, outage.begin, outage.end)
    stop_and_replay(start_tracker, database, tmp_path, away, backlog=3000)


@pytest.mark.slow
def test_a_stop_of_two_workers_while_postgresql_is_away_is_in_time_and_the_rest_replays(
    start_tracker: StartTracker, database: Database, tmp_path: Path, outage: Outage
) -> None:
    away = Fault(database.url, outage.begin, outage.end)
    stop_and_replay(start_tracker, database, tmp_path, away, backlog=5000, workers=2)


@pytest.mark.slow
def test_a_stop_while_postgresql_is_silent_is_in_time_and_the_rest_replays(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    with Proxy(database.url) as proxy:
        silent = Fault(proxy.url, lambda: proxy.set("swallow"), lambda: proxy.set("pass"))
        stop_and_replay(start_tracker, database, tmp_path, silent, backlog=5000)


@pytest.mark.slow
def test_a_stop_in_the_middle_of_a_replay_that_hangs_is_in_time(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    first = start_tracker(env={"DATABASE_URL": database.url})
    outage.begin()
    with Load(first.url, seed=random.randrange(10**6)) as load:
        wait_for_acknowledged(load, 100)
    first.stop(signal.SIGKILL)
    outage.end()
    with Proxy(database.url) as proxy, locked_table(database):
        tracker = start_tracker(env={"DATABASE_URL": proxy.url})
        wait_until(lambda: waits_for_lock(database), what="the replay to wait for the lock")
        proxy.set("swallow")
        began_s = time.monotonic()
        assert tracker.stop() == 0
        assert time.monotonic() - began_s < STOP_S
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    load.wait_until_stored(database)

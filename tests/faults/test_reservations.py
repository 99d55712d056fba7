"""Reservations while things go wrong: the service, the process that asks it, PostgreSQL."""

import signal
import statistics
import time
import uuid
from pathlib import Path

import pytest

from tests.conftest import Database, StartTracker, Tracker, cart_of, cookie
from tests.support.faults.outages import OwnPostgres, locked_table
from tests.support.ports import free_port
from tests.support.reservations import Service, jobs, reservation_service, statuses, worker
from tests.support.waiting import wait_until
from tracker.jobs.consumer import HELD_FOR_S
from tracker.postgres.schema import upgrade_schema

pytestmark = pytest.mark.slow

SOON_S = 60.0


def env_of(database: Database, url: str, **more: str) -> dict[str, str]:
    return {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": url, **more}


def add(tracker: Tracker, count: int) -> None:
    cart_id = str(uuid.uuid4())
    for number in range(count):
        tracker.post_item({"external_id": f"sku-{number}"}, cart_id).raise_for_status()


def all_reserved(database: Database, count: int) -> bool:
    return list(statuses(database).values()) == ["reserved"] * count and jobs(database) == 0


def called_once_each(service: Service, count: int) -> bool:
    calls = service.calls()
    return len(calls.called) == count and set(calls.called.values()) == set(calls.granted.values()) == {1}


def test_answers_take_as_long_with_a_service_that_takes_35_s_as_without(
    start_tracker: StartTracker, database: Database, shared_database: Database
) -> None:
    with reservation_service(delay_s=35) as service:
        trackers = [
            start_tracker(env=env_of(database, service.url)),
            start_tracker(env={"DATABASE_URL": shared_database.url}),
        ]
        times_s: list[list[float]] = [[], []]
        cart_id = str(uuid.uuid4())
        for number in range(500):
            for tracker, taken_s in zip(trackers, times_s, strict=True):
                started = time.perf_counter()
                tracker.client.post("/item", json={"external_id": f"sku-{number}"}, headers=cookie(cart_id))
                taken_s.append(time.perf_counter() - started)
        with_it, without = map(statistics.median, times_s)
        assert with_it < 2 * without + 0.001
        wait_until(lambda: service.calls().most_at_once >= 50)


def test_1000_items_are_all_reserved_once_though_30_percent_of_the_calls_fail(
    start_tracker: StartTracker, database: Database
) -> None:
    with reservation_service(fail_rate=0.3) as service:
        add(start_tracker(env=env_of(database, service.url, TRACKER_RESERVATION_ATTEMPTS="100")), 1000)
        wait_until(lambda: all_reserved(database, 1000), 5 * SOON_S)
        calls = service.calls()
        assert len(calls.granted) == 1000
        assert set(calls.granted.values()) == {1}
        assert sum(calls.called.values()) > 1200
        assert calls.most_at_once <= 100


def test_two_workers_never_hold_the_same_job(start_tracker: StartTracker, database: Database, tmp_path: Path) -> None:
    with reservation_service(delay_s=0.05) as service:
        env = env_of(database, service.url)
        add(start_tracker(env=env | {"TRACKER_JOBS": "off"}), 1000)
        with worker(env, tmp_path / "a"), worker(env, tmp_path / "b"):
            wait_until(lambda: all_reserved(database, 1000), 2 * SOON_S)
        assert called_once_each(service, 1000)


def test_a_call_whose_worker_was_killed_is_made_again_under_the_same_key(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    with reservation_service(delay_s=5) as service:
        env = env_of(database, service.url)
        web = start_tracker(env=env | {"TRACKER_JOBS": "off"})
        cart_id = cart_of(web.post_items({"product_id": "a"}))
        with worker(env, tmp_path) as process:
            wait_until(lambda: service.calls().called)
            process.kill()
        with worker(env, tmp_path):
            wait_until(lambda: statuses(database) == {"a": "reserved"}, HELD_FOR_S + SOON_S)
        assert list(service.calls().called.values()) == [2]
        assert web.get_items(cart_id)[0]["reservation_id"] == 1234
        assert database.fetch("SELECT attempts FROM reservations")[0]["attempts"] == 2


def test_a_stop_puts_calls_in_hand_back_into_the_queue(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    with reservation_service(delay_s=60) as service:
        env = env_of(database, service.url)
        add(start_tracker(env=env | {"TRACKER_JOBS": "off"}), 20)
        with worker(env, tmp_path) as process:
            wait_until(lambda: len(service.calls().called) == 20)
            started = time.monotonic()
            process.send_signal(signal.SIGTERM)
            assert process.wait(30) == 0
            assert time.monotonic() - started < 10
        rows = database.fetch("SELECT attempts FROM reservations WHERE status = 'pending'")
        assert [row["attempts"] for row in rows] == [0] * 20
        assert database.fetch("SELECT DISTINCT status::text FROM pgqueuer") == [{"status": "queued"}]
        service.behave()
        with worker(env, tmp_path):
            wait_until(lambda: all_reserved(database, 20), SOON_S)
        assert set(service.calls().called.values()) == {2}


def test_a_stop_while_postgresql_hangs_loses_no_job(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    with reservation_service(delay_s=60) as service:
        env = env_of(database, service.url)
        add(start_tracker(env=env | {"TRACKER_JOBS": "off"}), 20)
        with worker(env, tmp_path) as process:
            wait_until(lambda: len(service.calls().called) == 20)
            with locked_table(database, "reservations"):
                process.send_signal(signal.SIGTERM)
                assert process.wait(15) == 0
        assert jobs(database) == 20
        service.behave()
        with worker(env, tmp_path):
            wait_until(lambda: all_reserved(database, 20), HELD_FOR_S + SOON_S)


def test_a_service_that_is_down_is_left_in_peace_and_found_again(
    start_tracker: StartTracker, database: Database
) -> None:
    port = free_port()
    add(start_tracker(env=env_of(database, f"http://127.0.0.1:{port}/reserve")), 300)
    wait_until(lambda: database.fetch("SELECT 1 FROM reservations WHERE error IS NOT NULL"))
    time.sleep(5)
    attempts = database.fetch("SELECT sum(attempts) AS sum FROM reservations")[0]["sum"]
    assert attempts < 200, "100 in hand, and after that one at a time"
    with reservation_service(port) as service:
        wait_until(lambda: all_reserved(database, 300), 2 * SOON_S)
        assert called_once_each(service, 300)
    assert database.fetch("SELECT max(attempts) AS most FROM reservations") == [{"most": 1}], "nobody was asked before"


def test_a_restart_of_postgresql_costs_no_reservation(start_tracker: StartTracker, tmp_path: Path) -> None:
    own = OwnPostgres(tmp_path / "own")
    own.start()
    try:
        upgrade_schema(own.url)
        database = Database(own.url)
        with reservation_service(delay_s=1) as service:
            add(start_tracker(env=env_of(database, service.url)), 400)
            wait_until(lambda: len(service.calls().granted) > 50)
            own.stop(signal.SIGQUIT)
            time.sleep(2)
            own.start()
            wait_until(lambda: all_reserved(database, 400), HELD_FOR_S + 2 * SOON_S)
            assert len(service.calls().granted) == 400
    finally:
        own.stop()

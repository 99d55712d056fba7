"""The archive is away or refuses, or the service is killed: no answer is slower, and no object missing at the end."""

import signal
import time
from collections.abc import Iterator

import pytest

from tests.conftest import Database, StartTracker
from tests.support.archives import all_done, create, jobs
from tests.support.faults.outages import Proxy
from tests.support.oidc import Provider
from tests.support.ports import free_port
from tests.support.reservations import reservation_service, statuses
from tests.support.s3 import S3, Bucket, s3_server
from tests.support.shopper import new_shopper, sell, settle_now
from tests.support.waiting import wait_until
from tracker.features.warranties.archive import TIMEOUT_S

ANSWER_S = TIMEOUT_S / 2
"""Longest answer: none waits for an archive, which is waited for twice as long."""


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with s3_server() as s3:
        yield s3


def bucket_of(s3: S3, database: Database) -> Bucket:
    """Return the bucket of a test, which is still to be created."""
    name: str = database.fetch("SELECT current_database() AS name")[0]["name"]
    return Bucket(name.replace("_", "-"), s3.url)


def picked(database: Database) -> int:
    return len(database.fetch("SELECT 1 FROM pgqueuer WHERE entrypoint = 'archive' AND status = 'picked'"))


def test_an_archive_that_cannot_be_reached_delays_the_objects_and_nothing_else(
    start_tracker: StartTracker, database: Database, s3: S3, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket, port = bucket_of(s3, database), free_port()
    bucket.create()
    tracker = start_tracker(env={"DATABASE_URL": database.url, **bucket.env(port=port)})
    objects = create(tracker, 60)
    wait_until(lambda: database.fetch("SELECT 1 FROM pgqueuer WHERE execute_after > now() + interval '1 s'"))
    assert bucket.paths() == set()
    assert "the archive of the warranties cannot be used" in capfd.readouterr().err
    with Proxy(s3.url, port):
        wait_until(lambda: all_done(database))
    assert bucket.objects() == objects
    assert sorted(bucket.versions()) == sorted(objects)


def test_with_an_archive_that_never_answers_answers_reservations_and_orders_are_as_quick(
    start_tracker: StartTracker, database: Database, s3: S3, provider: Provider
) -> None:
    bucket = bucket_of(s3, database)
    bucket.create()
    with Proxy(s3.url) as proxy, reservation_service() as service:
        proxy.set("swallow")
        others = {"TRACKER_RESERVATION_URL": service.url, "TRACKER_PAYMENT": "sandbox", **provider.env()}
        env = {"DATABASE_URL": database.url, **bucket.env(port=proxy.port), **others}
        tracker = start_tracker(env=env)
        objects = create(tracker, 1)
        wait_until(lambda: proxy.swallowed)
        for _ in range(60):
            started = time.monotonic()
            objects |= create(tracker, 1)
            assert time.monotonic() - started < ANSWER_S
        wait_until(lambda: picked(database) >= 4)
        started = time.monotonic()
        sell(database, "mug")
        shopper = new_shopper(tracker, provider)
        order = shopper.check_out(shopper.cart_with(mug=1), "times-out-paid").json()
        settle_now(database)
        wait_until(lambda: shopper.order(order["order_id"])["status"] == "paid")
        wait_until(lambda: statuses(database) == {"mug": "reserved"})
        assert time.monotonic() - started < 15, "less than the archive is waited for"
        assert jobs(database) == 61
        proxy.set("reset")
        proxy.set("pass")
        wait_until(lambda: all_done(database))
    assert bucket.objects() == objects


def test_a_bucket_that_is_missing_or_refuses_is_told_and_filled_when_it_can_be(
    start_tracker: StartTracker, database: Database, s3: S3, capfd: pytest.CaptureFixture[str]
) -> None:
    bucket = bucket_of(s3, database)
    told = ""

    def is_told(reason: str) -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return reason in told

    tracker = start_tracker(env={"DATABASE_URL": database.url, **bucket.env()})
    objects = create(tracker, 3)
    wait_until(lambda: is_told("NoSuchBucket"))
    bucket.create()
    wait_until(lambda: all_done(database))
    s3.refuse_everybody()
    try:
        objects |= create(tracker, 3)
        wait_until(lambda: is_told("InvalidAccessKeyId"))
    finally:
        s3.refuse_everybody(refuse=False)
    wait_until(lambda: all_done(database))
    assert bucket.objects() == objects
    assert all(len(line) < 1000 for line in told.splitlines())


@pytest.mark.parametrize("in_flight", ["lost", "arrives late"])
def test_what_was_in_hand_when_the_service_was_killed_is_archived_once(
    start_tracker: StartTracker, database: Database, s3: S3, in_flight: str
) -> None:
    bucket = bucket_of(s3, database)
    bucket.create()
    with Proxy(s3.url) as proxy:
        proxy.set("hold")
        env = {"DATABASE_URL": database.url, **bucket.env(port=proxy.port)}
        tracker = start_tracker(env=env)
        objects = create(tracker, 10)
        wait_until(lambda: picked(database) >= 4)
        tracker.stop(signal.SIGKILL)
        assert bucket.paths() == set()
        assert jobs(database) == 10
        if in_flight == "lost":
            proxy.set("reset")
        proxy.set("pass")
        # What a dead process holds goes to others 15 s after its last word.
        database.fetch("UPDATE pgqueuer SET heartbeat = heartbeat - interval '1 min'")
        start_tracker(env=env)
        wait_until(lambda: all_done(database))
    assert bucket.objects() == objects
    assert sorted(bucket.versions()) == sorted(objects), "each was written once"

"""What /metrics says is what has happened, whichever way and whichever worker it went."""

import json
import os
import signal
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics import parser as openmetrics

from tests.conftest import Database, StartTracker, Tracker, run_tracker
from tests.support.faults.outages import Outage, locked_table
from tests.support.oidc import Provider
from tests.support.ports import free_port
from tests.support.processes import children
from tests.support.reservations import reservation_service, worker
from tests.support.scrape import Scrape, parsed, scrape, scrape_until
from tests.support.shopper import new_shopper, sell
from tests.support.waiting import wait_until

CART = "7d9f5f0e-1111-4222-8333-444455556666"


@pytest.fixture
def outage(server_url: str, database: Database) -> Iterator[Outage]:
    outage = Outage(server_url, database)
    yield outage
    outage.end()


def send_raw(url: str, data: bytes) -> bytes:
    """Send bytes, and return what comes back until the server closes."""
    host, port = url.rpartition("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(data)
        answer = b""
        while part := connection.recv(65536):
            answer += part
    return answer


@pytest.mark.parametrize("ack", ["journal", "fsync", "commit"])
def test_every_answer_is_counted_once_by_its_route_and_status(
    start_tracker: StartTracker, database: Database, ack: str
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_ACK": ack})
    client = tracker.client
    for number in range(7):
        tracker.post_item({"external_id": f"sku-{number}"}, CART)
    for _ in range(3):
        tracker.post_items({"product_id": "a", "quantity": 1})
    for _ in range(2):
        client.post("/api/v1/items", json={"product_id": "a"})
    # Litestar answers these: a spelling of the content type that the fast lane leaves to it, what breaks a rule.
    client.post("/item", content=json.dumps({"external_id": "b"}), headers={"Content-Type": "APPLICATION/JSON"})
    for wrong in ("5", True, 1.5):
        tracker.post_item({"external_id": "a", "value": wrong})
    client.post("/item", content="<a/>", headers={"Content-Type": "text/html"})
    tracker.get_items(CART)
    for secret in range(5):
        client.get(f"/wp-admin/{secret}")
        client.get(f"/orders/{uuid.uuid4()}")
    client.put("/item", json={})
    client.request("PROPFIND", "/nowhere")
    found = scrape(tracker.url)
    assert found.requests() == {
        ("POST", "/item", "204"): 8,
        ("POST", "/items", "200"): 3,
        ("POST", "/api/v1/items", "200"): 2,
        ("POST", "/item", "400"): 3,
        ("POST", "/item", "415"): 1,
        ("GET", "/items", "200"): 1,
        ("GET", "/orders/{order_id}", "501"): 5,
        ("GET", "unmatched", "404"): 5,
        ("PUT", "unmatched", "405"): 1,
        ("other", "unmatched", "404"): 1,
    }
    assert "wp-admin" not in found.text
    assert "PROPFIND" not in found.text
    assert found.value("tracker_items_accepted_total") == 13


def test_the_histogram_of_the_answer_times_counts_every_answer(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    for number in range(20):
        tracker.post_item({"external_id": f"sku-{number}"}, CART)
    tracker.post_item({"external_id": ""})
    tracker.get_items(CART)
    found = scrape(tracker.url)
    name = "tracker_http_request_duration_seconds"
    assert found.value(f"{name}_count") == found.value("tracker_http_requests_total")
    assert found.value(f"{name}_count", method="POST", route="/item") == 21
    assert found.value(f"{name}_bucket", route="/item", le="+Inf") == 21
    assert 0 < found.value(f"{name}_sum", route="/item") < 21
    in_order = [value for labels, value in found.samples[f"{name}_bucket"].items() if ("route", "/item") in labels]
    assert len(in_order) == 17
    assert in_order == sorted(in_order)


def test_what_the_connection_refuses_is_counted_apart(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    assert send_raw(tracker.url, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
    assert send_raw(tracker.url, b"GET / HTTP/1.1\r\nHost: a\r\nA: %b\r\n\r\n" % (b"a" * 20_000)).startswith(
        b"HTTP/1.1 431"
    )
    found = scrape(tracker.url)
    assert found.value("tracker_http_refused_total", status="400") == 1
    assert found.value("tracker_http_refused_total", status="431") == 1
    assert found.requests() == {}


def test_a_client_that_leaves_before_its_answer_is_no_error_of_ours(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    host, port = tracker.url.rpartition("/")[2].split(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        connection.sendall(
            b"POST /item HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Type: application/json\r\n"
            b"Content-Length: 100\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(b'{"external_id":')
    found = scrape_until(tracker.url, lambda found: found.requests())
    assert found.requests() == {("POST", "/item", "499"): 1}


def test_what_repeats_is_counted_as_coalesced_and_what_waits_has_its_age(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "10000"})
    for value in range(10):
        for external_id in ("a", "b"):
            tracker.post_item({"external_id": external_id, "value": value}, CART)
    time.sleep(0.05)
    found = scrape(tracker.url)
    assert found.value("tracker_items_accepted_total") == 20
    assert found.value("tracker_items_coalesced_total") == 18
    assert found.value("tracker_buffer_items") == 2
    assert found.value("tracker_journal_items") == 20
    assert found.value("tracker_journal_bytes") > 20 * 50
    assert 900 < found.value("tracker_buffer_bytes") < 2000
    assert found.value("tracker_buffer_limit_bytes") == 64 * 2**20
    assert 0 < found.value("tracker_buffer_used_ratio") < 0.001
    assert 0.05 <= found.value("tracker_items_oldest_seconds") < 10
    assert found.value("tracker_items_stored_total") == 0
    assert tracker.stop() == 0
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    found = scrape(tracker.url)
    assert found.value("tracker_items_accepted_total") == 20, "counters go on when the process is another"
    assert found.value("tracker_items_stored_total") == 2
    assert found.value("tracker_flush_items_count") == 1
    assert found.value("tracker_flush_items_sum") == 2
    assert found.value("tracker_flush_duration_seconds_count") == 1
    assert found.value("tracker_buffer_items") == 0
    assert found.value("tracker_items_oldest_seconds") == 0
    assert found.value("tracker_items_lost_total") == 0


def test_two_workers_are_added_up_and_one_that_is_killed_takes_nothing_back(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker("--workers", "2", env={"DATABASE_URL": database.url})
    scrape_until(tracker.url, lambda found: found.value("tracker_workers_ready") == 2)

    def send(count: int) -> None:
        for _ in range(count):  # over connections of their own, so that both workers get some
            answer = httpx.post(f"{tracker.url}/item", json={"external_id": "a"}, timeout=30)
            assert answer.status_code == 204

    send(60)
    found = scrape_until(
        tracker.url,
        lambda found: (found.value("tracker_items_accepted_total"), found.value("tracker_workers")) == (60, 2),
    )
    assert found.value("tracker_http_requests_total", route="/item") == 60
    assert found.value("tracker_buffer_limit_bytes") == 2 * 64 * 2**20
    assert found.value("tracker_postgres_up") == 1
    victim, _ = children(tracker.process.pid)
    os.kill(victim, signal.SIGKILL)
    sums = [60.0]

    def is_replaced() -> bool:
        sums.append(scrape(tracker.url).value("tracker_items_accepted_total"))
        both = children(tracker.process.pid)
        return len(both) == 2 and victim not in both

    wait_until(is_replaced)
    assert sums == sorted(sums), "a sum that falls is a restart of everything to Prometheus"
    send(40)
    found = scrape_until(tracker.url, lambda found: found.value("tracker_items_accepted_total") == 100)
    scrape_until(tracker.url, lambda found: found.value("tracker_workers_ready") == 2)
    assert found.value("tracker_http_requests_total", route="/item") == 100


def test_what_was_shown_is_not_taken_back_after_a_kill(start_tracker: StartTracker, database: Database) -> None:
    env = {"DATABASE_URL": database.url}
    tracker = start_tracker(env=env)
    for number in range(25):
        tracker.post_item({"external_id": f"sku-{number}"}, CART)
    before = scrape(tracker.url)
    tracker.stop(signal.SIGKILL)
    after = scrape(start_tracker(env=env).url)
    assert before.value("tracker_items_accepted_total") == 25
    assert after.value("tracker_items_accepted_total") == 25
    for name, samples in before.samples.items():
        if name.endswith(("_total", "_bucket", "_count", "_sum")):
            for labels, value in samples.items():
                assert after.samples[name].get(labels, 0) >= value, (name, labels)


def test_the_journal_of_a_dead_worker_is_seen_until_it_is_replayed(
    start_tracker: StartTracker, database: Database, outage: Outage, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url}
    first, second = start_tracker(env=env), start_tracker(env=env)
    outage.begin()
    for number in range(10):
        first.post_item({"external_id": f"sku-{number}"}, CART)
    scrape_until(second.url, lambda found: found.value("tracker_items_accepted_total") == 10)
    scrape_until(second.url, lambda found: found.value("tracker_journal_orphaned_bytes") == 0)
    size = sum(path.stat().st_size for path in tmp_path.glob("workers/0000/*.journal"))
    first.stop(signal.SIGKILL)
    found = scrape_until(second.url, lambda found: found.value("tracker_workers") == 1)
    assert found.value("tracker_journal_orphaned_bytes") == size
    assert found.value("tracker_items_accepted_total") == 10
    assert found.value("tracker_buffer_items") == 0
    outage.end()
    # The journal is removed first, and then what came out of it is counted.
    found = scrape_until(second.url, lambda found: found.value("tracker_items_replayed_total") == 10)
    assert found.value("tracker_journal_orphaned_bytes") == 0
    assert found.value("tracker_items_stored_total") == 10


def test_without_postgresql_a_scrape_says_so_and_shows_what_waits(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    outage.begin()
    for number in range(30):
        assert tracker.post_item({"external_id": f"sku-{number}"}, CART).status_code == 204
    found = scrape_until(tracker.url, lambda found: found.value("tracker_flush_retries_total", reason="transient") >= 2)
    assert found.value("tracker_postgres_up") == 0
    assert found.value("tracker_buffer_items") == 30
    assert found.value("tracker_items_oldest_seconds") > 0
    assert found.value("tracker_items_stored_total") == 0
    outage.end()
    found = scrape_until(tracker.url, lambda found: found.value("tracker_postgres_up") == 1)
    found = scrape_until(tracker.url, lambda found: found.value("tracker_buffer_items") == 0)
    assert found.value("tracker_items_stored_total") == 30
    assert found.value("tracker_items_lost_total") == 0


def test_a_postgresql_that_does_not_answer_is_not_waited_for(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    with locked_table(database, "pgqueuer"):
        began_s = time.monotonic()
        found = scrape(tracker.url)
        assert time.monotonic() - began_s < 15, "2 s, and not as long as the lock is held"
    assert found.value("tracker_postgres_up") == 0
    assert found.value("tracker_workers_ready") == 1


def test_dead_letters_are_counted_until_somebody_has_sent_them_again(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(tmp_path)}
    tracker = start_tracker(env=env)
    database.fetch("ALTER TABLE items ADD CONSTRAINT no_mugs CHECK (name <> 'Mug')")
    for external_id, name in (("a", "Mug"), ("b", "Cup"), ("c", "Mug")):
        tracker.post_item({"external_id": external_id, "name": name}, CART)
    found = scrape_until(tracker.url, lambda found: found.value("tracker_items_dead_lettered_total") == 2)
    assert found.value("tracker_dead_letters") == 2
    database.fetch("ALTER TABLE items DROP CONSTRAINT no_mugs")
    assert run_tracker("dead-letters", "retry", env=env).returncode == 0
    found = scrape_until(tracker.url, lambda found: found.value("tracker_dead_letters") == 0)
    assert found.value("tracker_items_dead_lettered_total") == 2


def test_items_that_level_memory_loses_at_a_stop_are_counted(
    start_tracker: StartTracker, database: Database, outage: Outage
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_ACK": "memory"}
    tracker = start_tracker(env=env)
    outage.begin()
    for number in range(3):
        tracker.post_item({"external_id": f"sku-{number}"}, CART)
    assert tracker.stop() == 1
    outage.end()
    found = scrape(start_tracker(env=env).url)
    assert found.value("tracker_items_lost_total") == 3


def test_reservations_and_their_jobs_are_counted_where_they_run(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    with reservation_service() as service:
        env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url}
        inside = start_tracker(env=env)
        for number in range(5):
            inside.post_item({"external_id": f"sku-{number}"}, CART)
        found = scrape_until(
            inside.url, lambda found: found.value("tracker_reservation_attempts_total", result="granted") == 5
        )
        scrape_until(
            inside.url, lambda found: found.value("tracker_jobs_ended_total", handler="reserve", result="done") == 5
        )
        assert found.value("tracker_reservation_service_down") == 0
        inside.stop()

        service.behave(fail_rate=1.0, fail_status=400)
        outside = start_tracker(env={**env, "TRACKER_JOBS": "off"})
        outside.post_item({"external_id": "late"}, CART)
        found = scrape_until(
            outside.url, lambda found: found.value("tracker_jobs", handler="reserve", state="due") == 1
        )
        assert found.value("tracker_jobs_oldest_due_seconds", handler="reserve") > 0
        assert found.value("tracker_reservation_attempts_total") == 5
        port = free_port()
        with worker(env, tmp_path, "--metrics-port", str(port)) as process:
            url = f"http://127.0.0.1:{port}"
            found = scrape_until(
                url, lambda found: found.value("tracker_reservation_attempts_total", result="refused") == 1
            )
            assert found.value("tracker_jobs_ended_total", handler="reserve", result="done") <= 1
            scrape_until(url, lambda found: found.value("tracker_reservations_failed") == 1)
            process.terminate()
            assert process.wait(30) == 0


ZERO_WITHOUT_JOBS = {
    "tracker_reservation_attempts_total": ("granted", "refused", "given_up", "retried"),
    "tracker_archive_objects_total": ("archived", "failed"),
    "tracker_payments_total": ("paid", "failed", "unsettled"),
    "tracker_reservations_failed": (),
    "tracker_reservation_service_down": (),
    "tracker_archive_down": (),
    "tracker_orders_placed_total": (),
    "tracker_payments_to_pay_back_total": (),
}
"""Results of each metric of a feature that has jobs; none for a metric without labels."""


def assert_zeros(found: Scrape) -> None:
    for name, results in ZERO_WITHOUT_JOBS.items():
        labels = [frozenset({("result", result)}) for result in results] or [frozenset[tuple[str, str]]()]
        assert found.samples[name] == dict.fromkeys(labels, 0), name


def test_a_feature_that_is_off_or_whose_jobs_run_elsewhere_shows_zeros(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url}
    tracker = start_tracker(env={**env, "TRACKER_JOBS": "off"})
    found = scrape_until(tracker.url, lambda found: found.value("tracker_postgres_up"))
    assert_zeros(found)
    assert found.samples["tracker_warranties_created_total"] == {frozenset(): 0}
    port = free_port()
    with worker(env, tmp_path, "--metrics-port", str(port)) as process:
        assert_zeros(scrape_until(f"http://127.0.0.1:{port}", lambda found: found.value("tracker_postgres_up")))
        process.terminate()
        assert process.wait(30) == 0


def test_payments_are_counted_by_what_became_of_them(
    start_tracker: StartTracker, database: Database, provider: Provider
) -> None:
    sell(database, "mug")
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_PAYMENT": "sandbox", **provider.env()})
    anna = new_shopper(tracker, provider)
    for method in ("accepted", "accepted", "refused", "times-out-paid"):
        anna.check_out(anna.cart_with(mug=1), method)
    found = scrape_until(tracker.url, lambda found: found.value("tracker_jobs", handler="settle", state="later") == 4)
    assert found.value("tracker_orders_placed_total") == 4
    assert found.value("tracker_payments_total", result="paid") == 2
    assert found.value("tracker_payments_total", result="failed") == 1
    assert found.value("tracker_payments_total", result="unsettled") == 1
    database.fetch("UPDATE pgqueuer SET execute_after = now() WHERE entrypoint = 'settle'")
    found = scrape_until(tracker.url, lambda found: found.value("tracker_payments_total", result="paid") == 3)
    assert found.value("tracker_payments_to_pay_back_total") == 0
    found = scrape_until(tracker.url, lambda found: found.value("tracker_jobs", handler="settle") == 0)
    assert found.value("tracker_jobs_oldest_seconds", handler="settle") == 0


def test_openmetrics_is_for_who_asks_for_it(tracker: Tracker) -> None:
    accept = "application/openmetrics-text;version=1.0.0;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
    answer = tracker.client.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    found = {family.name for family in openmetrics.text_string_to_metric_families(answer.text)}  # type: ignore[no-untyped-call]  # of the library
    assert "tracker_items_accepted" in found
    plain = tracker.client.get("/metrics", headers={"Accept": "*/*"})
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert parsed(plain.text).value("tracker_workers") == 1
    for odd in (
        "",
        "application/openmetrics-text; version=x",
        "text/plain; version=;;",
        "text/plain; version=1.0.0\xff",
        "application/openmetrics-text; escaping=x; version=9.9.9",
        ",;=",
        "a" * 9000,
    ):
        odd_answer = tracker.client.get("/metrics", headers={b"Accept": odd.encode("latin-1")})
        assert odd_answer.status_code == 200, odd


def test_metrics_can_be_switched_off(start_tracker: StartTracker, database: Database, tmp_path: Path) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_METRICS": "off"})
    assert tracker.post_item({"external_id": "a"}).status_code == 204
    assert tracker.client.get("/metrics").status_code == 404
    assert tracker.stop() == 0
    assert not list(tmp_path.glob("workers/*/metrics*"))


def test_the_port_of_a_workers_metrics_that_is_taken_ends_the_start_with_a_line(database: Database) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        env = {"DATABASE_URL": database.url, "TRACKER_PAYMENT": "sandbox"}
        done = run_tracker("worker", "--metrics-port", str(port), env=env)
    assert done.returncode == 1
    assert f"127.0.0.1:{port}" in done.stderr
    assert "Traceback" not in done.stderr

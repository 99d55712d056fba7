"""Traces, as a real collector gets them from real processes."""

import contextlib
import json
import socket
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.conftest import Database, StartTracker, Tracker, cart_of, cookie
from tests.support.collector import Collector, Span, collecting
from tests.support.faults.wire import Server, serve
from tests.support.oidc import Provider
from tests.support.parts import transaction
from tests.support.ports import free_port
from tests.support.reservations import reservation_service, statuses, worker
from tests.support.shopper import new_shopper, sell, settle_now
from tests.support.stripe_api import ACCEPTED, stripe_api
from tests.support.waiting import wait_until
from tracker.runtime.tracer import STOP_TIMEOUT_S

TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"

TRACED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
UNTRACED = {"traceparent": f"00-{TRACE}-{CALLER}-00"}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@contextlib.contextmanager
def silent() -> Iterator[str]:
    """Yield the URL of a collector that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def put(tracker: Tracker, external_id: str, headers: dict[str, str], cart_id: str | None = None) -> str:
    answer = tracker.client.post("/item", json={"external_id": external_id}, headers=headers | cookie(cart_id))
    assert answer.status_code == 204
    return cart_id or cart_of(answer)


def of_trace(collector: Collector) -> list[Span]:
    return [span for span in collector.spans if span.trace_id == TRACE]


def test_what_a_request_causes_is_in_its_trace_up_to_the_call_of_another_process(
    start_tracker: StartTracker, database: Database, collector: Collector, tmp_path: Path
) -> None:
    with reservation_service() as service:
        env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url, **collector.env}
        tracker = start_tracker(env={**env, "TRACKER_JOBS": "off"})
        cart_id = put(tracker, "secret-mug", TRACED)
        with worker(env, tmp_path / "worker"):
            (called,) = collector.named("reservation")
            (job,) = collector.named("job reserve")  # it ends, and is sent, after the call
        (request,) = collector.named("POST /item")
        (flush,) = collector.named("flush")
        assert list(service.calls().traceparents.values()) == [called.traceparent]
    assert (request.service, request.kind, request.trace_id, request.parent_id) == ("tracker", "SERVER", TRACE, CALLER)
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/item",
        "http.response.status_code": 204,
    }
    assert flush.links == [(TRACE, request.span_id)]
    assert flush.attributes == {"items": 1}
    assert (job.kind, job.trace_id, job.parent_id) == ("CONSUMER", TRACE, request.span_id)
    assert (called.kind, called.trace_id, called.parent_id) == ("CLIENT", TRACE, job.span_id)
    assert not any(span.failed for span in collector.spans)
    everything = str(collector.spans)
    assert cart_id not in everything
    assert "secret" not in everything


def test_what_is_not_traced_causes_nothing_that_is(
    start_tracker: StartTracker, database: Database, collector: Collector
) -> None:
    with reservation_service() as service:
        env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url, "TRACKER_FLUSH_INTERVAL_MS": "50"}
        tracker = start_tracker(env={**env, **collector.env})
        for number in range(20):
            put(tracker, f"untraced-{number}", UNTRACED)
        put(tracker, "traced", TRACED)
        wait_until(lambda: list(statuses(database).values()) == ["reserved"] * 21)
        collector.named("reservation")
        tracker.stop()
    names = sorted(span.name for span in of_trace(collector))
    assert names == ["POST /item", "job reserve", "reservation"]
    assert len(collector.named("flush")) == 1


def test_a_flush_is_linked_to_every_request_that_has_caused_it(
    start_tracker: StartTracker, database: Database, collector: Collector
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_FLUSH_INTERVAL_MS": "1000", **collector.env})
    cart_id = put(tracker, "a", {})
    for external_id in ("a", "b", "c"):
        put(tracker, external_id, {}, cart_id)
    tracker.stop()
    requests = collector.named("POST /item", count=4)
    flushes = [span for span in collector.spans if span.name == "flush"]
    links = [link for flush in flushes for link in flush.links]
    assert sorted(links) == sorted((span.trace_id, span.span_id) for span in requests)
    assert len(flushes) < 4
    assert len({span.trace_id for span in requests}) == 4


def test_each_traced_warranty_of_a_group_is_archived_in_the_trace_of_its_own_request(
    start_tracker: StartTracker, database: Database, collector: Collector
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, **collector.env})
    traces = [f"{number:032x}" for number in range(1, 11)]

    def create(trace: str) -> int:
        sale = {"store_uuid": "s", "item_type": "t", "item_sku": "k", "item_cost": 1, "item_title": "x"}
        headers = {"traceparent": f"00-{trace}-{CALLER}-01"}
        return tracker.client.post("/warranties", json=sale, headers=headers).status_code

    with ThreadPoolExecutor(len(traces)) as pool:
        assert set(pool.map(create, traces)) == {201}
    requests = {span.trace_id: span for span in collector.named("POST /warranties", count=len(traces))}
    jobs = {span.trace_id: span for span in collector.named("job archive", count=len(traces))}
    archived = {span.trace_id: span for span in collector.named("archive", count=len(traces))}
    assert set(requests) == set(jobs) == set(archived) == set(traces)
    for trace, job in jobs.items():
        assert job.parent_id == requests[trace].span_id
        assert archived[trace].parent_id == job.span_id


@pytest.mark.parametrize("ack", ["fsync", "commit"])
def test_an_answer_that_waits_is_traced_with_its_status(
    start_tracker: StartTracker, database: Database, collector: Collector, ack: str
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, "TRACKER_ACK": ack, **collector.env})
    put(tracker, "a", TRACED)
    (request,) = collector.named("POST /item")
    assert request.attributes["http.response.status_code"] == 204


def test_routes_give_their_names_and_bad_requests_are_traced_once(
    start_tracker: StartTracker, database: Database, collector: Collector
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url, **collector.env})
    collector.named("GET /health/live")
    tracker.client.post("/item", json={"external_id": 1}, headers=TRACED)  # the lane leaves it to the route
    tracker.client.get(f"/items?cart_id={uuid.uuid4()}", headers=TRACED)
    tracker.client.get(f"/carts/{uuid.uuid4()}", headers=TRACED)
    tracker.client.get("/secret", headers=TRACED)
    tracker.stop()
    found = {span.name: span.attributes["http.response.status_code"] for span in of_trace(collector)}
    assert found == {"POST /item": 400, "GET /items": 200, "GET /carts/{cart_id}": 501, "GET": 404}
    assert len(of_trace(collector)) == 4
    assert "secret" not in str(collector.spans)


def test_a_checkout_shows_its_payment(
    start_tracker: StartTracker, database: Database, provider: Provider, collector: Collector
) -> None:
    with stripe_api() as stripe:
        tracker = start_tracker(env={"DATABASE_URL": database.url, **provider.env(), **stripe.env, **collector.env})
        sell(database, "mug")
        anna = new_shopper(tracker, provider)
        assert anna.check_out(anna.cart_with(mug=1), ACCEPTED).status_code == 200
        (request,) = collector.named("POST /carts/{cart_id}/checkout")
        (begin,) = collector.named("payment begin")
        (confirm,) = collector.named("payment confirm")
        sent = stripe.calls().traceparents
    assert {begin.parent_id, confirm.parent_id} == {request.span_id}
    assert sent["POST /v1/payment_intents"] == begin.traceparent
    assert confirm.traceparent in sent.values()
    headers = database.fetch("SELECT headers FROM pgqueuer WHERE entrypoint = 'settle'")
    assert [request.span_id in str(row["headers"]) for row in headers] == [True]  # the job that looks after it


def test_a_payment_that_is_settled_later_is_in_the_trace_of_its_checkout(
    start_tracker: StartTracker, database: Database, provider: Provider, collector: Collector
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_PAYMENT": "sandbox", **provider.env(), **collector.env}
    anna = new_shopper(start_tracker(env=env), provider)
    sell(database, "mug")
    assert anna.check_out(anna.cart_with(mug=1), "times-out-paid").status_code == 202
    settle_now(database)
    (asked,) = collector.named("payment settle")
    (job,) = collector.named("job settle")
    (request,) = collector.named("POST /carts/{cart_id}/checkout")
    assert (asked.parent_id, job.trace_id, asked.trace_id) == (job.span_id, request.trace_id, request.trace_id)


def test_a_line_about_a_traced_request_names_its_trace(
    database: Database, collector: Collector, tmp_path: Path
) -> None:
    with serve(database, tmp_path, env={**collector.env, "TRACKER_LOG_LEVEL": "info"}) as server:
        with transaction(database.url, "LOCK TABLE items IN ACCESS EXCLUSIVE MODE"):
            url = f"http://127.0.0.1:{server.port}/items?cart_id={uuid.uuid4()}"
            assert httpx.get(url, headers=TRACED, timeout=30).status_code == 503
        (span,) = collector.named("GET /items")
        (line,) = [line for line in map(json.loads, server.errors().splitlines()) if "status" in line]
    assert span.failed
    assert (line["status"], line["trace_id"], line["span_id"]) == (503, TRACE, span.span_id)


def test_one_request_in_a_hundred_is_traced_unless_its_caller_says(
    start_tracker: StartTracker, database: Database, collector: Collector
) -> None:
    env = {name: text for name, text in collector.env.items() if name != "OTEL_TRACES_SAMPLER"}
    tracker = start_tracker(env={"DATABASE_URL": database.url, **env})
    for _ in range(200):
        put(tracker, "a", {})
    put(tracker, "a", TRACED)
    tracker.stop()
    count = len([span for span in collector.spans if span.name == "POST /item"])
    assert 1 <= count < 30  # 2 on average
    assert [span.name for span in of_trace(collector)] == ["POST /item"]


def test_off_nothing_of_opentelemetry_is_loaded(database: Database, tmp_path: Path) -> None:
    with serve(database, tmp_path, env={"PYTHONPROFILEIMPORTTIME": "1"}, from_nothing=True) as server:
        client = httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30)
        with client:
            assert client.post("/item", json={"external_id": "a"}, headers=TRACED).status_code == 204
            assert client.get("/items", headers=TRACED).status_code == 200
        server.stop()
        imported = server.errors()
    assert "tracker.telemetry.tracing" in imported
    modules = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    # Litestar looks whether instrumentation is installed, and at the names of attributes.
    theirs = ("opentelemetry.sdk", "opentelemetry.trace", "opentelemetry.exporter", "google.protobuf")
    assert not {name for name in modules if name.startswith((*theirs, "tracker.telemetry.tracing."))}


def test_without_the_extra_a_line_says_that_nothing_is_traced(database: Database, tmp_path: Path) -> None:
    missing = "import sys; sys.modules['opentelemetry'] = None"
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    with serve(database, tmp_path, env=env, constants=missing) as server:
        server.stop()
        assert server.errors().count("\n") == 1
        assert "tracker[tracing] is not installed" in server.errors()


def test_the_log_says_once_that_the_collector_is_away_and_once_that_it_is_back(
    database: Database, tmp_path: Path
) -> None:
    port = free_port()
    env = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "2",
        "OTEL_TRACES_SAMPLER": "always_on",
        "OTEL_BSP_SCHEDULE_DELAY": "50",
    }

    def said(server: Server) -> list[str]:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30) as client:
            client.get("/health/live")  # there is always something to send
        return [json.loads(line)["event"] for line in server.errors().splitlines()]

    with serve(database, tmp_path, env=env) as server:
        wait_until(lambda: said(server))
        with collecting(port) as collector:
            # Spans that were sent a moment before the collector listened are lost: each look causes another.
            wait_until(lambda: len(said(server)) > 1)
            assert said(server) == ["traces cannot be sent to the collector", "traces are sent again"]
            assert collector.spans


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_collector_that_is_away_neither_slows_nor_fails_anything(
    start_tracker: StartTracker,
    database: Database,
    is_silent: bool,  # noqa: FBT001  # of parametrize
) -> None:
    with silent() if is_silent else contextlib.nullcontext(f"http://127.0.0.1:{free_port()}") as url:
        env = {
            "DATABASE_URL": database.url,
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_TRACES_SAMPLER": "always_on",
            "OTEL_BSP_MAX_QUEUE_SIZE": "20",
            "OTEL_BSP_MAX_EXPORT_BATCH_SIZE": "10",
        }
        tracker = start_tracker(env=env)
        cart_id = put(tracker, "first", {})
        for number in range(200):
            started = time.monotonic()
            put(tracker, f"item-{number}", {}, cart_id)
            assert time.monotonic() - started < 15
        database.wait_for_items(cart_id, 201)
        started = time.monotonic()
        assert tracker.stop() == 0
        assert time.monotonic() - started < STOP_TIMEOUT_S + 8

"""Items are reserved at a service, by jobs that were written with them."""

import asyncio
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import Database, StartTracker, Tracker, cart_of, copied, run_tracker, starter
from tests.support.reservations import Service, jobs, reservation_service, statuses, worker
from tests.support.settings import settings_of
from tests.support.waiting import wait_until
from tracker.features.carts.batch_writer import BatchWriter
from tracker.features.carts.domain import new_cart_id
from tracker.features.carts.store import Written
from tracker.features.carts.wiring import follow_up_of
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.items import Item
from tracker.postgres.engine import create_engine


@pytest.fixture(scope="module")
def shared_service() -> Iterator[Service]:
    with reservation_service() as service:
        yield service


@pytest.fixture
def service(shared_service: Service) -> Service:
    shared_service.behave()
    return shared_service


@pytest.fixture
def reserving(start_tracker: StartTracker, database: Database, service: Service) -> Tracker:
    return start_tracker(env={"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url})


@pytest.fixture(scope="module")
def impatient_database(server_url: str, template: str) -> Iterator[Database]:
    yield from copied(server_url, template)


@pytest.fixture(scope="module")
def impatient(
    impatient_database: Database, shared_service: Service, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracker]:
    """A server that asks twice, and waits a second for each answer."""
    limits = {"TRACKER_RESERVATION_ATTEMPTS": "2", "TRACKER_RESERVATION_TIMEOUT_S": "1"}
    env = {"DATABASE_URL": impatient_database.url, "TRACKER_RESERVATION_URL": shared_service.url, **limits}
    for start in starter(tmp_path_factory.mktemp("impatient")):
        yield start(env=env)


def only_item(tracker: Tracker, cart_id: str) -> dict[str, object]:
    (item,) = tracker.get_items(cart_id)
    return item


def test_without_the_url_nothing_is_reserved(tracker: Tracker, shared_database: Database) -> None:
    cart_id = cart_of(tracker.post_items({"product_id": "a"}))
    shared_database.wait_for_items(cart_id)
    shown = only_item(tracker, cart_id)
    assert (shown["reservation_id"], shown["reservation_status"]) == (None, "none")
    assert jobs(shared_database) == 0


@pytest.mark.parametrize("path", ["/item", "/items", "/api/v1/items"])
def test_an_item_is_reserved_however_it_came(
    reserving: Tracker, database: Database, service: Service, path: str
) -> None:
    cart_id = str(uuid.uuid4())
    body = {"external_id": f"of {path}", "product_id": f"of {path}", "name": "Mug", "quantity": 3}
    reserving.client.post(path, json=body, headers={"Cookie": f"cart_id={cart_id}"}).raise_for_status()
    assert only_item(reserving, cart_id)["reservation_status"] in {"pending", "reserved"}
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "reserved")
    key = str(database.fetch("SELECT key FROM reservations")[0]["key"])
    calls = service.calls()
    assert (calls.called[key], calls.granted[key]) == (1, 1)
    assert (calls.asked[key].item, calls.asked[key].quantity) == (f"of {path}", 3)
    assert isinstance(only_item(reserving, cart_id)["reservation_id"], int)
    wait_until(lambda: jobs(database) == 0)


def test_an_id_that_is_a_text_is_shown_as_one(reserving: Tracker, service: Service) -> None:
    service.behave(answer="text")
    cart_id = cart_of(reserving.post_items({"product_id": "a"}))
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "reserved")
    assert str(only_item(reserving, cart_id)["reservation_id"]).startswith("R-")


def test_another_quantity_is_asked_for_anew_and_the_same_one_is_not(
    reserving: Tracker, database: Database, service: Service
) -> None:
    cart_id = cart_of(reserving.post_items({"product_id": "a", "quantity": 1}))
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "reserved")
    first = only_item(reserving, cart_id)["reservation_id"]
    reserving.post_items({"product_id": "a", "quantity": 1, "name": "Mug"}, cart_id)
    wait_until(lambda: only_item(reserving, cart_id)["name"] == "Mug")
    assert only_item(reserving, cart_id)["reservation_id"] == first
    reserving.post_items({"product_id": "a", "quantity": 2}, cart_id)
    wait_until(lambda: only_item(reserving, cart_id)["reservation_id"] not in {None, first})
    row = database.fetch("SELECT key, quantity FROM reservations")[0]
    assert row["quantity"] == service.calls().asked[str(row["key"])].quantity == 2


def test_another_quantity_while_the_first_is_pending_is_the_one_that_counts(
    reserving: Tracker, database: Database, service: Service
) -> None:
    service.behave(delay=1.0)
    cart_id = cart_of(reserving.post_items({"product_id": "a", "quantity": 1}))
    database.wait_for_items(cart_id)
    time.sleep(0.3)
    reserving.post_items({"product_id": "a", "quantity": 5}, cart_id)
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "reserved")
    row = database.fetch("SELECT key, quantity FROM reservations")[0]
    asked = service.calls().asked
    assert asked[str(row["key"])].quantity == row["quantity"] == 5


def test_an_item_removed_before_it_was_asked_for_is_not_reserved(
    start_tracker: StartTracker, database: Database, service: Service
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url}
    web = start_tracker(env=env | {"TRACKER_JOBS": "off"})
    cart_id = cart_of(web.post_items({"product_id": "removed"}))
    web.post_items({"product_id": "kept"}, cart_id)
    wait_until(lambda: len(statuses(database)) == 2)
    web.post_items({"product_id": "removed", "quantity": 0}, cart_id)
    wait_until(lambda: statuses(database) == {"removed": "canceled", "kept": "pending"})
    assert jobs(database) == 2
    start_tracker(env=env)
    wait_until(lambda: jobs(database) == 0)
    assert statuses(database) == {"removed": "canceled", "kept": "reserved"}
    keys = {str(row["key"]) for row in database.fetch("SELECT key FROM reservations WHERE status = 'canceled'")}
    assert not keys & service.calls().called.keys()


def test_an_item_put_back_into_the_cart_is_reserved_again(reserving: Tracker, database: Database) -> None:
    cart_id = cart_of(reserving.post_items({"product_id": "a", "quantity": 1}))
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "reserved")
    first = only_item(reserving, cart_id)["reservation_id"]
    reserving.post_items({"product_id": "a", "quantity": 0}, cart_id)
    wait_until(lambda: statuses(database) == {"a": "canceled"})
    assert reserving.get_items(cart_id) == []
    reserving.post_items({"product_id": "a", "quantity": 1}, cart_id)
    assert only_item(reserving, cart_id)["reservation_status"] in {"pending", "reserved"}
    wait_until(lambda: only_item(reserving, cart_id)["reservation_id"] not in {None, first})


def test_a_job_that_the_queue_has_put_aside_is_put_back(
    start_tracker: StartTracker, database: Database, service: Service, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url}
    start_tracker(env=env | {"TRACKER_JOBS": "off"}).post_items({"product_id": "a"})
    wait_until(lambda: jobs(database) == 1)
    database.fetch("UPDATE pgqueuer SET status = 'failed'")
    with worker(env, tmp_path):
        wait_until(lambda: statuses(database) == {"a": "reserved"})


def test_what_fails_again_while_it_is_retried_is_not_chased(database: Database) -> None:
    insert = "INSERT INTO reservations (cart_id, external_id, quantity, key, status, updated_at)"
    row = "gen_random_uuid(), n::text, 1, gen_random_uuid(), 'failed', now()"
    database.fetch(f"{insert} SELECT {row} FROM generate_series(1, 5) n")
    database.fetch(f"{insert} SELECT {row} + interval '1 h' FROM (VALUES ('later')) later (n)")
    done = run_tracker("reservations", "retry", env={"DATABASE_URL": database.url})
    assert done.stdout == "5 reservations are asked for again\n"
    assert jobs(database) == 5
    assert statuses(database)["later"] == "failed"


def test_the_log_of_the_queue_does_not_grow_for_ever(database: Database, service: Service, tmp_path: Path) -> None:
    columns, values = (
        "created, job_id, status, priority, entrypoint",
        "now() - interval '2 h', 1, 'successful', 0, 'reserve'",
    )
    database.fetch(f"INSERT INTO pgqueuer_log ({columns}) VALUES ({values})")
    with worker({"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url}, tmp_path):
        wait_until(lambda: not database.fetch("SELECT 1 FROM pgqueuer_log WHERE created < now() - interval '1 h'"))


@pytest.mark.parametrize(
    ("behavior", "reason"),
    [
        ({"answer": "no-id"}, "missing required field `reservation_id`"),
        ({"answer": "wrong-type"}, "reservation_id"),
        ({"answer": "nul"}, "NUL"),
        ({"answer": "nested"}, "cannot be used"),
        ({"answer": "html"}, "larger than 65536 bytes"),
        ({"answer": "redirect"}, "307"),
        ({"fail_rate": 1.0, "fail_status": 503}, "503"),
        ({"delay": 5.0}, "in time"),
    ],
)
def test_an_answer_that_cannot_be_used_is_a_failed_attempt_with_its_reason(
    impatient: Tracker, impatient_database: Database, service: Service, behavior: dict[str, object], reason: str
) -> None:
    service.behave(**behavior)
    cart_id = cart_of(impatient.post_items({"product_id": "a"}))
    wait_until(lambda: only_item(impatient, cart_id)["reservation_status"] == "failed")
    assert only_item(impatient, cart_id)["reservation_id"] is None
    (row,) = impatient_database.fetch("SELECT * FROM reservations WHERE cart_id = $1", cart_id)
    assert row["attempts"] == 2
    assert reason in row["error"]


def test_failed_reservations_are_listed_and_asked_for_again(
    start_tracker: StartTracker, database: Database, service: Service
) -> None:
    service.behave(fail_rate=1.0, fail_status=422)
    env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url}
    tracker = start_tracker(env=env)
    cart_id = cart_of(tracker.post_items({"product_id": "a"}))
    wait_until(lambda: only_item(tracker, cart_id)["reservation_status"] == "failed")
    assert "422" in run_tracker("reservations", "list", env=env).stdout
    service.behave()
    assert run_tracker("reservations", "retry", env=env).stdout == "1 reservations are asked for again\n"
    wait_until(lambda: only_item(tracker, cart_id)["reservation_status"] == "reserved")
    assert run_tracker("reservations", "list", env=env).stdout == ""


def test_a_refusal_is_final_at_once(reserving: Tracker, database: Database, service: Service) -> None:
    service.behave(fail_rate=1.0, fail_status=422)
    cart_id = cart_of(reserving.post_items({"product_id": "a"}))
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "failed")
    assert database.fetch("SELECT attempts FROM reservations")[0]["attempts"] == 1


def test_too_many_requests_is_asked_again_not_before_it_is_time(
    reserving: Tracker, database: Database, service: Service
) -> None:
    service.behave(fail_rate=1.0, fail_status=429, retry_after=2)
    started = time.monotonic()
    cart_id = cart_of(reserving.post_items({"product_id": "a"}))
    wait_until(lambda: database.fetch("SELECT 1 FROM reservations WHERE error IS NOT NULL"))
    service.behave()
    wait_until(lambda: only_item(reserving, cart_id)["reservation_status"] == "reserved")
    assert time.monotonic() - started >= 2


def test_a_rollback_leaves_neither_reservation_nor_job(database: Database) -> None:
    follow_up = follow_up_of(settings_of(reservation_url="http://127.0.0.1:9/reserve"))
    assert follow_up is not None

    async def fail_afterwards(connection: AsyncConnection, written: Sequence[Written], traces: ItemTraces) -> None:
        await follow_up.written(connection, written, traces)
        raise OSError("the commit does not come")

    async def main() -> None:
        engine = create_engine(database.url)
        writer = BatchWriter(engine, follow_up._replace(written=fail_afterwards))
        try:
            with pytest.raises(OSError, match="does not come"):
                await writer.write({(new_cart_id(), "a"): Item(1)})
        finally:
            await engine.dispose()

    asyncio.run(main())
    assert database.fetch("SELECT * FROM items") == []
    assert statuses(database) == {}
    assert jobs(database) == 0


def test_worker_runs_the_jobs_of_a_service_that_does_not(
    start_tracker: StartTracker, database: Database, service: Service, tmp_path: Path
) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_RESERVATION_URL": service.url}
    web = start_tracker(env=env | {"TRACKER_JOBS": "off"})
    cart_id = cart_of(web.post_items({"product_id": "a"}))
    database.wait_for_items(cart_id)
    time.sleep(0.5)
    assert only_item(web, cart_id)["reservation_status"] == "pending"
    with worker(env, tmp_path) as process:
        wait_until(lambda: only_item(web, cart_id)["reservation_status"] == "reserved")
        process.terminate()
        assert process.wait(30) == 0


@pytest.mark.parametrize("url", ["nonsense", "ftp://host/reserve"])
def test_a_url_that_is_none_is_refused_at_the_start(url: str) -> None:
    done = run_tracker("serve", env={"TRACKER_RESERVATION_URL": url})
    assert done.returncode == 1
    assert "TRACKER_RESERVATION_URL" in done.stderr


def test_the_documentation_shows_what_a_reader_gets(tracker: Tracker) -> None:
    schema = httpx.get(f"{tracker.url}/docs/openapi.json", timeout=30).json()
    shown = schema["components"]["schemas"]["ItemOut"]["properties"]
    assert {"reservation_id", "reservation_status"} <= shown.keys()

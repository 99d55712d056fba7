"""Warranties over HTTP: created, shown, listed; every rule; many at once."""

import asyncio
import contextlib
import json
import re
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import aiohttp
import httpx
import pytest

from tests.conftest import Database, StartTracker, Tracker
from tests.support.parts import transaction
from tests.support.waiting import wait_until

SOFA: Final = {
    "store_uuid": "b21ad0676f26439",
    "item_type": "furniture",
    "item_sku": "986kjeo8fy9qhu",
    "item_cost": 150.0,
    "item_title": "Amy's Sectional Sofa",
}
"""The example of the document that this is built after."""

JSON: Final = {"Content-Type": "application/json"}


def sale(store: str, **changes: object) -> dict[str, object]:
    return {**SOFA, "store_uuid": store, **changes}


def create(tracker: Tracker, store: str, *, key: str | None = None, **changes: object) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    answer = tracker.client.post("/warranties", json=sale(store, **changes), headers=headers)
    assert answer.status_code == 201, answer.text
    warranty: dict[str, Any] = answer.json()
    return warranty


def listed(tracker: Tracker, **query: str) -> list[dict[str, Any]]:
    answer = tracker.client.get("/warranties", params=query)
    assert answer.status_code == 200, answer.text
    warranties: list[dict[str, Any]] = answer.json()
    return warranties


def of_item(store: str) -> dict[str, str]:
    return {"sku": "986kjeo8fy9qhu", "item_type": "furniture", "store_uuid": store}


def test_the_example_of_the_document_gives_its_warranty(tracker: Tracker) -> None:
    answer = tracker.client.post("/warranties", json=SOFA)
    assert answer.status_code == 201
    warranty = answer.json()
    assert answer.headers["location"] == f"/warranties/{warranty['id']}"
    assert {name: warranty[name] for name in SOFA} == SOFA
    assert (warranty["term_months"], warranty["price"]) == (24, 1500)
    assert re.fullmatch(r"2026-11-[0-9a-f]{8}", warranty["terms_version"])
    assert tracker.client.get(answer.headers["location"]).json() == warranty
    assert warranty in listed(tracker, **of_item("b21ad0676f26439"))
    assert warranty in listed(tracker)


def test_store_and_item_are_created_once_and_the_item_is_as_it_was_last_told(
    tracker: Tracker, shared_database: Database
) -> None:
    first = create(tracker, "once", item_sku="once-1", item_title="Old", item_cost=10)
    again = create(tracker, "once", item_sku="once-1", item_title="New", item_cost=20.5)
    other = create(tracker, "once", item_sku="once-1", item_type="toy", item_title="Toy")
    assert len(shared_database.fetch("SELECT 1 FROM stores WHERE store_uuid = 'once'")) == 1
    rows = shared_database.fetch(
        "SELECT item_type, item_title, item_cost FROM warranty_items WHERE item_sku = 'once-1' ORDER BY item_type"
    )
    assert [tuple(row.values()) for row in rows] == [("furniture", "New", 2050), ("toy", "Toy", 15000)]
    shown = [tracker.client.get(f"/warranties/{one['id']}").json() for one in (first, again, other)]
    assert shown == [first, again, other]
    assert [(one["item_title"], one["item_cost"]) for one in shown] == [("Old", 10), ("New", 20.5), ("Toy", 150)]


@pytest.mark.parametrize("field", list(SOFA))
def test_every_field_is_required(tracker: Tracker, field: str) -> None:
    answer = tracker.client.post("/warranties", json={name: value for name, value in SOFA.items() if name != field})
    assert answer.status_code == 400
    assert (answer.json()["field"], answer.json()["rule"]) == (field, "is required")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("store_uuid", value) for value in ("", "x" * 65, "a b", "a\n", "ä", 7, None, ["a"])),
        *(("item_type", value) for value in ("", "x" * 256, "ä" * 128, "a\0b", 7, None)),
        *(("item_sku", value) for value in ("", "x" * 256, "\0", 7, None)),
        *(("item_title", value) for value in ("", "x" * 2049, "a\0", 7, None)),
        ("item_title", {"text": "Sofa"}),
        *(("item_cost", value) for value in (-1, -0.01, 1.001, 10**13, 1e300)),
        *(("item_cost", value) for value in ("150", "", None, True)),
        ("item_cost", [150]),
    ],
)
def test_a_value_that_breaks_its_rule_is_refused_by_name(tracker: Tracker, field: str, value: object) -> None:
    answer = tracker.client.post("/warranties", json={**SOFA, field: value})
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["field"] == field
    assert answer.json()["rule"].startswith("must ")


@pytest.mark.parametrize("cost", ["NaN", "Infinity", "-Infinity", "01", "1.", ".5", "1e", "0x10", "+1"])
def test_a_cost_that_is_not_json_is_refused(tracker: Tracker, cost: str) -> None:
    body = json.dumps(SOFA).replace("150.0", cost)
    answer = tracker.client.post("/warranties", content=body, headers=JSON)
    assert answer.status_code == 400
    assert "the body must be valid JSON" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("written", "cost"),
    [("150", 150), ("1.5e2", 150), ("0.01", 0.01), ("0", 0), ("9999999999999.99", 9999999999999.99), ("150.000", 150)],
)
def test_a_cost_is_kept_to_the_cent(tracker: Tracker, written: str, cost: float) -> None:
    body = json.dumps(SOFA).replace("150.0", written)
    answer = tracker.client.post("/warranties", content=body, headers=JSON)
    assert answer.status_code == 201, answer.text
    assert answer.json()["item_cost"] == cost


def test_texts_may_be_as_long_as_their_rules_say(tracker: Tracker) -> None:
    longest = {"item_type": "ä" * 127, "item_sku": "🛋" * 63, "item_title": "x" * 2048}
    warranty = create(tracker, "-" * 64, **longest)
    assert {name: warranty[name] for name in longest} == longest
    query = {"sku": longest["item_sku"], "item_type": longest["item_type"], "store_uuid": "-" * 64}
    assert warranty in listed(tracker, **query)


def test_the_same_key_of_the_same_store_gives_the_same_warranty(tracker: Tracker) -> None:
    first = create(tracker, "keys-a", key="k")
    assert create(tracker, "keys-a", key="k") == first
    assert create(tracker, "keys-b", key="k")["id"] != first["id"]
    assert create(tracker, "keys-a")["id"] != first["id"]
    assert len(listed(tracker, **of_item("keys-a"))) == 2


@pytest.mark.parametrize("change", [{"item_cost": 151}, {"item_title": "Else"}, {"item_sku": "x"}, {"item_type": "x"}])
def test_a_key_that_comes_with_another_sale_is_refused(
    tracker: Tracker, shared_database: Database, change: dict[str, object]
) -> None:
    first = create(tracker, "other", key="other", item_sku="kept")
    answer = tracker.client.post(
        "/warranties", json=sale("other", **({"item_sku": "kept"} | change)), headers={"Idempotency-Key": "other"}
    )
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert create(tracker, "other", key="other", item_sku="kept") == first
    kept = shared_database.fetch("SELECT item_title, item_cost FROM warranty_items WHERE item_sku = 'kept'")
    assert [tuple(row.values()) for row in kept] == [("Amy's Sectional Sofa", 15000)]


@pytest.mark.parametrize("key", ["", "a b", "ä", "x" * 256])
def test_a_key_that_is_not_valid_is_refused_by_name(tracker: Tracker, key: str) -> None:
    answer = tracker.client.post("/warranties", json=SOFA, headers={b"Idempotency-Key": key.encode()})
    assert answer.status_code == 400
    assert answer.json()["field"] == "Idempotency-Key"


def test_a_key_that_comes_many_times_at_once_makes_one_warranty(tracker: Tracker) -> None:
    with ThreadPoolExecutor(16) as pool:
        made = list(pool.map(lambda _: create(tracker, "rush", key="rush"), range(64)))
    assert all(one == made[0] for one in made)
    assert listed(tracker, **of_item("rush")) == [made[0]]


@pytest.mark.parametrize(
    "given", [("sku",), ("item_type",), ("store_uuid",), ("sku", "store_uuid"), ("item_type", "sku")]
)
def test_the_filter_needs_all_three_and_names_those_that_are_missing(tracker: Tracker, given: tuple[str, ...]) -> None:
    query = {name: value for name, value in of_item("any").items() if name in given}
    answer = tracker.client.get("/warranties", params=query)
    assert answer.status_code == 400
    missing = [name for name in ("sku", "item_type", "store_uuid") if name not in given]
    assert answer.json()["field"] == missing[0]
    assert f"missing: {', '.join(missing)}" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"sku": ""}, "sku"),
        ({"sku": "x" * 256}, "sku"),
        ({"item_type": "\0"}, "item_type"),
        ({"store_uuid": "a b"}, "store_uuid"),
        ({"store_uuid": ""}, "store_uuid"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"after": "x"}, "after"),
        ({"item_sku": "x"}, "item_sku"),
        ({"sku": ["a", "b"]}, "sku"),
        ({"limit": ["1", "2"]}, "limit"),
    ],
)
def test_a_parameter_that_breaks_its_rule_is_refused_by_name(
    tracker: Tracker, query: dict[str, str | list[str]], field: str
) -> None:
    answer = tracker.client.get("/warranties", params={**of_item("any"), **query})
    assert answer.status_code == 400
    assert answer.json()["field"] == field


@pytest.mark.parametrize("warranty_id", ["x", "00000000-0000-7000-8000-000000000000", "%00", "a" * 300])
def test_a_warranty_that_there_is_not_is_not_found(tracker: Tracker, warranty_id: str) -> None:
    answer = tracker.client.get(f"/warranties/{warranty_id}")
    assert answer.status_code == 404


def pages(tracker: Tracker, **query: str) -> list[list[dict[str, Any]]]:
    """Follow the links from page to page."""
    answer = tracker.client.get("/warranties", params=query)
    found = [answer.json()]
    while "link" in answer.headers:
        link = re.fullmatch(r'<(.*)>; rel="next"', answer.headers["link"])
        assert link, answer.headers["link"]
        answer = tracker.client.get(link[1])
        assert answer.status_code == 200, answer.text
        found.append(answer.json())
    return found


def test_pages_follow_each_other_by_their_links(tracker: Tracker) -> None:
    sku = {"item_sku": "a&b=c d%/ä", "item_type": "t?x"}
    made = [create(tracker, "pages", **sku) for _ in range(5)]
    query = {"sku": "a&b=c d%/ä", "item_type": "t?x", "store_uuid": "pages"}
    assert pages(tracker, **query, limit="2") == [made[:2], made[2:4], made[4:]]
    assert pages(tracker, **query, limit="5") == [made]
    assert pages(tracker, **query, after=made[3]["id"]) == [made[4:]]
    assert pages(tracker, **query, after=made[4]["id"]) == [[]]
    everything = [warranty for page in pages(tracker, limit="3") for warranty in page]
    assert [warranty for warranty in everything if warranty["store_uuid"] == "pages"] == made


def test_an_empty_list_is_an_empty_array(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    assert tracker.client.get("/warranties").text == "[]"
    assert listed(tracker, **of_item("nobody")) == []
    assert pages(tracker, limit="1") == [[]]


def test_of_what_two_workers_get_at_once_each_store_item_and_key_is_there_once(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker("--workers", "2", env={"DATABASE_URL": database.url})

    async def post_all() -> list[dict[str, Any]]:
        async def post(number: int) -> dict[str, Any]:
            request = sale(f"store-{number % 4}", item_sku=f"sku-{number % 5}", item_cost=number)
            async with session.post("/warranties", json=request, headers={"Idempotency-Key": str(number)}) as answer:
                assert answer.status == 201, await answer.text()
                warranty: dict[str, Any] = await answer.json()
                return warranty

        connector = aiohttp.TCPConnector(limit=60, force_close=True)  # so that both workers get some of each
        async with aiohttp.ClientSession(tracker.url, connector=connector) as session:
            return await asyncio.gather(*(post(number % 100) for number in range(300)))

    made = asyncio.run(post_all())
    assert made[:100] == made[100:200] == made[200:]
    counts = {
        table: database.fetch(f"SELECT count(*) AS count FROM {table}")[0]["count"]
        for table in ("stores", "warranty_items", "warranties")
    }
    assert counts == {"stores": 4, "warranty_items": 5, "warranties": 100}
    assert sorted(listed(tracker), key=lambda one: one["item_cost"]) == made[:100]


def test_the_latest_of_many_at_once_says_what_an_item_is(tracker: Tracker, shared_database: Database) -> None:
    def post(number: int) -> dict[str, Any]:
        return create(tracker, "latest", item_sku=f"latest-{number % 5}", item_cost=number)

    with ThreadPoolExecutor(16) as pool:
        made = sorted(pool.map(post, range(200)), key=lambda one: one["created_at"])
    rows = shared_database.fetch("SELECT item_sku, item_cost FROM warranty_items WHERE item_sku LIKE 'latest-%'")
    assert {row["item_sku"]: row["item_cost"] / 100 for row in rows} == {
        one["item_sku"]: one["item_cost"] for one in made
    }


def multiply(database: Database, *, title_bytes: int) -> None:
    """Store 20,000 copies of the one warranty that there is, with long titles."""
    database.fetch(
        "INSERT INTO warranties SELECT ('01000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, store_uuid,"
        " item_type, item_sku, repeat('x', $1), item_cost, term_months, price, terms_version, created_at"
        " FROM warranties, generate_series(1, 20000) AS n",
        title_bytes,
    )


def test_the_whole_list_is_streamed_while_warranties_are_created(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    create(tracker, "before")
    multiply(database, title_bytes=1000)
    stop = threading.Event()
    created = []

    def go_on_creating() -> None:
        while not stop.is_set():
            created.append(create(tracker, "meanwhile"))

    creator = threading.Thread(target=go_on_creating)
    pieces = []
    with tracker.client.stream("GET", "/warranties") as answer:
        creator.start()
        for piece in answer.iter_bytes():
            pieces.append(piece)
            if len(pieces) == 1:
                time.sleep(0.5)  # a reader who takes its time
    stop.set()
    creator.join()
    found = json.loads(b"".join(pieces))
    ids = [warranty["id"] for warranty in found]
    assert ids == sorted(set(ids))
    assert sum(warranty["store_uuid"] == "before" for warranty in found) == 20001
    assert created
    assert len(found) < 20001 + len(created)


def test_the_list_is_cut_off_and_not_ended_when_postgres_goes_away(
    start_tracker: StartTracker, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    create(tracker, "cut")
    multiply(database, title_bytes=2000)

    def read_with_a_lock() -> None:
        with tracker.client.stream("GET", "/warranties") as answer:
            assert answer.status_code == 200
            parts = answer.iter_bytes()
            next(parts)
            with transaction(database.url, "LOCK TABLE warranties IN ACCESS EXCLUSIVE MODE"):
                for _ in parts:
                    pass

    with pytest.raises(httpx.RemoteProtocolError):
        read_with_a_lock()
    assert tracker.client.get("/warranties", params={"limit": "1"}).status_code == 200
    assert tracker.stop() == 0
    said = capfd.readouterr().err
    assert '"an answer was cut off", "reason": "the database does not answer in time"' in said
    assert "Traceback" not in said


def test_without_an_answer_of_postgres_in_time_it_is_503_and_a_repeat_makes_one(
    start_tracker: StartTracker, database: Database
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    with transaction(database.url, "LOCK TABLE warranties IN ACCESS EXCLUSIVE MODE"):
        answer = tracker.client.post("/warranties", json=SOFA, headers={"Idempotency-Key": "later"})
        assert answer.status_code == 503
        assert answer.headers["retry-after"]
        assert tracker.client.get("/warranties").status_code == 503
        assert tracker.post_item({"external_id": "unharmed"}).status_code == 204
        assert tracker.client.post("/warranties", json=sale("given-up")).status_code == 503
    first = create(tracker, "b21ad0676f26439", key="later")
    assert create(tracker, "b21ad0676f26439", key="later") == first
    kept = [one for one in listed(tracker) if one["store_uuid"] != "given-up"]
    assert kept == [first]
    assert len(listed(tracker, **of_item("given-up"))) <= 1  # that of the group which was in hand when the lock ended


def test_the_log_says_nothing_of_a_warranty_that_postgres_refuses(
    start_tracker: StartTracker, database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    database.fetch("ALTER TABLE warranties ADD CHECK (item_title <> 'secret title')")
    refused = tracker.client.post("/warranties", json=sale("refused", item_title="secret title"))
    assert refused.status_code == 400
    create(tracker, "refused")
    database.fetch("ALTER TABLE warranties RENAME COLUMN price TO cents")
    assert tracker.client.post("/warranties", json=sale("refused", item_title="secret title")).status_code == 503
    assert tracker.stop() == 0
    said = capfd.readouterr().err
    assert "PostgreSQL refuses a warranty" in said
    assert "PostgreSQL refuses a request" in said
    assert "secret" not in said


def test_only_so_many_whole_lists_are_read_at_a_time(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    create(tracker, "many")
    multiply(database, title_bytes=2000)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(tracker.client.stream("GET", "/warranties")) for _ in range(40)]
        assert {reader.status_code for reader in readers} == {200, 503}
    wait_until(lambda: tracker.client.get("/warranties", params={"limit": "1"}).status_code == 200)
    wait_until(lambda: is_whole(tracker))


def is_whole(tracker: Tracker) -> bool:
    with tracker.client.stream("GET", "/warranties") as answer:
        return answer.status_code == 200

"""The warranties' fast lane and the route are one and the same: same answers, same headers, same rows."""

import asyncio
import contextlib
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from tests.conftest import Database, StartTracker
from tests.support.clock import ManualClock
from tests.support.fast_lanes import CountedLanes, Sent, Ways, counted, serving, two_ways
from tests.support.parts import transaction, wait_for_lock
from tracker.errors import DatabaseUnavailableError, InvalidInputError, UnavailableError
from tracker.features.warranties import service
from tracker.features.warranties.service import Warranties
from tracker.kit.origins import Hosts, Origins
from tracker.settings import Ack

SALE: Final = {
    "store_uuid": "b21ad0676f26439",
    "item_type": "furniture",
    "item_sku": "986kjeo8fy9qhu",
    "item_cost": 150.0,
    "item_title": "Amy's “Sectional” Sofa",
}


def body(**changes: object) -> bytes:
    return json.dumps({**SALE, **changes}).encode()


def without(name: str) -> bytes:
    return json.dumps({field: value for field, value in SALE.items() if field != name}).encode()


KEPT: Final[list[tuple[str, dict[str, str], bytes]]] = [
    ("201", {}, body()),
    ("201", {"x-request-id": "abc-1.2/3"}, body(item_cost=0.01, more=[1])),
    ("201", {"content-type": "text/plain;charset=UTF-8"}, body(item_cost=9999999999999.99)),
    ("201", {"idempotency-key": "one"}, body(item_title="kept")),
    ("201", {"idempotency-key": "one"}, body(item_title="kept")),
    ("201", {"idempotency-key": "null"}, body()),
    ("201", {"idempotency-key": " \t~!two "}, body()),
    ("201", {"idempotency-key": "one"}, body(item_title="kept", store_uuid="another")),
    ("422", {"idempotency-key": "one"}, body(item_title="another")),
    ("422", {"idempotency-key": "~!two", "x-request-id": "no good id"}, body(item_cost=3)),
]
"""What the lane answers, with its status, in this order."""

LEFT: Final[list[tuple[str, dict[str, str], bytes]]] = [
    ("400", {}, b""),
    ("400", {}, b"{"),
    ("400", {}, b"[1]"),
    ("400", {}, b'{"store_uuid": "\xff"}'),
    ("400", {}, b"[" * 9000),
    *(("400", {}, without(name)) for name in SALE),
    ("400", {}, body(store_uuid="a b")),
    ("400", {}, body(item_sku="")),
    ("400", {}, body(item_type="\0")),
    ("400", {}, body(item_title="é" * 1025)),
    ("400", {}, body(item_cost="150")),
    ("400", {}, body(item_cost=0.001)),
    ("400", {"idempotency-key": ""}, body()),
    ("400", {"idempotency-key": "a b"}, body()),
    ("400", {"idempotency-key": "k" * 256}, body()),
    ("400", {"host": "elsewhere.example"}, body()),
    ("403", {"origin": "https://evil.example"}, body()),
    ("413", {}, body(item_title="x" * 70_000)),
    ("415", {"content-type": "text/html"}, body()),
    ("201", {"content-type": "APPLICATION/JSON"}, body()),
    ("201", {"x-filler": "x"}, body(more="x" * 10_000)),
]
"""What it leaves to the route."""

GUARDED: Final[dict[str, Any]] = {
    "allowed_origins": Origins("https://shop.example"),
    "allowed_hosts": Hosts("localhost"),
}


@pytest.fixture
def databases(database: Database, shared_database: Database) -> list[Database]:
    shared_database.fetch("TRUNCATE warranties, warranty_items, stores, pgqueuer")
    return [database, shared_database]


@pytest.fixture
def ways(databases: list[Database], tmp_path: Path) -> Iterator[Ways]:
    CountedLanes.taken = 0
    with two_ways(databases, tmp_path, Ack.JOURNAL, counted, ManualClock(1_000_000), **GUARDED) as ways:
        yield ways


def sent(headers: dict[str, str], body: bytes, *pieces: bytes, method: str = "POST", path: str = "/warranties") -> Sent:
    named = {"host": "localhost", "content-type": "application/json", **headers}
    lines = [(name.encode(), value.encode()) for name, value in named.items()]
    return Sent(method, path, lines, [body, *pieces], chunked=False)


def without_new_ids(answer: bytes) -> bytes:
    """Return an answer with the ids replaced that the server has made, as each is another one."""
    answer = re.sub(rb"(?<=x-request-id: )[0-9a-f]{32}(?=\r\n)", b"NEW", answer)
    return re.sub(rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", b"ID", answer)


def rows(database: Database) -> list[dict[str, Any]]:
    """Return what was created, without the random part of the ids."""
    found = database.fetch("SELECT * FROM warranties ORDER BY id")
    for row in found:
        row["id"] = str(row["id"])[:18]
    return found


def check(ways: Ways, requests: Sequence[tuple[str, Sent]]) -> None:
    for status, request in requests:
        by_route, by_lane = ways.both(request)
        assert without_new_ids(by_lane) == without_new_ids(by_route), request
        assert by_route[9:12].decode() == status, by_route


def test_both_ways_create_the_same_in_the_same_words(databases: list[Database], ways: Ways) -> None:
    requests = [(status, sent({**headers, **more}, body)) for more in ({}, {"origin": "https://shop.example"})
                for status, headers, body in KEPT]  # fmt: skip
    check(ways, requests)
    assert CountedLanes.taken == len(requests)
    stored = rows(databases[0])
    assert len(stored) == 7 + 3  # the second time only those without a key
    assert rows(databases[1]) == stored


def test_both_ways_refuse_the_same_in_the_same_words(databases: list[Database], ways: Ways) -> None:
    requests = [(status, sent(headers, body)) for status, headers, body in LEFT]
    twice = sent({}, body())._replace(headers=[*sent({}, b"").headers, *[(b"idempotency-key", b"a")] * 2])
    requests += [
        ("201", twice),
        ("405", sent({}, body(), method="PUT")),
        ("201", sent({}, body(), path="/warranties/")),
        ("201", sent({}, body(), path="/warranties?a=b")),
        ("201", sent({}, body(), path="/%77arranties")),
    ]
    check(ways, requests)
    assert CountedLanes.taken == 0
    assert rows(databases[1]) == rows(databases[0])


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("error", [DatabaseUnavailableError("away"), InvalidInputError("", "is refused")])
def test_both_ways_say_in_the_same_words_what_the_database_says(
    ways: Ways, monkeypatch: pytest.MonkeyPatch, error: Exception, *, later: bool
) -> None:
    def create(*_: object) -> asyncio.Future[None]:
        if not later:
            raise error
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, error)
        return future

    monkeypatch.setattr(Warranties, "create", create)
    check(ways, [("503" if isinstance(error, UnavailableError) else "400", sent({}, body()))])
    assert CountedLanes.taken == (later or isinstance(error, UnavailableError))


def test_a_body_may_come_in_pieces(ways: Ways) -> None:
    check(ways, [("201", sent({}, body()[:10], body()[10:]))])
    assert CountedLanes.taken == 1


def test_who_waits_for_a_database_that_does_not_answer_is_told_in_time(
    databases: list[Database], ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "TRANSACTION_TIMEOUT_S", 0.5)
    with contextlib.ExitStack() as stack:
        for database in databases:
            stack.enter_context(transaction(database.url, "LOCK stores IN ACCESS EXCLUSIVE MODE"))
        by_route, by_lane = ways.both(sent({}, body()))
    assert without_new_ids(by_lane) == without_new_ids(by_route)
    assert by_lane.startswith(b"HTTP/1.1 503")
    assert b"has not confirmed the warranty in time" in by_lane
    assert CountedLanes.taken == 1


def test_what_is_sent_at_once_is_answered_in_its_order(database: Database, tmp_path: Path) -> None:
    def post(number: int) -> bytes:
        sale = body(item_title=f"title {number}", item_cost="odd" if number % 3 == 2 else number)
        return b"POST /warranties HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(sale) + sale

    async def main() -> list[str]:
        async with serving(database, tmp_path, Ack.JOURNAL, counted) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"".join(map(post, range(12))))
            found = []
            for _ in range(12):
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                assert length is not None
                answer = json.loads(await reader.readexactly(int(length[1])))
                found.append(answer.get("item_title", answer.get("field")))
            writer.close()
            await writer.wait_closed()
            return found

    titles = [("item_cost" if number % 3 == 2 else f"title {number}") for number in range(12)]
    assert asyncio.run(main()) == titles


def test_who_waits_at_a_stop_is_told_so_and_nobody_is_cut_off(start_tracker: StartTracker, database: Database) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})

    async def main() -> httpx.Response:
        async with httpx.AsyncClient(base_url=tracker.url, timeout=30) as client:
            waiting = asyncio.create_task(client.post("/warranties", json=SALE))
            await asyncio.to_thread(wait_for_lock, database)
            tracker.process.terminate()
            return await waiting

    with transaction(database.url, "LOCK stores IN ACCESS EXCLUSIVE MODE"):
        answer = asyncio.run(main())
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"

"""The log of a real server, and the ids of its requests."""

import json
import re
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import Database, Tracker, cart_of, cookie, run_tracker
from tests.support.faults.wire import Server, serve
from tests.support.parts import transaction

INFO = {"TRACKER_LOG_LEVEL": "info"}

MADE = re.compile(r"[0-9a-f]{32}").fullmatch


def lines(server: Server) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in server.errors().splitlines()]
    for line in found:
        assert list(line)[:4] == ["timestamp", "level", "logger", "event"]
    return found


def client(server: Server) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{server.port}", timeout=30)


def test_a_server_says_when_it_starts_and_stops_and_with_what(database: Database, tmp_path: Path) -> None:
    with serve(database, tmp_path, env=INFO) as server:
        assert server.stop()[0] == 0
        started, stopping, stopped = (line for line in lines(server) if line["logger"] == "tracker.runtime.context")
    assert (started["event"], started["worker"], started["ack"]) == ("started", 0, "journal")
    assert (stopping["event"], stopping["items_in_hand"]) == ("stopping", 0)
    assert (stopped["event"], stopped["items_left"]) == ("stopped", 0)
    assert {line["level"] for line in lines(server)} == {"info"}


def test_nothing_of_a_request_gets_into_the_log(database: Database, tmp_path: Path) -> None:
    """Neither when all is well nor when PostgreSQL is away for a moment: no cart, cookie, token, body or query."""
    with serve(database, tmp_path, env=INFO) as server, client(server) as http:
        secrets = {"Authorization": "Bearer token-secret", "X-Other": "header-secret"}
        answer = http.post("/item", json={"external_id": "id-secret", "name": "name-secret"}, headers=secrets)
        cart_id = cart_of(answer)
        with transaction(database.url, "LOCK TABLE items IN ACCESS EXCLUSIVE MODE"):
            http.post("/item", json={"external_id": "id-secret", "value": 4711}, headers=cookie(cart_id) | secrets)
            failed = http.get(f"/items?cart_id={cart_id}&more=query-secret", headers=secrets)
            assert failed.status_code == 503
        http.put(f"/carts/{cart_id}/items/path-secret", json={"quantity": "body-secret"}, headers=secrets)
        assert server.stop()[0] == 0
        text = server.errors()
        (line,) = [line for line in lines(server) if "status" in line]
    assert set(database.items(cart_id)) == {"id-secret"}
    assert cart_id not in text
    assert "secret" not in text
    assert "4711" not in text
    assert (line["event"], line["method"], line["route"]) == ("a request has ended in a server error", "GET", "/items")
    assert line["status"] == 503
    assert line["duration_ms"] > 100
    assert line["request_id"] == failed.headers["x-request-id"]


def test_a_client_that_hangs_up_is_no_error_in_the_log(database: Database, tmp_path: Path) -> None:
    with serve(database, tmp_path) as server:
        head = b"POST /item HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: 100\r\n"
        for _ in range(5):
            with server.connect() as connection:
                connection.sendall(head + b"Expect: 100-continue\r\n\r\n")
                assert connection.recv(100).startswith(b"HTTP/1.1 100")  # the route has asked for the body
                connection.sendall(b'{"external_id":')
        assert server.stop()[0] == 0
        assert server.errors() == ""


def test_a_migration_says_from_where_to_where(empty_database: str) -> None:
    done = [run_tracker("migrate", env={"DATABASE_URL": empty_database}) for _ in range(2)]
    line = json.loads(done[0].stderr)
    assert (line["event"], line["before"]) == ("the schema is upgraded", None)
    assert line["now"]
    assert done[1].stderr == ""


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/item", {"external_id": "a"}),  # by the fast lane
        ("POST", "/items", {"product_id": "a"}),
        ("POST", "/item?by=route", {"external_id": "a"}),
        ("POST", "/item", {"external_id": 1}),
        ("GET", "/items", None),
        ("GET", "/health/live", None),
        ("DELETE", "/items", None),
        ("GET", "/nowhere", None),
        ("GET", "/me", None),
    ],
)
def test_every_answer_has_the_id_of_its_request(tracker: Tracker, method: str, path: str, body: object) -> None:
    for given in ("abc-1.2/3:4=~@+_", "x" * 128):
        answer = tracker.client.request(method, path, json=body, headers={"X-Request-ID": given})
        assert answer.headers.get_list("x-request-id") == [given]
    made = set()
    for unfit in (None, "", "x" * 129, "a b", "a\tb", "<script>", "ä"):
        headers = [] if unfit is None else [(b"X-Request-ID", unfit.encode())]
        answer = tracker.client.request(method, path, json=body, headers=headers)
        (one,) = answer.headers.get_list("x-request-id")
        assert MADE(one)
        made.add(one)
    assert len(made) == 7

"""What a request may be, and what a client gets that sends something else: an answer, never a line in the log."""

import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.support.faults.wire import (
    Server,
    answers_in,
    get,
    head,
    head_of,
    post,
    read_answer,
    read_to_end,
    reset,
    serve,
)

MAX_HEADER_BYTES = 16 * 1024
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture(scope="module")
def server(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve(shared_database, tmp_path_factory.mktemp("limits")) as server:
        yield server
        assert server.errors() == ""


@pytest.fixture
def cart_id() -> str:
    return str(uuid.uuid4())


def sliced(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def statuses(server: Server, *parts: bytes, pause_s: float = 0.0) -> list[int]:
    return [answer.status for answer in server.exchange(*parts, pause_s=pause_s)]


@pytest.mark.parametrize("piece", [1 << 20, 4000], ids=["at once", "in pieces"])
def test_headers_of_exactly_the_limit_are_accepted(server: Server, piece: int) -> None:
    request = head_of(MAX_HEADER_BYTES, "Connection: close")
    assert len(request) == MAX_HEADER_BYTES
    assert statuses(server, *sliced(request, piece), pause_s=0.03) == [200]


@pytest.mark.parametrize("piece", [1 << 20, 4000], ids=["at once", "in pieces"])
@pytest.mark.parametrize(
    "request_head",
    [
        pytest.param(head_of(MAX_HEADER_BYTES + 100), id="a long header"),
        pytest.param(head_of(MAX_HEADER_BYTES + 100)[:-4], id="a header without an end"),
        pytest.param(get("/health/live?" + "a" * MAX_HEADER_BYTES), id="a long URL"),
        pytest.param(get("/" + "a" * (MAX_HEADER_BYTES + 100))[: MAX_HEADER_BYTES + 50], id="a URL without an end"),
        pytest.param(get("/health/live", *["a: b"] * 3500), id="many small headers"),
        pytest.param(get("/health/live", *["a:"] * 6000), id="many empty headers"),
        pytest.param(get("/health/live", "a" * MAX_HEADER_BYTES + ": b"), id="a long name"),
    ],
)
def test_larger_headers_are_refused(server: Server, request_head: bytes, piece: int) -> None:
    (answer,) = server.exchange(*sliced(request_head, piece), pause_s=0.03)
    assert answer.status == 431
    assert answer.is_problem
    assert answer.headers["connection"] == "close"


def test_trailers_are_bounded_like_headers(server: Server, cart_id: str) -> None:
    body = b'{"external_id":"a"}'
    request = head("POST", "/item", f"Cookie: cart_id={cart_id}", CHUNKED) + b"%x\r\n%s\r\n0\r\n" % (len(body), body)
    assert statuses(server, request + b"X: a\r\n\r\n" + get("/health/live", close=True)) == [204, 200]
    endless = sliced(b"X: " + b"a" * MAX_HEADER_BYTES * 2, 8000)
    assert statuses(server, request, *endless, pause_s=0.03) == [431]


def test_a_trailer_is_no_header(server: Server, shared_database: Database, cart_id: str) -> None:
    body = b'{"external_id":"a"}'
    trailers = b"%x\r\n%s\r\n0\r\nCookie: cart_id=%s\r\n\r\n" % (len(body), body, cart_id.encode())
    (answer,) = server.exchange(head("POST", "/item", CHUNKED, "Connection: close") + trailers)
    assert answer.status == 204
    assert cart_id not in answer.headers["set-cookie"]
    assert shared_database.items(cart_id) == {}


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nName without a colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nName : b\r\n\r\n",
        b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n",
        b"POST /item HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"POST /item HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /item HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
        b"POST /item HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"POST /item HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /item HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /item HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}X",
        b"CONNECT tracker:80 HTTP/1.1\r\nHost: tracker\r\n\r\n",
        b"CONNECT /item HTTP/1.1\r\nHost: tracker\r\n\r\n",
    ],
    ids=repr,
)
def test_what_is_no_http_is_a_problem_and_the_end_of_the_connection(server: Server, request_bytes: bytes) -> None:
    (answer,) = server.exchange(request_bytes)
    assert answer.status == 400
    assert answer.is_problem
    assert answer.headers["connection"] == "close"


def test_garbage_behind_a_whole_request_does_not_cost_its_answer(server: Server, cart_id: str) -> None:
    assert statuses(server, post("a", cart_id) + post("b", cart_id) + b"GARBAGE\r\n\r\n") == [204, 204, 400]


def test_half_a_request_behind_a_whole_one_is_not_counted_with_its_body(server: Server, cart_id: str) -> None:
    large = b'{"external_id":"a"}' + b" " * 30_000
    second = post("b", cart_id, "Connection: close")
    assert statuses(server, post("a", cart_id, body=large) + second[:9], second[9:], pause_s=0.1) == [204, 204]


@pytest.mark.parametrize("piece", [1 << 20, 777, 61], ids=["at once", "in pieces", "in small pieces"])
def test_pipelined_requests_are_answered_in_order(server: Server, cart_id: str, piece: int) -> None:
    requests = [post(f"sku-{n}", cart_id) + get(f"/nothing/{n}") for n in range(25)]
    stream = b"".join([*requests, get("/items", f"Cookie: cart_id={cart_id}", close=True)])
    answers = server.exchange(*sliced(stream, piece), pause_s=0.002)
    assert [answer.status for answer in answers] == [204, 404] * 25 + [200]
    for n in range(25):
        assert b'"sku-%d"' % n in answers[-1].body


def test_a_flood_of_pipelined_requests_is_cut_off_after_the_answers_to_the_first(server: Server) -> None:
    with server.connect() as client:
        client.sendall(get("/health/live") * 300)
        found = answers_in(read_to_end(client))
    assert 1 <= len(found) < 300
    assert {answer.status for answer in found} == {200}
    assert found[-1].headers["connection"] == "close"


def test_a_flood_of_plain_items_is_cut_off_and_what_was_answered_is_stored(
    server: Server, shared_database: Database, cart_id: str
) -> None:
    with server.connect() as client:
        client.sendall(b"".join(post(f"sku-{n}", cart_id) for n in range(2000)))
        found = answers_in(read_to_end(client))
    assert {answer.status for answer in found} == {204}
    assert found[-1].headers["connection"] == "close"
    assert 100 <= len(found) == len(shared_database.wait_for_items(cart_id, len(found)))


@pytest.mark.parametrize("ack", ["fsync", "commit"])
def test_clients_that_go_away_while_their_answer_waits_are_no_error_in_the_log(
    shared_database: Database, tmp_path: Path, cart_id: str, ack: str
) -> None:
    with serve(shared_database, tmp_path, env={"TRACKER_ACK": ack}) as server:
        for n in range(40):
            client = server.connect()
            client.sendall(post(f"sku-{n}", cart_id) + (post("more", cart_id) if n % 2 else b""))
            reset(client)
        assert [answer.status for answer in server.exchange(post("last", cart_id), get("/nowhere", close=True))] == [
            204,
            404,
        ]
        assert server.errors() == ""


@pytest.mark.parametrize("protocol", ["h2c", "websocket", "TLS/1.3"])
def test_an_upgrade_that_is_not_supported_is_ignored(
    server: Server, shared_database: Database, cart_id: str, protocol: str
) -> None:
    upgrade = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {protocol}", "HTTP2-Settings: AAMAAABk")
    chunked = head("POST", "/item", f"Cookie: cart_id={cart_id}", *upgrade, CHUNKED)
    requests = [
        post("at once", cart_id, *upgrade),
        *sliced(post("in pieces", cart_id, *upgrade), 50),
        chunked + b'18\r\n{"external_id":"chunked"\r\n1\r\n}\r\n0\r\n\r\n',
        get("/health/live", *upgrade) * 3,
        get("/health/live", close=True),
    ]
    assert statuses(server, *requests, pause_s=0.02) == [204, 204, 204, 200, 200, 200, 200]
    assert set(shared_database.wait_for_items(cart_id, 3)) == {"at once", "in pieces", "chunked"}


def test_the_body_of_an_upgrade_is_never_read_as_a_request(server: Server, cart_id: str) -> None:
    inner = get("/health/live")
    outer = head("POST", "/item", "Connection: upgrade", "Upgrade: h2c", f"Content-Length: {len(inner)}")
    assert statuses(server, outer, inner, post("a", cart_id, "Connection: close"), pause_s=0.05) == [400, 204]


def test_a_client_that_expects_100_continue_gets_it(server: Server, cart_id: str) -> None:
    request = post("a", cart_id, "Expect: 100-continue", "Connection: close")
    split = request.index(b"\r\n\r\n") + 4
    with server.connect() as client:
        client.sendall(request[:split])
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(request[split:])
        assert [answer.status for answer in answers_in(read_to_end(client))] == [204]


def test_a_client_that_expects_100_continue_and_stays_gets_it(server: Server, cart_id: str) -> None:
    request = post("a", cart_id, "Expect: 100-continue")
    split = request.index(b"\r\n\r\n") + 4
    with server.connect() as client:
        client.sendall(request[:split])
        assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(request[split:])
        assert read_answer(client).status == 204


def test_the_date_of_an_answer_goes_on(server: Server, cart_id: str) -> None:
    with server.connect() as client:
        client.sendall(post("a", cart_id))
        first = read_answer(client).headers["date"]
        time.sleep(2.5)
        client.sendall(post("a", cart_id))
        assert read_answer(client).headers["date"] != first


def test_http_1_0_gets_one_answer_and_the_end(server: Server, cart_id: str) -> None:
    assert statuses(server, post("a", cart_id).replace(b"HTTP/1.1", b"HTTP/1.0")) == [204]
    kept = post("a", cart_id, "Connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0")
    assert statuses(server, kept + kept) == [204]


@pytest.mark.parametrize("late", [False, True], ids=["body at once", "body after the answer"])
def test_after_a_413_the_connection_goes_on_with_the_next_request(server: Server, cart_id: str, late: bool) -> None:  # noqa: FBT001
    with server.connect() as client:
        client.sendall(head("POST", "/item", "Content-Length: 100000"))
        if late:
            assert read_answer(client).status == 413
        client.sendall(b"x" * 100_000)
        if not late:
            assert read_answer(client).status == 413
        client.sendall(post("a", cart_id))
        assert read_answer(client).status == 204
        client.sendall(b"GARBAGE\r\n\r\n")
        (answer,) = answers_in(read_to_end(client))
        assert answer.status == 400


def test_clients_that_hang_up_are_no_error_in_the_log(server: Server, cart_id: str) -> None:
    whole = post("a", cart_id)
    body_at = whole.index(b"\r\n\r\n") + 4
    large = post("b", cart_id, body=b'{"external_id":"b"}' + b" " * 60_000)
    parts = [
        b"",
        whole[:20],
        whole[:body_at],
        whole[: body_at + 3],
        large[:30_000],
        whole,
        whole * 30,
        whole * 30 + whole[:20],
        get("/items", f"Cookie: cart_id={cart_id}") * 30,
        head("POST", "/item", "Expect: 100-continue", "Content-Length: 10"),
        head("POST", "/item", CHUNKED) + b"5\r\n12",
        head("POST", "/item", "Content-Length: 100000") + b"x" * 10_000,
    ]
    for part in parts:
        for pause_s in (0.0, 0.02):
            for hang_up in (socket.socket.close, reset):
                client = server.connect()
                client.sendall(part)
                time.sleep(pause_s)
                hang_up(client)
    half = server.connect()
    half.sendall(whole[: body_at + 3])
    half.shutdown(socket.SHUT_WR)
    assert read_to_end(half) == b""
    half.close()
    time.sleep(0.2)
    assert statuses(server, get("/health/live", close=True)) == [200]
    assert server.errors() == ""


@pytest.mark.slow
def test_clients_that_do_not_read_and_hang_up_are_no_error_in_the_log(server: Server, cart_id: str) -> None:
    name = b"x" * 1000
    for n in range(100):
        body = b'{"external_id":"sku-%d","name":"%s"}' % (n, name)
        assert statuses(server, post("", cart_id, "Connection: close", body=body)) == [204]
    for hang_up in (socket.socket.close, reset):
        clients = [server.connect(receive_buffer=4096) for _ in range(10)]
        for client in clients:
            client.sendall(get("/items", f"Cookie: cart_id={cart_id}") * 50)
        time.sleep(1)
        for client in clients:
            hang_up(client)
    time.sleep(0.3)
    assert statuses(server, get("/health/live", close=True)) == [200]
    assert server.errors() == ""

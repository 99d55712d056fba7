"""How long a client may take: for its request, between two requests, and for the answer."""

import contextlib
import socket
import ssl
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import trustme

from tests.conftest import Database
from tests.support.faults.wire import (
    Answer,
    Server,
    answers_in,
    get,
    head,
    locked_items,
    post,
    read_answer,
    read_to_end,
    serve,
)
from tests.support.waiting import wait_until

KEEP_ALIVE_S = 5.0
SHORT = "limits.REQUEST_TIMEOUT_S = 1.0"

CHUNKED_HEAD = head("POST", "/item", "Transfer-Encoding: chunked")
LATE = [
    b"",
    b"\r\n\r\n",
    b"POST /it",
    b"POST /item HTTP/1.1\r\nHost: tracker\r\nCookie: a",
    head("POST", "/item", "Content-Length: 10"),
    head("POST", "/item", "Content-Length: 10") + b"{",
    CHUNKED_HEAD + b"5\r\n{",
    CHUNKED_HEAD + b"2\r\n{}\r\n",
    CHUNKED_HEAD + b"0\r\nA: b\r\n",
    head("POST", "/item", "Expect: 100-continue", "Content-Length: 10"),
]


@pytest.fixture
def server(database: Database, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Server]:
    with serve(database, tmp_path, constants=getattr(request, "param", "")) as server:
        yield server
        assert server.errors() == ""


@pytest.fixture(scope="module")
def impatient(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for a request for a second only."""
    with serve(shared_database, tmp_path_factory.mktemp("impatient"), constants=SHORT) as server:
        yield server
        assert server.errors() == ""


def until_closed(client: socket.socket) -> tuple[list[Answer], float]:
    """Return what a connection still gets, and how long it takes to be closed."""
    started = time.monotonic()
    with client:
        received = read_to_end(client).removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
    return answers_in(received), time.monotonic() - started


def send_until_closed(client: socket.socket, piece: bytes) -> float:
    """Send `piece` over and over until the server hangs up, or for 15 s; return the time that it took."""
    started = time.monotonic()
    with contextlib.suppress(ConnectionError):
        while time.monotonic() - started < 15:
            client.sendall(piece)
            time.sleep(0.05)
    return time.monotonic() - started


def all_until_closed(clients: list[socket.socket]) -> list[tuple[list[Answer], float]]:
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(until_closed, clients))


def test_a_request_that_does_not_come_is_408(impatient: Server) -> None:
    fresh, used = [impatient.connect() for _ in LATE], [impatient.connect() for start in LATE if start]
    for client in used:
        client.sendall(get("/health/live"))
        assert read_answer(client).status == 200
    starts = [*LATE, *filter(None, LATE)]
    for client, start in zip([*fresh, *used], starts, strict=True):
        client.sendall(start)
    for start, (answers, took_s) in zip(starts, all_until_closed([*fresh, *used]), strict=True):
        assert [answer.status for answer in answers] == [408], start
        assert answers[0].is_problem, start
        assert 0.5 < took_s < 9, "1 s, where 10 are usual"


@pytest.mark.slow
def test_a_slow_but_honest_client_is_served(server: Server, database: Database) -> None:
    cart_id = str(uuid.uuid4())

    def in_pieces(number: int) -> list[int]:
        request = post(f"sku-{number}", cart_id, "Connection: close")
        with server.connect() as client:
            cut = len(request) * (number + 1) // 12
            client.sendall(request[:cut])
            time.sleep(5)
            client.sendall(request[cut:])
            return [answer.status for answer in answers_in(read_to_end(client))]

    def byte_by_byte(number: int) -> list[int]:
        request = post(f"sku-{number}", cart_id, "Connection: close")
        with server.connect() as client:
            for position in range(len(request)):
                client.sendall(request[position : position + 1])
                time.sleep(5 / len(request))
            return [answer.status for answer in answers_in(read_to_end(client))]

    def next_one_begun_early(number: int) -> list[int]:
        """The rest comes later than an idle connection would be closed."""
        request = post(f"sku-{number}", cart_id, "Connection: close")
        with server.connect() as client:
            client.sendall(post(f"sku-{number}", cart_id) + request[:9])
            time.sleep(KEEP_ALIVE_S + 1.5)
            client.sendall(request[9:])
            return [answer.status for answer in answers_in(read_to_end(client))]

    with ThreadPoolExecutor(12) as pool:
        slow = [pool.submit(in_pieces, number) for number in range(10)]
        slow += [pool.submit(byte_by_byte, 10)]
        early = pool.submit(next_one_begun_early, 11)
        assert [one.result() for one in slow] == [[204]] * 11
        assert early.result() == [204, 204]
    assert set(database.wait_for_items(cart_id, 12)) == {f"sku-{n}" for n in range(12)}


@pytest.mark.slow
def test_an_idle_connection_ends_without_an_answer(server: Server) -> None:
    clients = [server.connect() for _ in range(3)]
    for client in clients:
        client.sendall(get("/health/live"))
        assert read_answer(client).status == 200
    for answers, took_s in all_until_closed(clients):
        assert answers == []
        assert KEEP_ALIVE_S - 1 < took_s < KEEP_ALIVE_S + 3


def test_an_idle_connection_after_a_plain_item_gets_no_408(impatient: Server) -> None:
    client = impatient.connect()
    client.sendall(post("a", str(uuid.uuid4())))
    assert read_answer(client).status == 204
    assert until_closed(client)[0] == []


@pytest.mark.slow
def test_an_answer_that_takes_longer_than_keep_alive_is_given_behind_a_plain_item(
    database: Database, tmp_path: Path
) -> None:
    cart_id = str(uuid.uuid4())
    with serve(database, tmp_path) as server, locked_items(database, "ACCESS EXCLUSIVE"), server.connect() as client:
        client.sendall(post("a", cart_id) + get("/items", f"Cookie: cart_id={cart_id}", close=True))
        assert [answer.status for answer in answers_in(read_to_end(client))] == [204, 503]


def test_line_ends_do_not_keep_a_connection(impatient: Server) -> None:
    client = impatient.connect()
    client.sendall(get("/health/live"))
    assert read_answer(client).status == 200
    assert send_until_closed(client, b"\r\n") < 5


def test_an_endless_body_after_413_is_closed_without_a_second_answer(impatient: Server) -> None:
    with impatient.connect() as client:
        client.sendall(head("POST", "/item", "Content-Length: 100000000"))
        assert read_answer(client).status == 413
        assert send_until_closed(client, b"x" * 10_000) < 5
        assert read_to_end(client) == b""


@pytest.mark.slow
def test_an_answer_that_takes_longer_than_a_request_may_is_given(database: Database, tmp_path: Path) -> None:
    env = {"TRACKER_ACK": "commit", "TRACKER_COMMIT_TIMEOUT_S": "3", "TRACKER_FLUSH_INTERVAL_MS": "2500"}
    cart_id = str(uuid.uuid4())
    with serve(database, tmp_path, constants=SHORT, env=env) as server:
        second = post("b", cart_id)
        answers = server.exchange(post("first", cart_id) + post("a", cart_id) + second[:9], pause_s=0.1)
        assert [answer.status for answer in answers] == [204, 204]
        assert server.errors() == ""


def fill_cart(server: Server, cart_id: str, kilobytes: int) -> None:
    with server.connect() as client:
        for number in range(kilobytes // 2):
            body = b'{"external_id":"sku-%d","name":"%s"}' % (number, b"x" * 2000)
            client.sendall(post("", cart_id, body=body))
            assert read_answer(client).status == 204


@pytest.mark.slow
@pytest.mark.parametrize("server", ["limits.REQUEST_TIMEOUT_S = 4.0"], indirect=True)
def test_a_client_that_does_not_take_its_answer_is_cut_off(server: Server) -> None:
    cart_id = str(uuid.uuid4())
    fill_cart(server, cart_id, 200)
    request = get("/items", f"Cookie: cart_id={cart_id}")
    with server.connect() as client:
        client.sendall(request)
        size = len(read_answer(client).body)
    assert size > 200_000
    stalled = [server.connect(receive_buffer=4096) for _ in range(6)]
    for number, client in enumerate(stalled):
        client.sendall(request * 80 if number % 2 else request * 30 + get("/items", close=True))
    slow = server.connect(receive_buffer=4096)
    slow.sendall(request * 25 + get("/health/live", close=True))
    received, started = b"", time.monotonic()
    while part := slow.recv(400_000):
        received += part
        time.sleep(max(0.0, started + len(received) / 700_000 - time.monotonic()))  # takes its time, but takes
    slow.close()
    assert time.monotonic() - started > 6
    assert [answer.status for answer in answers_in(received)] == [200] * 26
    wait_until(lambda: not server.open_sockets(), 15, lambda: f"{server.open_sockets()} are still open")


@pytest.mark.slow
def test_over_tls_half_open_connections_end_in_time(database: Database, tmp_path: Path) -> None:
    authority = trustme.CA()
    path = tmp_path / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with serve(database, tmp_path / "data", env={"TRACKER_TLS_CERT": str(path)}, tls=context) as server:
        assert [answer.status for answer in server.exchange(b"GARBAGE\r\n\r\n")] == [400]
        for _ in range(20):
            server.connect_only()
        clients = [server.connect() for _ in range(20)]
        for number, client in enumerate(clients):
            client.sendall(LATE[number % len(LATE)])
        # Nobody reads, and nobody says goodbye.
        wait_until(lambda: not server.open_sockets(), 25, lambda: f"{server.open_sockets()} are still open")
        assert server.errors() == ""

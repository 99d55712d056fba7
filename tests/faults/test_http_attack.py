"""Many hostile clients at once: closed in time, with bounded memory, and nobody else notices."""

import contextlib
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.support.faults.wire import (
    MIB,
    Server,
    answers_in,
    get,
    head,
    honest_client,
    many_files,
    post,
    read_answer,
    read_to_end,
    read_until_closed,
    serve,
)
from tests.support.waiting import wait_until

LONGEST_OPEN_S = 25.0
MOST_GROWTH_MIB = 50.0
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
def server(database: Database, tmp_path: Path) -> Iterator[Server]:
    with many_files(), serve(database, tmp_path, from_nothing=True) as server:
        server.exchange(*[post("warm", str(uuid.uuid4()))] * 200, get("/health/live", close=True))
        yield server
        assert server.errors() == ""


def send_until_refused(server: Server, start: bytes, piece: bytes, *, most: int, pause_s: float = 0.0) -> float:
    """Send `piece` over and over, at most `most` bytes; return the time until the server hung up."""
    started = time.monotonic()
    with server.connect() as client, contextlib.suppress(ConnectionError):
        client.sendall(start)
        for _ in range(0, most, len(piece)):
            client.sendall(piece)
            if pause_s:
                time.sleep(pause_s)
        while client.recv(65_536):
            pass
    return time.monotonic() - started


@pytest.mark.slow
def test_2000_idle_and_half_open_connections(server: Server, database: Database) -> None:
    seed = random.randrange(2**32)
    print(f"{seed=}")  # noqa: T201  # shown when it fails
    randomness = random.Random(seed)
    whole = post("never", str(uuid.uuid4()), body=b'{"external_id":"never"}' + b" " * 2000)
    chunks = head("POST", "/item", CHUNKED) + b"5\r\n12345\r\n" * 20
    with honest_client(server, database) as honest:
        clients = []
        for number in range(2000):
            client = server.connect()
            if number % 4:
                start = chunks if number % 8 == 3 else whole
                client.sendall(start[: randomness.randrange(1, len(start))])
            clients.append(client)
        opened = time.monotonic()
        received = read_until_closed(clients, LONGEST_OPEN_S)
        assert time.monotonic() - opened > 5  # time enough for a slow one
    assert honest.growth_mib < MOST_GROWTH_MIB
    assert {answer.status for data in received.values() for answer in answers_in(data)} == {408}


@pytest.mark.slow
def test_64_mb_of_headers(server: Server, database: Database) -> None:
    piece = b"a" * 65_536
    many = b"".join(b"X-%d: %s\r\n" % (n, b"a" * 50) for n in range(1000))
    request = head("POST", "/item", CHUNKED)
    kinds = [
        (b"GET / HTTP/1.1\r\nX: ", piece),
        (b"GET / HTTP/1.1\r\n", piece),
        (b"GET /", piece),
        (b"GET / HTTP/1.1\r\n", many),
        (get("/health/live") + b"GET / HTTP/1.1\r\nX: ", piece),
        (request + b"2\r\n{}\r\n0\r\nX: ", piece),
        (request + b"2\r\n{}\r\n0\r\n", many),
        (request + b"2;", piece),
    ]

    with honest_client(server, database) as honest, ThreadPoolExecutor(len(kinds)) as pool:
        end = time.monotonic() + 4

        def attack(kind: tuple[bytes, bytes]) -> float:
            worst_s = send_until_refused(server, *kind, most=64 * MIB)
            while time.monotonic() < end:
                worst_s = max(worst_s, send_until_refused(server, *kind, most=64 * MIB))
            return worst_s

        worst_s = max(pool.map(attack, kinds))
    assert worst_s < 5  # refused, not waited for
    assert honest.growth_mib < MOST_GROWTH_MIB


@pytest.mark.slow
def test_bodies_without_an_end_and_byte_by_byte(server: Server, database: Database) -> None:
    chunk = b"10\r\n" + b"x" * 16 + b"\r\n"
    attacks: list[Callable[[], float]] = []
    for length in ("Content-Length: 1000000000000", "Content-Length: 60000"):
        start = head("POST", "/item", length)
        attacks += [lambda s=start: send_until_refused(server, s, b" ", most=10_000, pause_s=0.01)] * 20  # type: ignore[misc]
    chunked = head("POST", "/item", CHUNKED)
    attacks += [lambda: send_until_refused(server, chunked, chunk * 100, most=1 << 40, pause_s=0.01)] * 10
    attacks += [lambda: send_until_refused(server, chunked, b"1\r\nx\r\n", most=1 << 40, pause_s=0.01)] * 20
    endless = head("POST", "/item", "Content-Length: 1000000000000")
    attacks += [lambda: send_until_refused(server, endless, b"x" * 65_536, most=1 << 40, pause_s=0.05)] * 10
    headers = b"GET / HTTP/1.1\r\n"
    attacks += [lambda: send_until_refused(server, headers, b"a: b\r\n", most=1 << 40, pause_s=0.02)] * 20
    with honest_client(server, database) as honest, ThreadPoolExecutor(len(attacks)) as pool:
        took_s = [future.result() for future in [pool.submit(attack) for attack in attacks]]
    assert max(took_s) < LONGEST_OPEN_S
    assert honest.growth_mib < MOST_GROWTH_MIB


def test_floods_of_pipelined_requests(server: Server, database: Database) -> None:
    request = b"GET /ab HTTP/1.1\r\n\r\n"

    def flood() -> None:
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            with server.connect() as client, contextlib.suppress(ConnectionError):
                client.sendall(request * 12_800)  # fills one read of uvloop's to its last byte
                read_to_end(client)

    with honest_client(server, database) as honest:
        threads = [threading.Thread(target=flood) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert honest.growth_mib < MOST_GROWTH_MIB


@pytest.mark.slow
def test_clients_that_do_not_take_their_answers(server: Server, database: Database) -> None:
    cart_id = str(uuid.uuid4())
    with server.connect() as client:
        for number in range(100):
            body = b'{"external_id":"sku-%d","name":"%s"}' % (number, b"x" * 2000)
            client.sendall(post("", cart_id, body=body))
            assert read_answer(client).status == 204
    with honest_client(server, database) as honest:
        clients = [server.connect(receive_buffer=4096) for _ in range(100)]
        for client in clients:
            client.sendall(get("/items", f"Cookie: cart_id={cart_id}") * 50)
        started = time.monotonic()
        wait_until(lambda: server.open_sockets() >= len(clients), LONGEST_OPEN_S, "all accepted")
        rest_s = started + LONGEST_OPEN_S - time.monotonic()
        wait_until(lambda: server.open_sockets() <= 1, rest_s, lambda: f"{server.open_sockets()} are still open")
    assert honest.growth_mib < 2 * MOST_GROWTH_MIB  # a part of one answer for each


@pytest.fixture(scope="module")
def small(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that takes 10 connections."""
    constants = "crowding.MAX_CONNECTIONS = 10"
    with (
        many_files(),
        serve(shared_database, tmp_path_factory.mktemp("small"), constants=constants, from_nothing=True) as server,
    ):
        yield server
        assert server.errors() == ""


def test_above_the_limit_of_connections_new_ones_get_503(small: Server) -> None:
    kept = [small.connect() for _ in range(10)]
    for client in kept:
        client.sendall(get("/health/live"))
        assert read_answer(client).status == 200
    (answer,) = small.exchange(post("a", str(uuid.uuid4())))
    assert (answer.status, answer.is_problem) == (503, True)
    assert int(answer.headers["retry-after"]) >= 1
    for client in kept:
        client.sendall(get("/health/live"))
        assert read_answer(client).status == 200
    kept.pop().close()
    time.sleep(0.1)
    assert [answer.status for answer in small.exchange(post("a", str(uuid.uuid4()), "Connection: close"))] == [204]
    for client in kept:
        client.close()


def test_silent_connections_above_the_limit_do_not_take_all_files(small: Server) -> None:
    honest = small.connect()
    honest.sendall(get("/health/live"))
    assert read_answer(honest).status == 200
    silent = [small.connect() for _ in range(500)]
    time.sleep(0.3)
    assert small.open_sockets() < 150
    for client in silent:
        client.close()

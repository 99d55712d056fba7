"""A stop under attack: whole requests are answered and stored, half ones are let go, and the end comes in time."""

import contextlib
import itertools
import ssl
import threading
import time
import uuid
from pathlib import Path

import pytest
import trustme

from tests.conftest import Database
from tests.support.faults.wire import (
    Server,
    answers_in,
    get,
    head,
    locked_items,
    many_files,
    post,
    read_answer,
    read_to_end,
    serve,
)

LONGEST_STOP_S = 15.0


def half_open(server: Server, count: int) -> None:
    """Open connections in every state of a request that is not here yet."""
    cart_id = str(uuid.uuid4())
    whole = post("half", cart_id)
    body_at = whole.index(b"\r\n\r\n") + 4
    starts = [
        b"",
        b"\r\n",
        b"POST /it",
        whole[:body_at],
        whole[: body_at + 3],
        head("POST", "/item", "Transfer-Encoding: chunked") + b"5\r\n12345\r\n",
        head("POST", "/item", "Content-Length: 100000") + b"x" * 100,
    ]
    for number in range(count):
        server.connect().sendall(starts[number % len(starts)])


@pytest.mark.parametrize("count", [28, pytest.param(2000, marks=pytest.mark.slow)])
def test_a_stop_answers_whole_requests_and_lets_half_ones_go(database: Database, tmp_path: Path, count: int) -> None:
    cart_id = str(uuid.uuid4())
    with many_files(), serve(database, tmp_path, env={"TRACKER_ACK": "commit"}) as server:
        half_open(server, count)
        idle = [server.connect() for _ in range(20)]
        for number, client in enumerate(idle):
            client.sendall(post(f"before-{number}", cart_id))
            assert read_answer(client).status == 204
        # The lock keeps them in hand until after the signal.
        with locked_items(database) as release:
            whole = [server.connect() for _ in range(20)]
            pipelined = [server.connect() for _ in range(5)]
            for number, client in enumerate(whole):
                client.sendall(post(f"whole-{number}", cart_id))
            for number, client in enumerate(pipelined):
                client.sendall(post(f"pipelined-{number}", cart_id) + post("half", cart_id)[:-5])
            server.exchange(get("/health/live", close=True))  # what was sent before is read by then
            threading.Timer(0.2, server.process.terminate).start()
            threading.Timer(0.6, release.set).start()
            answers = [answers_in(read_to_end(client)) for client in (*whole, *pipelined)]
        code, took_s = server.stop()
        assert [[answer.status for answer in found] for found in answers] == [[204]] * 25
        assert code == 0
        assert took_s < LONGEST_STOP_S
        assert server.errors() == ""
    names = (
        {f"before-{n}" for n in range(20)} | {f"whole-{n}" for n in range(20)} | {f"pipelined-{n}" for n in range(5)}
    )
    assert set(database.items(cart_id)) == names


def test_a_request_behind_the_last_answer_is_not_begun(database: Database, tmp_path: Path) -> None:
    cart_id = str(uuid.uuid4())
    with serve(database, tmp_path, env={"TRACKER_ACK": "commit"}) as server, server.connect() as client:
        with locked_items(database) as release:
            client.sendall(post("before", cart_id))
            server.exchange(get("/health/live", close=True))  # what was sent before is read by then
            server.process.terminate()
            time.sleep(0.5)
            client.sendall(post("behind", cart_id))
            threading.Timer(0.3, release.set).start()
            answers = answers_in(read_to_end(client))
        assert [answer.status for answer in answers] == [204]
        assert answers[0].headers["connection"] == "close"
        assert server.stop()[0] == 0
        assert server.errors() == ""
    assert set(database.items(cart_id)) == {"before"}


@pytest.mark.slow
@pytest.mark.parametrize("ack", ["journal", "commit"])
def test_what_is_still_waited_for_at_a_stop_is_answered_503(database: Database, tmp_path: Path, ack: str) -> None:
    cart_id = str(uuid.uuid4())
    with (
        serve(database, tmp_path, env={"TRACKER_ACK": ack}) as server,
        locked_items(database, "ACCESS EXCLUSIVE"),
        server.connect() as client,
        server.connect() as reader,
    ):
        client.sendall(b"".join(post(f"sku-{number}", cart_id) for number in range(3)))
        reader.sendall(get("/items", f"Cookie: cart_id={cart_id}"))
        server.exchange(get("/health/live", close=True))  # what was sent before is read by then
        server.process.terminate()
        answers = answers_in(read_to_end(client)) + answers_in(read_to_end(reader))
        expected = [204, 204, 204, 503] if ack == "journal" else [503, 503, 503, 503]
        assert [answer.status for answer in answers] == expected
        server.process.wait(LONGEST_STOP_S)
        assert "Traceback" not in server.errors()


def test_a_connection_whose_tls_began_before_the_stop_gets_no_service_after_it(
    database: Database, tmp_path: Path
) -> None:
    context, env = certificate(tmp_path)
    with serve(database, tmp_path, env={**env, "TRACKER_ACK": "memory"}, tls=context) as server:
        # Wrapped while they are connected, which sends nothing: wrapping one that was reset meanwhile leaves a socket
        # open that nobody can close.
        late = [
            context.wrap_socket(server.connect_only(), server_hostname="127.0.0.1", do_handshake_on_connect=False)
            for _ in range(10)
        ]
        server.clients.extend(late)
        server.process.terminate()
        cart_id = str(uuid.uuid4())
        answered, served_s = [], []
        for number, client in enumerate(late):
            time.sleep(0.02)
            began_s = time.monotonic()
            with contextlib.suppress(OSError, AssertionError):  # it is closed
                client.do_handshake()
                for turn in itertools.count():
                    client.sendall(post(f"sku-{number}-{turn % 100}", cart_id))
                    if read_answer(client).status == 204:
                        answered.append(f"sku-{number}-{turn % 100}")
            served_s.append(time.monotonic() - began_s)
        assert server.process.wait(LONGEST_STOP_S) == 0
    assert set(answered) <= set(database.items(cart_id))
    assert max(served_s) < 2.5, "uvicorn gives requests in hand 3 s, and would serve for so long"


@pytest.mark.slow
def test_half_a_request_is_told_that_the_service_stops(database: Database, tmp_path: Path) -> None:
    with serve(database, tmp_path) as server, server.connect() as client:
        client.sendall(post("a", str(uuid.uuid4()))[:-3])
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        code, _ = server.stop()
        (answer,) = answers_in(read_to_end(client))
        assert (answer.status, answer.is_problem, answer.headers["retry-after"]) == (503, True, "1")
        assert code == 0
        assert server.errors() == ""


@pytest.mark.slow
def test_a_stop_does_not_wait_for_clients_that_do_not_read(database: Database, tmp_path: Path) -> None:
    cart_id = str(uuid.uuid4())
    with serve(database, tmp_path) as server:
        with server.connect() as client:
            for number in range(100):
                body = b'{"external_id":"sku-%d","name":"%s"}' % (number, b"x" * 2000)
                client.sendall(post("", cart_id, body=body))
                assert read_answer(client).status == 204
        database.wait_for_items(cart_id, 100)
        clients = [server.connect(receive_buffer=4096) for _ in range(10)]
        for client in clients:
            client.sendall(get("/items", f"Cookie: cart_id={cart_id}") * 90)
        with server.connect() as client:  # the others are in hand once this one is answered
            client.sendall(get("/items", f"Cookie: cart_id={cart_id}", close=True))
            read_to_end(client)
        code, took_s = server.stop()
        assert code == 0
        assert took_s < LONGEST_STOP_S
        assert server.errors() == ""


@pytest.mark.slow
def test_a_stop_does_not_wait_for_half_open_tls(database: Database, tmp_path: Path) -> None:
    context, env = certificate(tmp_path)
    with serve(database, tmp_path / "data", env=env, tls=context) as server:
        for _ in range(20):
            server.connect_only()
        half_open(server, 14)
        idle = server.connect()
        idle.sendall(post("a", str(uuid.uuid4())))
        assert read_answer(idle).status == 204
        code, took_s = server.stop()
        assert code == 0
        assert took_s < LONGEST_STOP_S
        assert server.errors() == ""


def certificate(folder: Path) -> tuple[ssl.SSLContext, dict[str, str]]:
    authority = trustme.CA()
    path = folder / "certificate.pem"
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(path)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context, {"TRACKER_TLS_CERT": str(path)}

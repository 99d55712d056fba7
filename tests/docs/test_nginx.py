"""The example of a reverse proxy, run: a real nginx with it in front of a real Tracker, and of one that writes down."""

import contextlib
import os
import queue
import re
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import trustme

from tests.conftest import REPO, STOP_TIMEOUT_S, Tracker
from tests.support.ports import free_port
from tests.support.waiting import wait_until

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
NAME = "tracker.example"

pytestmark = pytest.mark.skipif(NGINX is None, reason="nginx is not installed")

MAIN = """\
daemon off;
pid nginx.pid;
error_log error.log;
worker_processes 1;
{user}
events {{ worker_connections 512; }}
http {{
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include tracker.conf;
}}
"""


@contextlib.contextmanager
def proxy(upstream: str, folder: Path, rate: str = "50r/s") -> Iterator[httpx.Client]:
    """Run nginx with the example; yield a client that knows its name and its certificate."""
    authority = trustme.CA()
    issued = authority.issue_cert(NAME)
    issued.private_key_pem.write_to_path(folder / "tracker.key")
    for number, pem in enumerate(issued.cert_chain_pems):
        pem.write_to_path(folder / "tracker.crt", append=number > 0)
    http_port, port = free_port(), free_port()
    example = (REPO / "tracker/docs/nginx.conf").read_text()
    for ours, here in {
        "127.0.0.1:8000": upstream,
        "/etc/nginx/": f"{folder}/",
        "/var/log/nginx/": f"{folder}/",
        "rate=50r/s": f"rate={rate}",
        "listen 443": f"listen 127.0.0.1:{port}",
        "listen 80": f"listen 127.0.0.1:{http_port}",
    }.items():
        assert ours in example
        example = example.replace(ours, here)
    (folder / "tracker.conf").write_text(example)
    (folder / "nginx.conf").write_text(MAIN.format(user="user root;" if os.getuid() == 0 else ""))
    assert NGINX is not None
    process = subprocess.Popen([NGINX, "-p", str(folder), "-c", "nginx.conf", "-e", "error.log"])
    context = ssl.create_default_context()
    authority.configure_trust(context)
    try:
        with httpx.Client(verify=context, base_url=f"https://127.0.0.1:{port}", timeout=30) as client:
            client.headers["Host"] = NAME
            wait_until_listening(process, port, folder)
            yield client
    finally:
        process.terminate()
        process.wait(STOP_TIMEOUT_S)


def wait_until_listening(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    def listens() -> bool:
        assert process.poll() is None, (folder / "error.log").read_text()
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
            return True
        return False

    wait_until(listens, what="nginx listens")


@pytest.fixture
def client(tracker: Tracker, tmp_path: Path) -> Iterator[httpx.Client]:
    with proxy(tracker.url.removeprefix("http://"), tmp_path) as client:
        yield client


def send(client: httpx.Client, method: str, path: str, **options: object) -> httpx.Response:
    return client.request(method, path, extensions={"sni_hostname": NAME}, **options)  # type: ignore[arg-type]  # of httpx


def test_the_cookie_of_a_cart_is_that_of_https(client: httpx.Client) -> None:
    answer = send(client, "POST", "/item", json={"external_id": "mug"})
    assert answer.status_code == 204
    assert answer.headers.get_list("set-cookie") == [answer.headers["set-cookie"]]
    assert answer.headers["set-cookie"].endswith("HttpOnly; Secure; SameSite=None; Partitioned")


def test_no_header_of_an_answer_comes_twice(client: httpx.Client) -> None:
    for path in ["/docs", "/items", "/nothing"]:
        names = [name for name, _ in send(client, "GET", path).headers.raw]
        assert len(set(names)) == len(names), names


def test_a_body_of_64_kib_passes_and_a_larger_one_is_a_problem(client: httpx.Client) -> None:
    def post(size: int) -> httpx.Response:
        content = b'{"external_id": "mug"}'.ljust(size)
        return send(client, "POST", "/item", content=content, headers={"Content-Type": "application/json"})

    assert post(65_536).status_code == 204
    answer = post(65_537)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 413


@pytest.mark.parametrize("path", ["/metrics", "/health/ready", "/health/live", "/warranties", "/warranties/x"])
def test_what_is_for_operators_stays_inside(client: httpx.Client, path: str) -> None:
    assert send(client, "GET", path).status_code == 404


def test_another_name_gets_no_certificate(client: httpx.Client) -> None:
    with pytest.raises(httpx.ConnectError):
        client.get("/docs")  # names no host in the handshake


def test_an_address_that_sends_too_much_is_told_when_to_come_again(tracker: Tracker, tmp_path: Path) -> None:
    with proxy(tracker.url.removeprefix("http://"), tmp_path, rate="1r/s") as client:
        answers = (send(client, "GET", "/items") for _ in range(1000))
        answer = next(answer for answer in answers if answer.status_code != 200)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.json()["status"] == 429


class Upstream(BaseHTTPRequestHandler):
    """Stands in for Tracker: it writes down what it is sent, and on which connection."""

    protocol_version = "HTTP/1.1"
    seen: "queue.SimpleQueue[tuple[int, dict[str, str]]]" = queue.SimpleQueue()

    def do_GET(self) -> None:
        self.seen.put((self.client_address[1], {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def to_upstream(tmp_path: Path) -> Iterator[httpx.Client]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with proxy(f"127.0.0.1:{server.server_port}", tmp_path) as client:
        yield client
    server.shutdown()
    server.server_close()


def test_what_strangers_say_about_themselves_is_overwritten(to_upstream: httpx.Client) -> None:
    forged = {
        "X-Forwarded-For": "203.0.113.9",
        "X-Forwarded-Proto": "http",
        "X-Forwarded-Host": "evil.example",
        "Forwarded": "for=203.0.113.9",
        "X-Request-ID": "mine",
    }
    send(to_upstream, "GET", "/items", headers=forged)
    _, headers = Upstream.seen.get(timeout=30)
    assert headers["x-forwarded-for"] == "127.0.0.1"
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == NAME
    assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
    assert not {"x-forwarded-host", "forwarded", "connection"} & set(headers)


def test_requests_share_a_connection_to_tracker(to_upstream: httpx.Client) -> None:
    ports = set()
    for _ in range(20):
        send(to_upstream, "GET", "/items")
        ports.add(Upstream.seen.get(timeout=30)[0])
    assert len(ports) == 1

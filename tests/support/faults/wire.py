"""A real server, and clients that write to its socket byte by byte."""

import asyncio
import contextlib
import re
import resource
import selectors
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import asyncpg

from tests.conftest import REPO, STOP_TIMEOUT_S, Database, clean_environ
from tests.support.forked import Forked, forked
from tests.support.waiting import wait_until

MIB = 1024 * 1024
LONGEST_ANSWER_S = 5.0
"""That anybody may wait while others attack."""


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def is_problem(self) -> bool:
        return self.headers.get("content-type") == "application/problem+json" and f'"status":{self.status}' in str(
            self.body
        )


@dataclass
class Server:
    """A running `tracker serve`, whose standard error is kept."""

    process: subprocess.Popen[str] | Forked
    port: int
    errors_file: Path
    tls: ssl.SSLContext | None = None
    clients: list[socket.socket] = field(default_factory=list)

    def connect(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a new connection; it is closed at the end of the test at the latest."""
        client = self.connect_only(receive_buffer=receive_buffer)
        if self.tls is not None:
            client = self.tls.wrap_socket(client, server_hostname="127.0.0.1")
            self.clients.append(client)
        return client

    def connect_only(self, *, receive_buffer: int | None = None) -> socket.socket:
        """Return a new connection without TLS."""
        client = socket.socket()
        self.clients.append(client)
        if receive_buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        client.settimeout(30)
        client.connect(("127.0.0.1", self.port))
        return client

    def exchange(self, *parts: bytes, pause_s: float = 0.0) -> list[Answer]:
        """Send the parts on one connection and return all answers until the server closes it."""
        with self.connect() as client:
            with contextlib.suppress(ConnectionError):  # it may close before it has everything
                for part in parts:
                    client.sendall(part)
                    time.sleep(pause_s)
            return answers_in(read_to_end(client))

    def errors(self) -> str:
        return self.errors_file.read_text()

    def resident_mib(self) -> float:
        match = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{self.process.pid}/status").read_text())
        assert match
        return int(match[1]) / 1024

    def open_sockets(self) -> int:
        """Return how many connections of clients the process holds."""
        lines = Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()[1:]
        mine = [line.split() for line in lines]
        return sum(row[1].endswith(f":{self.port:04X}") and row[3] != "0A" and row[9] != "0" for row in mine)

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM; return the exit code and how long it took."""
        started = time.monotonic()
        self.process.terminate()
        return self.process.wait(STOP_TIMEOUT_S), time.monotonic() - started


@contextlib.contextmanager
def serve(
    database: Database,
    folder: Path,
    *,
    env: Mapping[str, str] | None = None,
    constants: str = "",
    tls: ssl.SSLContext | None = None,
    from_nothing: bool = False,
) -> Iterator[Server]:
    """Start a server and stop it at the end; `constants` is Python that runs with `crowding` and `limits` imported.

    With those it starts from nothing, as other modules take them over when they are loaded. So does one whose memory is
    measured, by `from_nothing`: a forked process has that of its parent.
    """
    folder.mkdir(exist_ok=True, parents=True)
    errors_file = folder / "stderr"
    environ = {
        **clean_environ(),
        "TRACKER_DATA_DIR": str(folder),
        "DATABASE_URL": database.url,
        "TRACKER_LOG_LEVEL": "warning",  # then what it has to say is bad news
        **(env or {}),
    }
    process: subprocess.Popen[str] | Forked
    with errors_file.open("w") as errors:
        if constants or from_nothing:
            setup = f"from tracker.web import limits\nfrom tracker.web.server import crowding\n{constants}"
            code = f"{setup}\nfrom tracker.__main__ import main\nmain()"
            command = [sys.executable, *(["-c", code] if constants else ["-m", "tracker"]), "serve", "--port", "0"]
            process = subprocess.Popen(command, env=environ, cwd=REPO, stdout=subprocess.PIPE, stderr=errors, text=True)
            assert process.stdout is not None
            stdout: IO[str] = process.stdout
        else:
            process, stdout = forked("serve", "--port", "0", env=environ, cwd=REPO, stderr=errors.fileno())
    server: Server | None = None
    try:
        banner = stdout.readline()
        assert banner, errors_file.read_text()
        server = Server(process, int(banner.rpartition(":")[2]), errors_file, tls)
        wait_until_answering(server)
        yield server
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        stdout.close()
        for client in server.clients if server is not None else ():
            client.close()


def wait_until_answering(server: Server) -> None:
    def answers() -> bool:
        with contextlib.suppress(OSError):
            return bool(server.exchange(get("/health/live", close=True)))
        return False

    wait_until(answers, what=server.errors)


def get(path: str, *headers: str, close: bool = False) -> bytes:
    return head("GET", path, *headers, *(["Connection: close"] if close else []))


def post(external_id: str, cart_id: str, *headers: str, body: bytes | None = None) -> bytes:
    body = body if body is not None else b'{"external_id":"%s"}' % external_id.encode()
    return head("POST", "/item", f"Cookie: cart_id={cart_id}", f"Content-Length: {len(body)}", *headers) + body


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: tracker", *headers, "", ""]).encode()


def head_of(size: int, *headers: str) -> bytes:
    """Return the head of a GET that is `size` bytes long in all."""
    short = len(get("/health/live", *headers, "X-Filler: "))
    return get("/health/live", *headers, f"X-Filler: {'a' * (size - short)}")


def read_to_end(client: socket.socket, timeout_s: float = 30.0) -> bytes:
    """Return what comes until the server closes; a reset is a close as well."""
    client.settimeout(timeout_s)
    received = b""
    with contextlib.suppress(ConnectionError):
        while part := client.recv(65_536):
            received += part
    return received


def read_answer(client: socket.socket, timeout_s: float = 30.0) -> Answer:
    """Return the next answer of a connection that stays open."""
    client.settimeout(timeout_s)
    received = b""
    while not (found := answers_in(received)):
        part = client.recv(65_536)
        assert part, f"closed after {received!r}"
        received += part
    return found[0]


def answers_in(received: bytes) -> list[Answer]:
    """Return the whole answers in a stream; anything between them is an error."""
    found = []
    while received:
        head_bytes, end, rest = received.partition(b"\r\n\r\n")
        if not end:
            break
        status_line, *lines = head_bytes.decode().split("\r\n")
        assert status_line.startswith("HTTP/1.1 "), received
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = int(headers.get("content-length", 0))
        if len(rest) < length:
            break
        found.append(Answer(int(status_line.split()[1]), headers, rest[:length]))
        received = rest[length:]
    return found


def reset(client: socket.socket) -> None:
    """Hang up with RST."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def read_until_closed(clients: Sequence[socket.socket], timeout_s: float) -> dict[socket.socket, bytes]:
    """Wait until the server has closed all of them; return what each got."""
    received = dict.fromkeys(clients, b"")
    deadline = time.monotonic() + timeout_s
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.settimeout(0)
            selector.register(client, selectors.EVENT_READ)
        while selector.get_map():
            left = len(selector.get_map())
            assert time.monotonic() < deadline, f"{left} of {len(clients)} are still open after {timeout_s} s"
            for key, _ in selector.select(0.1):
                assert isinstance(key.fileobj, socket.socket)
                client = key.fileobj
                part = b""
                with contextlib.suppress(ConnectionError):
                    part = client.recv(65_536)
                received[client] += part
                if not part:
                    selector.unregister(client)
    return received


@dataclass
class Honest:
    """A well-behaved client that adds an item every few milliseconds, and what it saw."""

    server: Server
    cart_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    accepted: list[str] = field(default_factory=list)
    worst_s: float = 0.0
    failure: str | None = None
    peak_mib: float = 0.0
    start_mib: float = 0.0

    @property
    def growth_mib(self) -> float:
        return self.peak_mib - self.start_mib

    def run(self, stopping: threading.Event) -> None:
        client: socket.socket | None = None
        number = 0
        try:
            while not stopping.wait(0.02):
                number += 1
                started = time.monotonic()
                client = client or self.server.connect()
                client.sendall(post(f"sku-{number}", self.cart_id))
                answer = read_answer(client)
                self.worst_s = max(self.worst_s, time.monotonic() - started)
                self.peak_mib = max(self.peak_mib, self.server.resident_mib())
                assert answer.status == 204, answer
                self.accepted.append(f"sku-{number}")
                if number % 5 == 0:  # some requests on a connection of their own
                    client.close()
                    client = None
        except (OSError, AssertionError) as error:
            self.failure = repr(error)
        finally:
            if client is not None:
                client.close()


@contextlib.contextmanager
def honest_client(server: Server, database: Database) -> Iterator[Honest]:
    """Run a well-behaved client; each of its requests must be answered with 2xx, soon, and be stored."""
    honest = Honest(server, start_mib=server.resident_mib())
    stopping = threading.Event()
    thread = threading.Thread(target=honest.run, args=[stopping])
    thread.start()
    try:
        yield honest
    finally:
        stopping.set()
        thread.join()
    print(  # noqa: T201  # pytest shows it when the test fails, and with -s
        f"{len(honest.accepted)} answers, worst {honest.worst_s:.3f} s, memory +{honest.growth_mib:.1f} MiB"
    )
    assert honest.failure is None
    assert honest.worst_s < LONGEST_ANSWER_S
    assert len(honest.accepted) > 10
    assert set(database.wait_for_items(honest.cart_id, len(honest.accepted))) == set(honest.accepted)


@contextlib.contextmanager
def locked_items(database: Database, mode: str = "EXCLUSIVE") -> Iterator[threading.Event]:
    """Keep everybody from writing items (or reading them) until the event is set, or the block ends."""
    locked, release = threading.Event(), threading.Event()

    async def hold() -> None:
        connection = await asyncpg.connect(database.url)
        try:
            async with connection.transaction():
                await connection.execute(f"LOCK TABLE items IN {mode} MODE")
                locked.set()
                await asyncio.to_thread(release.wait)
        finally:
            await connection.close()

    thread = threading.Thread(target=asyncio.run, args=[hold()])
    thread.start()
    try:
        assert locked.wait(30)
        yield release
    finally:
        release.set()
        thread.join()


@contextlib.contextmanager
def many_files() -> Iterator[None]:
    """Let this process hold a few thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 8192 if hard == resource.RLIM_INFINITY else min(8192, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

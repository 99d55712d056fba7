"""Ways to take PostgreSQL, or another server, away from a running service, and to give it back."""

import asyncio
import contextlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg

from tests.conftest import REPO, START_TIMEOUT_S, Database, clean_environ
from tests.support.processes import children
from tracker.postgres.embedded import SOCKET_NAME

_BIND = b"B"
"""First byte of the message that executes a prepared statement (PostgreSQL's manual, "Message Formats")."""

_SERVE_POSTGRES = """
import pathlib, sys
from tracker.postgres.embedded import embedded_postgres
with embedded_postgres(pathlib.Path(sys.argv[1])) as url:
    print(url, flush=True)
    sys.stdin.read()
"""


class OwnPostgres:
    """A PostgreSQL that a test may stop, kill and start again; it belongs to a process of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE_POSTGRES, str(self._folder)],
            env=clean_environ(),
            cwd=REPO,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "PostgreSQL did not start"

    def stop(self, number: signal.Signals = signal.SIGINT) -> None:
        """Stop it as `number` does: SIGINT in order, SIGQUIT at once, without a checkpoint."""
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if number is not signal.SIGINT:
            for server in children(self._process.pid):
                os.kill(server, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
        self._process.stdin.close()
        self._process.wait(START_TIMEOUT_S)
        self._process.stdout.close()
        self._process = None


class Outage:
    """Shuts everybody out of one database, as a stopped PostgreSQL would."""

    def __init__(self, server_url: str, database: Database) -> None:
        self._server = Database(server_url)
        # By a session of its own, which is not kept: a test may bound their number.
        self.name: str = Database(database.url).fetch("SELECT current_database() AS name")[0]["name"]

    def begin(self) -> None:
        self._server.fetch(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS false')
        self.terminate()

    def end(self) -> None:
        self._server.fetch(f'ALTER DATABASE "{self.name}" ALLOW_CONNECTIONS true')

    def terminate(self) -> None:
        """End every connection to the database, whatever it is doing."""
        self._server.fetch("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", self.name)

    def set_read_only(self, value: str) -> None:
        self._server.fetch(f'ALTER DATABASE "{self.name}" SET default_transaction_read_only = {value}')
        self.terminate()


@contextlib.contextmanager
def locked_table(database: Database, table: str = "items") -> Iterator[None]:
    """Hold the strongest lock on a table as long as the block runs."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(database.url))
    try:
        loop.run_until_complete(connection.execute(f"BEGIN; LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE"))
        yield
    finally:
        loop.run_until_complete(connection.close())
        loop.close()


class Role(NamedTuple):
    """A login without any rights of its own."""

    name: str
    url: str


@contextlib.contextmanager
def login(database: Database) -> Iterator[Role]:
    """Create a login for one database, as long as the block runs."""
    name = f"tracker_role_{secrets.token_hex(4)}"
    database.fetch(f"CREATE ROLE {name} LOGIN PASSWORD 'x'")
    scheme, _, rest = database.url.partition("://")
    yield Role(name, f"{scheme}://{name}:x@{rest.rpartition('@')[2]}")
    database.fetch(f"DROP OWNED BY {name}")
    database.fetch(f"DROP ROLE {name}")


class Proxy:
    """Stands between the service and a server (of PostgreSQL or HTTP), and does to the connections what it is told.

    Modes: `pass` hands on; `delay` hands on late; `hold` keeps everything back until the mode changes;
    `swallow` loses what comes, and these connections stay dead; `reset` cuts off what is there and what
    comes; `cut commits` hands a statement to PostgreSQL, which commits it, and cuts the connection off before
    its answer.
    """

    DELAY_S = 0.3

    def __init__(self, upstream_url: str, port: int = 0) -> None:
        """Listen on a TCP port, a free one unless it is given."""
        parts = urlsplit(upstream_url)
        query = parse_qs(parts.query)
        self._folder = query["host"][0] if "host" in query else None
        self._address = (parts.hostname or "127.0.0.1", parts.port or 5432)
        user, at, _ = parts.netloc.rpartition("@")
        self._login = f"{parts.scheme}://{user}{at}"
        self._path = parts.path
        self.mode = "pass"
        self.cuts = 0
        self.swallowed = 0
        self.port = port
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._released = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy")

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(), self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        return f"{self._login}127.0.0.1:{self.port}{self._path}"

    def set(self, mode: str) -> None:
        self.mode = mode
        self._loop.call_soon_threadsafe(self._released.clear if mode == "hold" else self._released.set)
        if mode == "reset":
            self._loop.call_soon_threadsafe(self._cut_all)

    async def _serve(self) -> None:
        self._server = await asyncio.start_server(self._connection, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        self.mode = "reset"
        self._released.set()
        await asyncio.sleep(0.02)  # a server that closes between accept and handler leaves the socket open (3.11)
        self._server.close()
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            self._cut_all()
            await asyncio.wait(others, timeout=0.1)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        upstream: asyncio.StreamWriter | None = None
        try:
            if self.mode == "reset":
                return
            if self._folder is not None:
                from_server, upstream = await asyncio.open_unix_connection(f"{self._folder}/{SOCKET_NAME}")
            else:
                from_server, upstream = await asyncio.open_connection(*self._address)
            self._writers.add(upstream)
            pumps = {
                asyncio.create_task(self._pump(reader, upstream, writer, from_client=True)),
                asyncio.create_task(self._pump(from_server, writer, upstream, from_client=False)),
            }
            await asyncio.wait(pumps)
        finally:
            for one in (writer, upstream):
                if one is not None:
                    one.transport.abort()
                    with contextlib.suppress(OSError):
                        await one.wait_closed()
                    self._writers.discard(one)

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        back: asyncio.StreamWriter,
        *,
        from_client: bool,
    ) -> None:
        dead = False
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if self.mode == "hold":
                    await self._released.wait()
                dead = dead or self.mode == "swallow"
                if dead:
                    self.swallowed += len(data)
                    continue
                if self.mode == "delay":
                    await asyncio.sleep(self.DELAY_S)
                writer.write(data)
                await writer.drain()
                if from_client and self.mode == "cut commits" and data.startswith(_BIND):
                    self.cuts += 1
                    await asyncio.sleep(0.02)  # PostgreSQL is to have committed
                    back.transport.abort()
                    break
        writer.transport.abort()

    def _cut_all(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

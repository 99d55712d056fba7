"""What the tests share: a PostgreSQL for the session, a fresh database and a real server for a test."""

import asyncio
import contextlib
import gc
import os
import re
import secrets
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.cookiejar import CookieJar, DefaultCookiePolicy
from pathlib import Path
from typing import IO, Any

import asyncpg
import httpx
import hypothesis
import pytest
import trustme

from tests.support.forked import Forked, forked
from tests.support.oidc import Provider, running_provider
from tests.support.sessions import Sessions
from tests.support.waiting import wait_until
from tracker.postgres.embedded import embedded_postgres
from tracker.postgres.schema import upgrade_schema

hypothesis.settings.register_profile("unhurried", deadline=None)  # how long an example takes is the machine's affair
hypothesis.settings.load_profile("unhurried")

REPO = Path(__file__).parent.parent

MEMORY = Path("/dev/shm")  # noqa: S108  # each run has a folder of its own in it
POSTGRES_BYTES = 512 * 1024**2  # three times what the tests fill of one
SERVERS = {"server_url", "start_tracker", "provider", "own_provider", "embedded", "shared_stripe"}
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 60.0


def pytest_collection_finish() -> None:
    """Have the garbage collector pass over what is loaded: it is looked through hundreds of times else."""
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Have modules that start no server run first, and then the largest, so that no long one is begun last."""
    slower = {item.path for item in items if item.path.parent.name == "faults" or _starts_server(item)}

    def place(item: pytest.Item) -> tuple[bool, int, str]:
        return item.path in slower, -item.path.stat().st_size if item.path in slower else 0, str(item.path)

    items.sort(key=place)
    for item in items:
        if item.path.parent.name == "faults":
            item.add_marker("faults")


def _starts_server(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and not SERVERS.isdisjoint(item.fixturenames)


@dataclass
class Database:
    """A migrated database of a test's own."""

    url: str
    sessions: Sessions | None = None
    """Kept between statements; None connects anew for each."""

    def fetch(self, sql: str, *arguments: object) -> list[dict[str, Any]]:
        """Run a statement and return its rows."""
        if self.sessions is not None:
            return self.sessions.fetch(sql, *arguments)
        with Sessions(self.url) as sessions:
            return sessions.fetch(sql, *arguments)

    def items(self, cart_id: str) -> dict[str, dict[str, Any]]:
        """Return what is stored of a cart, by external id."""
        rows = self.fetch("SELECT * FROM items WHERE cart_id = $1 ORDER BY added_stamp", cart_id)
        return {row["external_id"]: row for row in rows}

    def wait_for_items(self, cart_id: str, count: int = 1) -> dict[str, dict[str, Any]]:
        """Return what is stored of a cart once it has at least `count` items."""
        found: dict[str, dict[str, Any]] = {}

        def are_stored() -> bool:
            nonlocal found
            found = self.items(cart_id)
            return len(found) >= count

        wait_until(are_stored, what=lambda: f"{len(found)} of {count} items stored")
        return found


@dataclass
class Tracker:
    """A running `tracker serve`."""

    process: Forked
    url: str
    banner: list[str]
    verify: ssl.SSLContext | bool = True
    client: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        no_cookies = CookieJar(DefaultCookiePolicy(allowed_domains=[]))  # each test says which cart it means
        self.client = httpx.Client(base_url=self.url, timeout=30, cookies=no_cookies, verify=self.verify)

    def post_item(self, body: Mapping[str, object], cart_id: str | None = None) -> httpx.Response:
        """POST /item with a JSON body, in the cart of the cookie if one is given."""
        return self.client.post("/item", json=body, headers=cookie(cart_id))

    def post_items(self, body: Mapping[str, object], cart_id: str | None = None) -> httpx.Response:
        """POST /items with a JSON body, in the cart of the cookie if one is given."""
        return self.client.post("/items", json=body, headers=cookie(cart_id))

    def get_items(self, cart_id: str) -> list[dict[str, Any]]:
        """Return the items of a cart as GET /items shows them."""
        answer = self.client.get("/items", headers=cookie(cart_id))
        assert answer.status_code == 200, answer.text
        items: list[dict[str, Any]] = answer.json()["items"]
        return items

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


def cookie(cart_id: str | None) -> dict[str, str]:
    """Return the headers that name a cart."""
    return {} if cart_id is None else {"Cookie": f"cart_id={cart_id}"}


def cart_of(answer: httpx.Response) -> str:
    """Return the cart that an answer sets a cookie for."""
    match = re.match(r"cart_id=([0-9a-f-]{36});", answer.headers["set-cookie"])
    assert match, answer.headers
    return match[1]


def run_tracker(
    *arguments: str, env: Mapping[str, str] | None = None, cwd: Path = REPO
) -> subprocess.CompletedProcess[str]:
    """Run a `tracker` command to its end."""
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = Forked(
            *arguments,
            env={**clean_environ(), **(env or {})},
            cwd=cwd,
            stdout=stdout.fileno(),
            stderr=stderr.fileno(),
        )
        try:
            code = process.wait(START_TIMEOUT_S)
        finally:
            process.kill()
        stdout.seek(0)
        stderr.seek(0)
        return subprocess.CompletedProcess(arguments, code, stdout.read(), stderr.read())


def clean_environ() -> dict[str, str]:
    """Return the environment without any setting of Tracker's."""
    return {
        name: value for name, value in os.environ.items() if name != "DATABASE_URL" and not name.startswith("TRACKER_")
    }


@pytest.fixture(scope="session", autouse=True)
def _one_authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Have one certificate authority known, to the tests and to all that they start, instead of 140.

    No test goes beyond this machine, and to read the 140 takes each client of HTTP 15 ms.
    """
    path = tmp_path_factory.mktemp("authority") / "authority.pem"
    trustme.CA().cert_pem.write_to_path(path)
    with pytest.MonkeyPatch.context() as environ:
        environ.setenv("SSL_CERT_FILE", str(path))
        yield


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder with a short name, as the socket of an embedded PostgreSQL needs it."""
    with tempfile.TemporaryDirectory(prefix="tracker-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """Return the URL of a PostgreSQL where databases may be created."""
    if url := os.environ.get("TRACKER_TEST_DATABASE_URL"):
        yield url
        return
    with (
        tempfile.TemporaryDirectory(prefix="tracker-", dir=_roomy_memory()) as folder,
        embedded_postgres(Path(folder)) as url,
    ):
        # No test takes this machine's power away.
        for setting in ("fsync = off", "max_wal_size = '128MB'"):
            _execute(url, f"ALTER SYSTEM SET {setting}")
        _execute(url, "SELECT pg_reload_conf()")
        yield url


def _roomy_memory() -> Path | None:
    """Return a folder in memory if there is room for a PostgreSQL.

    A database is created there in 16 ms instead of 30 to 300: ext4 takes long where files were just deleted.
    """
    if not (MEMORY.is_dir() and os.access(MEMORY, os.W_OK)):
        return None
    servers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    return MEMORY if shutil.disk_usage(MEMORY).free > servers * POSTGRES_BYTES else None


def _execute(url: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(url)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    asyncio.run(run())


def url_of(server_url: str, database: str) -> str:
    """Return the URL of a database of the server at `server_url`."""
    return re.sub(r"^([a-z+]+://[^/?]*)/?[^?]*", rf"\1/{database}", server_url)


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """Return the name of a migrated database to copy, instead of a migration a test."""
    name = f"tracker_template_{secrets.token_hex(4)}"
    _execute(server_url, f"CREATE DATABASE {name}")
    upgrade_schema(url_of(server_url, name))
    yield name
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def empty_database(server_url: str) -> Iterator[str]:
    """Return the URL of a fresh database with nothing in it."""
    name = f"tracker_test_{secrets.token_hex(4)}"
    _execute(server_url, f"CREATE DATABASE {name}")
    yield url_of(server_url, name)
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def copied(server_url: str, template: str) -> Iterator[Database]:
    """Yield a fresh, migrated database."""
    name = f"tracker_test_{secrets.token_hex(4)}"
    _execute(server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = url_of(server_url, name)
    with Sessions(url) as sessions:
        yield Database(url, sessions)
    _execute(server_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(server_url: str, template: str) -> Iterator[Database]:
    """A fresh, migrated database."""
    yield from copied(server_url, template)


@pytest.fixture(scope="session")
def shared_database(server_url: str, template: str) -> Iterator[Database]:
    """The database of `tracker`, for tests that keep to carts of their own."""
    yield from copied(server_url, template)


StartTracker = Callable[..., Tracker]


def starter(data_dir: Path) -> Iterator[StartTracker]:
    at_the_end = contextlib.ExitStack()

    def start(*arguments: str, env: Mapping[str, str] | None = None, verify: ssl.SSLContext | bool = True) -> Tracker:
        process, stdout = forked(
            *("serve", "--port", "0", *arguments),
            env={**clean_environ(), "TRACKER_DATA_DIR": str(data_dir), **(env or {})},
            cwd=REPO,
        )
        at_the_end.callback(stdout.close)
        at_the_end.callback(process.kill)  # whatever has failed: a process that is left keeps pytest from ending
        banner = banner_of(process, stdout)
        url = banner[0].split()[-1]
        tracker = Tracker(process, url, banner, verify)
        at_the_end.callback(tracker.stop)
        wait_until_answering(tracker.client)
        return tracker

    with at_the_end:
        yield start


def banner_of(process: Forked | subprocess.Popen[str], stdout: IO[str]) -> list[str]:
    """Return the lines that `tracker serve` shows when it listens; the first ends with where."""
    banner: list[str] = []
    while not any("stop" in line for line in banner):
        line = stdout.readline()
        if not line:
            pytest.fail(f"tracker serve ended with {process.wait(STOP_TIMEOUT_S)}")
        banner.append(line.rstrip())
    return banner


def wait_until_answering(client: httpx.Client) -> None:
    """Return once a server answers a client."""

    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            client.get("/health/live")
            return True
        return False

    wait_until(answers, what="tracker serve answers")


@pytest.fixture
def start_tracker(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartTracker]:
    """Start a real server; it is stopped after the test, and before `database` goes."""
    if "database" in request.fixturenames:
        request.getfixturevalue("database")
    yield from starter(tmp_path)


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """An identity provider, for tests that leave it as it is."""
    with running_provider() as provider:
        yield provider


@pytest.fixture
def own_provider() -> Iterator[Provider]:
    """Yield one whose switches may be turned."""
    with running_provider() as provider:
        yield provider


@pytest.fixture(scope="session")
def tracker(
    shared_database: Database, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracker]:
    """A server that many tests share, each with carts of its own."""
    for start in starter(tmp_path_factory.mktemp("tracker")):
        yield start(env={"DATABASE_URL": shared_database.url, "TRACKER_PAYMENT": "sandbox", **provider.env()})

"""The fast lane and Litestar's routes are one and the same: same answers, same headers, same rows."""

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar

from tests.conftest import Database
from tracker.app import create_app
from tracker.carts.fast_lane import FastLane
from tracker.carts.journal.folders import claim_folder
from tracker.clock import ManualClock
from tracker.settings import Ack, Settings

CARTS = [
    "7d9f5f0e-1111-4222-8333-444455556666",
    "00000000-0000-1000-8000-000000000001",
    "ABCDEF00-0000-4000-8000-00000000000A",
]


class Sent(NamedTuple):
    """A request, with its body in the pieces in which it arrives."""

    method: str
    path: str
    scheme: str
    headers: list[tuple[bytes, bytes]]
    body: list[bytes]


class Got(NamedTuple):
    """An answer."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes


texts = st.text(max_size=12) | st.sampled_from(["", "\0", "a" * 255, "é" * 128, "x" * 2049, "O'Brien £", "\ud7ff"])
numbers = st.integers(-3, 5) | st.sampled_from([2**31, 2**31 - 1, 2**63, -(2**63), 10**30])
junk = st.none() | st.booleans() | st.floats(allow_nan=False) | st.lists(st.integers(), max_size=2) | texts | numbers
ids = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)

plain_bodies = st.fixed_dictionaries(
    {"external_id": ids, "product_id": ids},
    optional={
        "name": st.none() | ids,
        "value": st.none() | st.integers(-(2**63), 2**63 - 1),
        "price": st.none() | st.integers(-(2**63), 2**63 - 1),
        "quantity": st.none() | st.integers(0, 2**31 - 1),
        "cart_id": st.sampled_from(CARTS) | junk,
    },
)
odd_bodies = st.dictionaries(
    st.sampled_from(["external_id", "product_id", "name", "value", "price", "quantity", "cart_id", "more"]), junk
)
hostile_bodies = st.binary(max_size=60) | st.sampled_from(
    [b"", b"[]", b"null", b"{", b"\xef\xbb\xbf{}", b'{"external_id": "\xff"}', b'{"external_id": "\\ud800"}',
     b"[" * 30_000, b'{"external_id": "a", "x": ' + b"[" * 20_000, b'{"product_id": "a", "cart_id": 1e999}',
     b'{"external_id": "a", "product_id": "a", "x": "' + b"y" * 70_000 + b'"}',
     b'{"external_id": "a", "external_id": "b", "product_id": "c"}']
)  # fmt: skip
bodies = (plain_bodies | odd_bodies).map(lambda found: json.dumps(found).encode()) | hostile_bodies

content_types = st.sampled_from(
    [b"application/json", b"text/plain", b"text/plain;charset=UTF-8", b"application/json; charset=utf-8",
     b"APPLICATION/JSON", b"application/json;x=y", b"text/html", b"", b"application/x-msgpack", b"text/plain "]
)  # fmt: skip
cookie_values = st.sampled_from(
    [b"cart_id=" + cart.encode() for cart in CARTS]
    + [b'a=b; cart_id="%b"; c=d' % CARTS[0].encode(), b"cart_id=nonsense; cart_id=" + CARTS[1].encode(),
       b"cart_id=", b"cart_id=\xff", b"x=cart_id=" + CARTS[0].encode(), b"other=1",
       b"cart_id=" + CARTS[0].encode() + b"0"]
)  # fmt: skip


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    headers = [(b"host", b"localhost")]
    headers += [
        (b"content-type", value) for value in draw(st.lists(content_types, min_size=1, max_size=1) | st.just([]))
    ]
    headers += [(b"cookie", value) for value in draw(st.lists(cookie_values, max_size=2))]
    body = draw(bodies)
    cut = draw(st.integers(0, len(body)))
    return Sent(
        draw(st.sampled_from(["POST"] * 9 + ["GET", "PUT", "OPTIONS"])),
        draw(st.sampled_from(["/item", "/items", "/api/v1/items", "/item/", "/items/", "/nope"])),
        draw(st.sampled_from(["http", "https"])),
        draw(st.permutations(headers)),
        draw(st.sampled_from([[body], [body[:cut], body[cut:]], [body, b""]])),
    )


async def call(app: Any, sent: Sent) -> Got:  # noqa: ANN401  # Litestar or what stands in front of it
    pieces = list(sent.body)
    got: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not pieces:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": pieces.pop(0), "more_body": bool(pieces)}

    async def send(message: dict[str, Any]) -> None:
        got.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": sent.method,
        "path": sent.path,
        "raw_path": sent.path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": sent.scheme,
        "headers": list(sent.headers),
        "client": ("127.0.0.1", 5),
        "server": ("localhost", 80),
        "state": {},
    }
    await app(scope, receive, send)
    body = b"".join(message.get("body", b"") for message in got[1:])
    return Got(got[0]["status"], sorted(got[0].get("headers", [])), body)


def without_new_carts(got: Got) -> Got:
    """Return an answer with the ids of carts that are not ours replaced, as each is another one."""

    def replace(data: bytes) -> bytes:
        known = {cart.lower().encode() for cart in CARTS}
        return re.sub(rb"[0-9a-f-]{36}", lambda match: match[0] if match[0] in known else b"NEW", data)

    return Got(got.status, [(name, replace(value)) for name, value in got.headers], replace(got.body))


@contextlib.asynccontextmanager
async def running(database: Database, folder: Path) -> AsyncIterator[Litestar]:
    with claim_folder(folder, 0) as claimed:
        own = Settings(database_url=database.url, data_dir=folder, ack=Ack.COMMIT, flush_interval_ms=1)
        app = create_app(own, url=database.url, folder=claimed, clock=ManualClock(1_000_000))
        async with app.lifespan():
            yield app


class Ways:
    """The two ways, each with a database of its own, on one event loop."""

    def __init__(self, runner: asyncio.Runner, through_routes: Litestar, through_lane: Litestar) -> None:
        self._runner = runner
        self._routes = through_routes
        self._lane = FastLane(through_lane, lambda: through_lane.state.context.carts)

    def both(self, sent: Sent) -> tuple[Got, Got]:
        async def main() -> tuple[Got, Got]:
            return await call(self._routes, sent), await call(self._lane, sent)

        return self._runner.run(main())


@pytest.fixture
def databases(database: Database, shared_database: Database) -> list[Database]:
    return [database, shared_database]


@pytest.fixture
def ways(databases: list[Database], tmp_path: Path) -> Iterator[Ways]:
    databases[1].fetch("TRUNCATE items, carts")
    started: asyncio.Future[list[Litestar]]
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        started, stop = loop.create_future(), asyncio.Event()

        async def serve() -> None:
            """Start and stop in one task, as Litestar's lifespan asks."""
            async with contextlib.AsyncExitStack() as stack:
                started.set_result(
                    [
                        await stack.enter_async_context(running(database, tmp_path / str(number)))
                        for number, database in enumerate(databases)
                    ]
                )
                await stop.wait()

        serving = loop.create_task(serve())
        yield Ways(runner, *loop.run_until_complete(asyncio.wait_for(started, 60)))
        stop.set()
        loop.run_until_complete(serving)


def rows(database: Database) -> list[tuple[Any, ...]]:
    """Return every item that is stored, new carts told apart by their stamps alone."""
    known = {cart.lower() for cart in CARTS}
    found = []
    for row in database.fetch("SELECT * FROM items ORDER BY added_stamp, external_id"):
        cart_id = str(row.pop("cart_id"))
        found.append((cart_id if cart_id in known else "NEW", *row.values()))
    return found


def test_both_ways_give_the_same_answers_headers_and_rows(ways: Ways, databases: list[Database]) -> None:
    @settings(max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(requests())
    def send_through_both(sent: Sent) -> None:
        by_routes, by_lane = ways.both(sent)
        assert without_new_carts(by_lane) == without_new_carts(by_routes)
        assert by_routes.status != 500

    send_through_both()
    stored = rows(databases[0])
    assert len(stored) > 100
    assert rows(databases[1]) == stored


def test_a_plain_request_never_reaches_litestar() -> None:
    class Unreachable:
        async def __call__(self, *_: object) -> None:
            raise AssertionError

    class Carts:
        async def accept(self, *_: object) -> None:
            return None

    lane = FastLane(Unreachable(), Carts)  # type: ignore[arg-type]  # nothing else is asked of them here
    headers = [(b"content-type", b"application/json"), (b"cookie", b"cart_id=" + CARTS[0].encode())]
    for path, body in [("/item", b'{"external_id": "a"}'), ("/items", b'{"product_id": "a"}')]:
        got = asyncio.run(call(lane, Sent("POST", path, "http", headers, [body])))
        assert got.status in {200, 204}

"""The fast lane and Litestar's routes are one and the same: same answers, same headers, same rows."""

import asyncio
import json
import logging
import random
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.conftest import Database
from tests.support.clock import ManualClock
from tests.support.fast_lanes import CountedLanes, Sent, counted, serving, two_ways
from tests.support.parts import new_flusher, new_intake
from tracker.errors import BufferFullError, JournalUnavailableError, UnavailableError, UnconfirmedError
from tracker.features.carts.fast_lane import CartFastLanes
from tracker.ingest.aggregator import Aggregator
from tracker.ingest.intake import Intake
from tracker.kit.confirmation import Confirmation
from tracker.kit.origins import Hosts, Origins
from tracker.runtime.context import Context
from tracker.settings import Ack
from tracker.web.fast_lane.interface import FastLanes, Peer
from tracker.web.middleware.browser_policy import BrowserPolicy
from tracker.web.rate_limit import RateLimits

CARTS = [
    "7d9f5f0e-1111-4222-8333-444455556666",
    "00000000-0000-1000-8000-000000000001",
    "ABCDEF00-0000-4000-8000-00000000000A",
]


LONG = b"y" * 70_000


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

CONTENT_TYPES = [
    b"application/json", b"text/plain", b"text/plain;charset=UTF-8", b"application/json; charset=utf-8",
    b"APPLICATION/JSON", b"application/json;x=y", b"text/html", b"", b"application/x-msgpack", b"text/plain "
]  # fmt: skip
COOKIES = [
    *(b"cart_id=" + cart.encode() for cart in CARTS),
    b'a=b; cart_id="%b"; c=d' % CARTS[0].encode(), b"cart_id=nonsense; cart_id=" + CARTS[1].encode(),
    b"cart_id=", b"cart_id=\xff", b"x=cart_id=" + CARTS[0].encode(), b"other=1",
    b"cart_id=" + CARTS[0].encode() + b"0",
]  # fmt: skip
REQUEST_IDS = [b"abc-1.2/3", b"A" * 128, b"A" * 129, b"a b", b"", b"\xff", b"x\ty"]
FORWARDED = [b"http", b"https", b"https ", b"HTTPS", b"wss", b"ftp", b""]
SENDERS = [*[b"203.0.113.7"] * 3, b"2001:db8::1", b"1, 203.0.113.7", b"", b"nobody", b"127.0.0.1", b"\xff"]
ORIGINS = [
    *[b"https://shop.example"] * 5,
    b"http://localhost", b"HTTP://LOCALHOST", b"https://localhost", b"null", b"", b"\xff"
]  # fmt: skip
HOSTS = [*[b"localhost"] * 7, b"LocalHost:80", b"a.shop.example", b"elsewhere.example"]


Headers = dict[bytes, list[bytes]]

LINES: dict[bytes, tuple[list[bytes], int]] = {
    b"host": (HOSTS, 1),
    b"content-type": (CONTENT_TYPES, 4),
    b"origin": (ORIGINS, 1),
    b"x-forwarded-for": (SENDERS, 4),
    b"cookie": (COOKIES, 4),
    b"x-forwarded-proto": (FORWARDED, 2),
    b"x-request-id": (REQUEST_IDS, 2),
}
"""The values of each header, and how many of them, from the first on, are those of plain requests."""


def plain_head(chance: random.Random) -> Headers:
    """Return headers as nearly every request has them."""
    return {
        name: [chance.choice(values[:plain])]
        for name, (values, plain) in LINES.items()
        if name == b"host" or chance.random() < 0.7
    }


def changed(headers: Headers, chance: random.Random) -> Headers:
    """Return headers of which one is another one: any value, not there at all, or twice; a host is always there."""
    name = chance.choice(list(LINES))
    values = LINES[name][0]
    fewest = 1 if name == b"host" else 0
    most = 1 if name == b"host" else 2
    return headers | {name: [chance.choice(values) for _ in range(chance.randint(fewest, most))]}


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    # All but the body from one number: to draw each choice by itself took longer than to send the request.
    chance = random.Random(draw(st.binary(min_size=8, max_size=8)))
    head = plain_head(chance)
    for _ in range(chance.choice([0, 0, 1, 1, 1, 3, 9])):
        head = changed(head, chance)
    headers = [(name, value) for name, values in head.items() for value in values]
    method, path, chunked = "POST", chance.choice(["/item", "/items", "/api/v1/items"]), False
    if chance.random() < 0.3:
        method = chance.choice(["POST"] * 5 + ["GET", "PUT", "OPTIONS"])
        path = chance.choice([path, path, "/item/", "/items?a=b", "/%69tem", "/nope"])
        chunked = chance.random() < 0.3
        headers += chance.choice([[], [(b"x-odd", b"\xff")]])
    body = draw(bodies)
    cut = chance.randint(0, len(body))
    pieces = chance.choice([[body], [body[:cut], body[cut:]], [body, b""]])
    # Else it may be answered, and the connection closed, while it is sent.
    if len(pieces) == 1 and len(body) < 1000 and chance.random() < 0.3:
        headers.append((b"connection", b"close"))
    chance.shuffle(headers)
    return Sent(method, path, headers, pieces, chunked)


def without_new_ids(answer: bytes) -> bytes:
    """Return an answer with the ids replaced that the server has made, as each is another one."""
    known = {cart.lower().encode() for cart in CARTS}
    answer = re.sub(rb"(?<=x-request-id: )[0-9a-f]{32}(?=\r\n)", b"NEW", answer)
    return re.sub(rb"[0-9a-f-]{36}", lambda match: match[0] if match[0] in known else b"NEW", answer)


def own_lanes(context: Context) -> FastLanes:
    return context.lanes


@pytest.fixture
def databases(database: Database, shared_database: Database) -> list[Database]:
    shared_database.fetch("TRUNCATE items, carts CASCADE")
    return [database, shared_database]


def rows(database: Database) -> list[tuple[Any, ...]]:
    """Return every item that is stored, new carts told apart by their stamps alone."""
    known = {cart.lower() for cart in CARTS}
    found = []
    for row in database.fetch("SELECT * FROM items ORDER BY added_stamp, external_id"):
        cart_id = str(row.pop("cart_id"))
        found.append((cart_id if cart_id in known else "NEW", *row.values()))
    return found


GUARDED: dict[str, Any] = {
    "allowed_origins": Origins("https://shop.example, http://other.example:8080"),
    "allowed_hosts": Hosts("localhost, x, *.shop.example"),
    "rate_per_address": 2,
    "rate_per_cart": 1,
}


@pytest.mark.parametrize(
    ("ack", "examples", "more"),
    [(Ack.JOURNAL, 1000, {}), (Ack.JOURNAL, 1500, GUARDED), (Ack.FSYNC, 200, GUARDED), (Ack.COMMIT, 200, GUARDED)],
    ids=["journal", "journal-guarded", "fsync-guarded", "commit-guarded"],
)
def test_both_ways_give_the_same_answers_headers_and_rows(
    databases: list[Database],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    ack: Ack,
    examples: int,
    more: dict[str, Any],
) -> None:
    clock = ManualClock(1_000_000)

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],  # a head that comes from one number has nothing to shrink
    )
    @given(requests())
    @example(
        Sent("POST", "/item", [(b"host", b"x")], [b'{"external_id": "a", "x": "' + b"y" * 70_000 + b'"}'], chunked=True)
    )
    @example(Sent("POST", "/item", [(b"host", b"x")], [b"[" * 9000], chunked=False))
    def send_through_both(sent: Sent) -> None:
        clock.pass_by(0.1)
        by_routes, by_lane = ways.both(sent)
        assert without_new_ids(by_lane) == without_new_ids(by_routes)
        assert not by_routes.startswith(b"HTTP/1.1 500")
        statuses.add(int(by_routes[9:12]))

    CountedLanes.taken = 0
    statuses: set[int] = set()
    with two_ways(databases, tmp_path, ack, counted, clock, **more) as ways:
        send_through_both()
    if examples > 500:
        assert {200, 204, 400} | ({403, 429} if more else set()) <= statuses
    assert CountedLanes.taken > examples / 25
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    stored = rows(databases[0])
    assert len(stored) > examples / 50
    assert rows(databases[1]) == stored


@pytest.mark.parametrize(
    "error", [BufferFullError("full"), JournalUnavailableError("away"), UnconfirmedError(CARTS[0], "not in time")]
)
def test_both_ways_say_in_the_same_words_that_nothing_can_be_taken(
    databases: list[Database], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: UnavailableError
) -> None:
    def take(*_: object) -> Confirmation:
        if not isinstance(error, UnconfirmedError):
            raise error
        confirmation = Confirmation()
        confirmation.resolve("not in time")
        return confirmation

    monkeypatch.setattr(Intake, "take", take)
    cookie = (b"cookie", b"cart_id=" + CARTS[0].encode())
    with two_ways(databases, tmp_path, Ack.JOURNAL, own_lanes) as ways:
        for path, body in [("/item", b'{"external_id": "a"}'), ("/items", b'{"product_id": "a"}')]:
            by_routes, by_lane = ways.both(Sent("POST", path, [(b"host", b"x"), cookie], [body], chunked=False))
            assert by_routes.startswith(b"HTTP/1.1 503")
            assert without_new_ids(by_lane) == without_new_ids(by_routes)


@pytest.mark.parametrize(("path", "body"), [("/item", b'{"external_id": "a"}'), ("/items", b'{"product_id": "a"}')])
def test_the_lane_answers_a_plain_request(path: str, body: bytes) -> None:
    limits = RateLimits(ManualClock(), per_address=1, per_cart=1)
    policy = BrowserPolicy(Origins("https://shop.example"), Hosts("tracker.example"))
    aggregator = Aggregator(1_000_000)
    lanes = CartFastLanes(new_intake(aggregator, new_flusher(aggregator)), policy, limits)
    headers = [(b"content-type", b"application/json"), (b"cookie", b"cart_id=" + CARTS[0].encode())]
    headers += [(b"host", b"tracker.example"), (b"origin", b"https://shop.example")]
    answerer = lanes.by_path[path.encode()](headers, Peer("203.0.113.7", secure=False))
    assert answerer is not None
    reply = answerer(body)
    assert reply is not None
    assert reply[0] in {200, 204}


@pytest.mark.parametrize("ack", [Ack.JOURNAL, Ack.FSYNC, Ack.COMMIT])
def test_requests_sent_at_once_are_answered_in_their_order_by_whichever_way(
    databases: list[Database], tmp_path: Path, ack: Ack
) -> None:
    def post(path: str, body: bytes, cart: str = CARTS[0]) -> bytes:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nCookie: cart_id=%b\r\nContent-Length: %d\r\n\r\n"
        return head % (path.encode(), cart.encode(), len(body)) + body

    kinds = [
        (post("/item", b'{"external_id": "a"}'), b"204"),
        (post("/item", b'{"external_id": ""}'), b"400"),
        (post("/items", b'{"product_id": "b"}'), b"200"),
        (b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n", b"404"),
    ]
    order = [0, 0, 1, 0, 2, 3, 0, 1, 1, 2, 2, 0, 3, 0]

    async def statuses(port: int) -> list[bytes]:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(kinds[kind][0] for kind in order))
        found = []
        for _ in order:
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            await reader.readexactly(int(length[1]) if length else 0)
            found.append(head[9:12])
        writer.close()
        await writer.wait_closed()
        return found

    async def main() -> list[bytes]:
        async with serving(databases[0], tmp_path, ack, own_lanes) as port:
            return await statuses(port)

    assert asyncio.run(main()) == [kinds[kind][1] for kind in order]

"""Limits of requests: what is refused, how, and that nobody gets around them by what they say about themselves."""

import itertools
import time
import uuid
from collections.abc import Iterator, Mapping

import httpx
import pytest

from tests.conftest import Database, StartTracker, Tracker, cookie, starter

PER_ADDRESS, PER_CART, WINDOW_S = 3, 1, 10
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def limited(shared_database: Database, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracker]:
    env = {
        "DATABASE_URL": shared_database.url,
        "TRACKER_RATE_PER_ADDRESS": str(PER_ADDRESS),
        "TRACKER_RATE_PER_CART": str(PER_CART),
        "TRACKER_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
    }
    for start in starter(tmp_path_factory.mktemp("limited")):
        yield start(env=env)


@pytest.fixture
def address() -> str:
    """The address of a client that was never here before."""
    return f"203.0.113.{next(_numbers)}"


def send(tracker: Tracker, sender: str | None, cart_id: str | None = None, external_id: str = "a") -> httpx.Response:
    headers = {name.encode(): value.encode("latin-1") for name, value in cookie(cart_id).items()}
    if sender is not None:
        headers[b"X-Forwarded-For"] = sender.encode("latin-1")
    return tracker.client.post("/item", json={"external_id": external_id}, headers=headers)


def use_up(tracker: Tracker, senders: Iterator[str | None], per_s: int = PER_ADDRESS) -> httpx.Response:
    """Send until the first refusal, which must come when the limit says; return it."""
    started = time.monotonic()
    for count in itertools.count():
        answer = send(tracker, next(senders))
        elapsed_s = time.monotonic() - started
        assert count <= per_s * (WINDOW_S + elapsed_s) + 1
        if answer.status_code != 204:
            assert count >= per_s * WINDOW_S
            return answer
    raise AssertionError


def test_an_address_that_sends_too_much_gets_429_until_it_waits(limited: Tracker, address: str) -> None:
    answer = use_up(limited, itertools.repeat(address), PER_ADDRESS)
    assert answer.status_code == 429
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {
        "title": "Too Many Requests",
        "status": 429,
        "detail": "too many requests: at most 3 a second, and 30 at once, are taken from one address",
    }
    assert answer.headers["retry-after"] == "1"
    assert answer.headers["ratelimit-policy"] == '"address";q=30;w=10'
    assert answer.headers["ratelimit"] == '"address";r=0;t=1'
    assert send(limited, "198.51.100.1").status_code == 204
    time.sleep(int(answer.headers["retry-after"]))
    assert send(limited, address).status_code == 204


def test_a_cart_that_gets_too_much_is_refused_from_every_address_and_by_every_name(
    limited: Tracker, shared_database: Database
) -> None:
    cart = str(uuid.uuid4())
    taken: list[tuple[str, httpx.Response]] = []
    refused: list[tuple[str, httpx.Response]] = []
    started = time.monotonic()
    for number in range(4 * PER_CART * WINDOW_S):
        external_id = f"sku-{number}"
        sender = {"X-Forwarded-For": f"198.51.100.{number}"}
        if number % 2:
            body = {"product_id": external_id, "quantity": 1, "cart_id": cart.upper()}
            answer = limited.client.post("/items", json=body, headers=sender)
        else:
            body = {"external_id": external_id}
            answer = limited.client.post("/item", json=body, headers=sender | cookie(cart))
        (refused if answer.status_code == 429 else taken).append((external_id, answer))
    assert PER_CART * WINDOW_S <= len(taken) <= PER_CART * (WINDOW_S + time.monotonic() - started) + 1
    for _, answer in refused:
        assert answer.headers["ratelimit-policy"] == '"cart";q=10;w=10'
        assert "from one cart" in answer.json()["detail"]
        assert "set-cookie" not in answer.headers
    assert send(limited, "198.51.100.1", str(uuid.uuid4())).status_code == 204
    assert set(shared_database.wait_for_items(cart, len(taken))) == {external_id for external_id, _ in taken}


@pytest.mark.parametrize("path", ["/item", "/items", "/api/v1/items"])
@pytest.mark.parametrize("extra", [{}, {"Content-Type": "text/html"}, {"Content-Type": "application/json;a=b"}])
def test_what_is_wrong_counts_as_well_and_only_items_count(
    limited: Tracker, address: str, path: str, extra: Mapping[str, str]
) -> None:
    headers = {"X-Forwarded-For": address, **extra}
    statuses = [limited.client.post(path, content="{}", headers=headers).status_code for _ in range(60)]
    assert set(statuses) == {415 if extra.get("Content-Type") == "text/html" else 400, 429}
    assert statuses[:30].count(429) == 0
    for other in ("/items", "/catalog", "/health/live", "/nowhere"):
        assert limited.client.get(other, headers=headers).status_code in {200, 404}


def test_what_a_client_says_in_front_of_its_proxys_word_changes_nothing(limited: Tracker, address: str) -> None:
    claims = ["198.51.100.{}", "2001:db8:{:x}::1", "127.0.0.1, 10.0.0.{}", "nonsense {}", "{}", "[::{}", ",{}"]
    senders = (
        f"{claims[n % len(claims)].format(n % 250)}, {address}, 10.1.2.3" if n % 8 else address
        for n in itertools.count()
    )
    assert use_up(limited, senders, PER_ADDRESS).status_code == 429


def test_a_network_of_ipv6_counts_as_one_address(limited: Tracker) -> None:
    senders = (f"2001:db8:7:7:{n:x}::1" if n % 2 else f"[2001:db8:7:7::{n:x}]:4711" for n in itertools.count())
    assert use_up(limited, senders, PER_ADDRESS).status_code == 429
    assert send(limited, "2001:db8:7:8::1").status_code == 204


def test_addresses_that_are_none_share_one_limit(limited: Tracker) -> None:
    texts = itertools.cycle(["a" * 5000, "203.0.113", "[", "1.2.3.4:x:", "\u00ff", "nonsense"])
    senders = (f"{text}{n}" for n, text in enumerate(texts))
    assert use_up(limited, senders, PER_ADDRESS).status_code == 429


def test_who_is_no_proxy_of_ours_is_counted_by_its_own_address(start_tracker: StartTracker, database: Database) -> None:
    env = {"DATABASE_URL": database.url, "TRACKER_RATE_PER_ADDRESS": "3", "TRACKER_TRUSTED_PROXIES": "10.0.0.0/8"}
    tracker = start_tracker(env=env)
    senders = (f"198.51.100.{n % 250}" if n % 5 else None for n in itertools.count())
    assert use_up(tracker, senders, 3).status_code == 429


def test_nothing_is_limited_unless_it_is_set(tracker: Tracker) -> None:
    cart = str(uuid.uuid4())
    assert {send(tracker, "203.0.113.250", cart).status_code for _ in range(300)} == {204}

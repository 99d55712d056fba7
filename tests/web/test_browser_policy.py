"""Which pages and by which hosts: what a browser does with Tracker's answers, and what they tell it."""

import json
import uuid
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Database, Tracker, cookie, starter
from tests.support.browser import BlockedError, Page
from tests.support.oidc import Provider

SHOP = "https://shop.example"
OTHER_SHOP = "http://localhost:3000"
STRANGERS = [
    "https://evil.example", "null", "http://shop.example", "https://shop.example:8443", "https://www.shop.example",
    "https://shop.example.evil.example", "HTTPS://SHOP.EXAMPLE", f"{SHOP}, {OTHER_SHOP}",
]  # fmt: skip
SECURITY = {
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


@pytest.fixture(scope="module")
def guarded(
    shared_database: Database, provider: Provider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracker]:
    env = {
        "DATABASE_URL": shared_database.url,
        "TRACKER_ALLOWED_ORIGINS": f"{SHOP},{OTHER_SHOP}",
        "TRACKER_ALLOWED_HOSTS": "127.0.0.1,tracker.example,*.tracker.example",
        **provider.env(),
    }
    for start in starter(tmp_path_factory.mktemp("guarded")):
        yield start(env=env)


def cors_of(answer: httpx.Response) -> set[str]:
    return {name for name in answer.headers if name.startswith("access-control-")}


def new_cart() -> str:
    return str(uuid.uuid4())


@pytest.mark.parametrize("origin", [SHOP, OTHER_SHOP])
def test_a_listed_page_puts_items_into_its_cart_and_reads_it(guarded: Tracker, origin: str) -> None:
    page = Page(guarded.client, origin, f"cart_id={new_cart()}")
    assert page.send_beacon("/item", '{"external_id": "a"}').status_code == 204
    as_json = {"Content-Type": "application/json"}
    status, headers, body = page.fetch("POST", "/items", headers=as_json, content='{"product_id": "b"}')
    assert (status, json.loads(body)["cart_id"]) == (200, page.cookies[8:])
    assert "set-cookie" not in headers
    status, _, body = page.fetch("GET", "/items")
    assert [item["product_id"] for item in json.loads(body)["items"]] == ["a", "b"]
    status, _, body = page.fetch("POST", "/item", headers=as_json, content="{}")
    assert (status, json.loads(body)["field"]) == (400, "external_id")
    assert page.fetch("GET", "/nowhere")[0] == 404


def test_a_listed_page_calls_the_store_with_a_token(guarded: Tracker, provider: Provider) -> None:
    page = Page(guarded.client, SHOP)
    bearer = provider.bearer("guest of the shop")
    status, headers, body = page.fetch("POST", "/carts", headers=bearer)
    assert status == 201
    cart = json.loads(body)["cart_id"]
    as_json = {**bearer, "Content-Type": "application/json", "Idempotency-Key": "a", "X-Request-ID": "b"}
    assert page.fetch("PUT", f"/carts/{cart}/items/a", headers=as_json, content='{"quantity": 1}')[0] == 204
    assert page.fetch("DELETE", f"/carts/{cart}/items/a", headers=bearer)[0] == 204
    status, headers, _ = page.fetch("GET", "/me", headers=bearer)
    assert (status, headers["cache-control"]) == (200, "no-store")


@pytest.mark.parametrize("origin", STRANGERS)
def test_a_strangers_page_can_neither_write_nor_read(
    guarded: Tracker, shared_database: Database, origin: str, provider: Provider
) -> None:
    cart = new_cart()
    page = Page(guarded.client, origin, f"cart_id={cart}")
    for path, body in [("/item", '{"external_id": "a"}'), ("/items", '{"product_id": "a"}'), ("/api/v1/items", "{}")]:
        answer = page.send_beacon(path, body)
        assert answer.status_code == 403
        assert answer.headers["content-type"] == "application/problem+json"
        assert "Origin" in answer.json()["detail"]
        assert not cors_of(answer)
        assert answer.headers["vary"] == "Origin"
        assert "set-cookie" not in answer.headers
    as_json = {"Content-Type": "application/json"}
    for method, path, headers, content in [
        ("GET", "/items", {}, None),
        ("GET", "/me", provider.bearer("a"), None),
        ("POST", "/item", as_json, '{"external_id": "a"}'),
        ("DELETE", f"/carts/{cart}/items/a", {}, None),
    ]:
        with pytest.raises(BlockedError):
            page.fetch(method, path, headers=headers, content=content)
    guarded.post_item({"external_id": "last"}, cart)
    assert set(shared_database.wait_for_items(cart)) == {"last"}


def test_no_page_and_our_own_pages_are_no_strangers(guarded: Tracker) -> None:
    cart = new_cart()
    for origin in [None, guarded.url, guarded.url.upper()]:
        headers = cookie(cart) | ({} if origin is None else {"Origin": origin})
        answer = guarded.client.post("/item", json={"external_id": "a"}, headers=headers)
        assert answer.status_code == 204
        assert not cors_of(answer)
    secure = {"X-Forwarded-Proto": "https", "Origin": guarded.url}
    assert guarded.client.post("/item", json={"external_id": "a"}, headers=secure).status_code == 403


def test_two_origins_are_nobodys(guarded: Tracker) -> None:
    for origins in [(SHOP, "https://evil.example"), ("https://evil.example", SHOP), (SHOP, SHOP)]:
        headers = [("Origin", origin) for origin in origins]
        assert guarded.client.post("/item", json={"external_id": "a"}, headers=headers).status_code == 403


def test_who_logs_out_by_a_listed_page_is_logged_out(guarded: Tracker) -> None:
    statuses = [
        guarded.client.post("/logout", headers={"Origin": origin, "Sec-Fetch-Site": "same-site"}).status_code
        for origin in (SHOP, "https://evil.example")
    ]
    assert statuses == [303, 403]


def test_a_preflight_says_what_may_be_sent_and_for_how_long(guarded: Tracker) -> None:
    asked = {"Origin": SHOP, "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    answer = guarded.client.request("OPTIONS", "/carts/x/items/y", headers=asked)
    assert answer.status_code == 204
    assert {name: value for name, value in answer.headers.items() if name not in {"date", "x-request-id"}} == {
        "access-control-allow-methods": "GET, POST, PUT, DELETE",
        "access-control-allow-headers": "Authorization, Content-Type, Idempotency-Key, X-Request-ID",
        "access-control-max-age": "600",
        "access-control-allow-origin": SHOP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "Link, Location, RateLimit, RateLimit-Policy, Retry-After, X-Request-ID",
        "vary": "Origin",
    }
    asked["Origin"] = "https://evil.example"
    refused = guarded.client.request("OPTIONS", "/carts/x/items/y", headers=asked)
    assert not cors_of(refused)
    assert refused.headers["vary"] == "Origin"


@pytest.mark.parametrize("path", ["/items", "/item", "/catalog", "/nowhere", "/health/live", "/docs/openapi.json"])
@pytest.mark.parametrize("origin", [None, SHOP, "https://evil.example"])
def test_a_cache_never_hands_one_origins_answer_to_another(guarded: Tracker, path: str, origin: str | None) -> None:
    answer = guarded.client.get(path, headers={} if origin is None else {"Origin": origin})
    assert answer.headers.get_list("vary") == ["Origin"]
    assert answer.headers.get("access-control-allow-origin") == (SHOP if origin == SHOP else None)


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("tracker.example", 204),
        ("Tracker.Example:8443", 204),
        ("eu.tracker.example", 204),
        ("evil.example", 400),
        ("tracker.example.evil.example", 400),
        ("eviltracker.example", 400),
    ],
)
def test_only_allowed_hosts_are_served(guarded: Tracker, host: str, status: int) -> None:
    answer = guarded.client.post("/item", json={"external_id": "a"}, headers={"Host": host})
    assert answer.status_code == status
    assert guarded.client.get("/items", headers={"Host": host}).status_code == {204: 200}.get(status, status)
    assert guarded.client.get("/metrics", headers={"Host": host}).status_code == {204: 200}.get(status, status)
    assert guarded.client.get("/health/ready", headers={"Host": host}).status_code == 200
    if status == 400:
        assert answer.json()["field"] == "Host"
        assert answer.json()["rule"] == "must be a name that this service is known by"


def test_without_lists_every_page_may_write_under_every_host_and_none_may_read(tracker: Tracker) -> None:
    cart = new_cart()
    page = Page(tracker.client, "https://any.example", f"cart_id={cart}")
    answer = page.send_beacon("/item", '{"external_id": "a"}')
    assert answer.status_code == 204
    assert "vary" not in answer.headers
    with pytest.raises(BlockedError):
        page.fetch("GET", "/items")
    answer = tracker.client.post("/item", json={"external_id": "b"}, headers=cookie(cart) | {"Host": "any.example"})
    assert answer.status_code == 204
    assert [item["product_id"] for item in tracker.get_items(cart)] == ["a", "b"]


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/items", None, 200),
        ("POST", "/items", {"product_id": "a"}, 200),
        ("POST", "/items", {"product_id": ""}, 400),
        ("GET", "/nowhere", None, 404),
        ("GET", "/me", None, 401),
        ("GET", "/login", None, 302),
        ("GET", "/health/live", None, 200),
        ("POST", "/item", {"external_id": "a"}, 204),
    ],
)
def test_every_answer_with_content_tells_browsers_to_be_careful(
    tracker: Tracker, scheme: str, method: str, path: str, body: object, status: int
) -> None:
    answer = tracker.client.request(method, path, json=body, headers={"X-Forwarded-Proto": scheme})
    assert answer.status_code == status
    expected = SECURITY | ({"strict-transport-security": "max-age=31536000"} if scheme == "https" else {})
    found = {name: answer.headers.get(name) for name in [*SECURITY, "strict-transport-security"]}
    if status == 204:
        assert set(found.values()) == {None}
    else:
        assert {name: value for name, value in found.items() if value is not None} == expected


def test_what_is_refused_before_it_is_a_request_says_so_too(tracker: Tracker) -> None:
    answer = tracker.client.get("/" + "a" * 20_000)
    assert answer.status_code == 431
    assert SECURITY.items() <= dict(answer.headers).items()
    assert answer.headers["x-request-id"]


def test_no_cache_keeps_a_cart(tracker: Tracker) -> None:
    for path in ("/items", "/api/v1/items"):
        assert tracker.client.get(path, headers=cookie(new_cart())).headers["cache-control"] == "no-store"

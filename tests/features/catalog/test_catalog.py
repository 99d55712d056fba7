"""GET /catalog: products by SKU, pages of what is sold, and the search."""

import asyncio
import itertools
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncConnection

from tests.conftest import Database, Tracker
from tests.support.parts import transaction
from tracker.errors import DatabaseUnavailableError, InvalidInputError
from tracker.features.catalog import store
from tracker.features.catalog.domain import MAX_SEARCH_BYTES, words_of
from tracker.features.catalog.service import Catalog, active_products
from tracker.kit.timeouts import RequestTimeouts
from tracker.postgres import request_database
from tracker.postgres.engine import create_engine
from tracker.postgres.request_database import RequestDatabase

MUGS = 250
TITLES = {
    "fruit-1": "Red apple, ripe",
    "fruit-2": "Green APPLES and pears",
    "fruit-3": "O'Brien's apple \\ pear & co: (best) !",
    "fruit-4": "Crème brûlée à la Ærø/Læsø",
}

BAD_LIMITS = ["", "0", "1001", "-1", "1.0", "1e2", "x", "null", "%D9%A1", "9" * 30]


@pytest.fixture(scope="module")
def catalog(shared_database: Database) -> Iterator[None]:
    insert = "INSERT INTO products (sku, title, description, item_type, price, currency, active)"
    shared_database.fetch(
        f"{insert} SELECT 'mug-' || to_char(n, 'FM0000'), 'Mug number ' || n, 'white', 'cup', n * 10, 'EUR', n % 5 > 0"
        " FROM generate_series(1, $1) n",
        MUGS,
    )
    for sku, title in TITLES.items():
        shared_database.fetch(f"{insert} VALUES ($1, $2, '', 'food', 99, 'USD', true)", sku, title)
    yield
    shared_database.fetch("DELETE FROM products")


@pytest.fixture
def shop(tracker: Tracker, catalog: None) -> httpx.Client:
    del catalog
    return tracker.client


def skus(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return [product["sku"] for product in answer.json()["products"]]


def test_products_are_described_in_the_order_asked_and_unknown_ones_are_named(shop: httpx.Client) -> None:
    answer = shop.get("/catalog", params={"sku": ["no-2", "mug-0003", "mug-0005", "no-1", "mug-0001"]})
    assert answer.status_code == 200
    assert answer.json() == {
        "products": [
            {
                "sku": f"mug-{number:04}",
                "title": f"Mug number {number}",
                "description": "white",
                "item_type": "cup",
                "price": number * 10,
                "currency": "EUR",
                "active": number % 5 > 0,
            }
            for number in (3, 5, 1)
        ],
        "unknown": ["no-2", "no-1"],
        "next": None,
    }


def test_a_sku_asked_for_twice_is_shown_once(shop: httpx.Client) -> None:
    answer = shop.get("/catalog", params={"sku": ["mug-0001", "no", "mug-0001", "no"]})
    assert (skus(answer), answer.json()["unknown"]) == (["mug-0001"], ["no"])


def test_the_pages_show_every_active_product_once_and_end(shop: httpx.Client) -> None:
    seen: list[str] = []
    after: dict[str, str] = {}
    for _ in range(10):
        answer = shop.get("/catalog", params={"limit": "50"} | after)
        seen += skus(answer)
        assert answer.json()["unknown"] == []
        if answer.json()["next"] is None:
            break
        assert len(skus(answer)) == 50
        after = {"after": answer.json()["next"]}
    assert seen == sorted([*TITLES, *(f"mug-{number:04}" for number in range(1, MUGS + 1) if number % 5)])


def test_a_page_that_ends_with_the_last_product_has_no_next(shop: httpx.Client) -> None:
    assert shop.get("/catalog", params={"limit": "4", "q": "apple", "after": "fruit"}).json()["next"] is None
    one_less = shop.get("/catalog", params={"limit": "2", "q": "apple"}).json()
    assert one_less["next"] == "fruit-2"


def test_a_page_has_100_products_unless_another_limit_is_asked_for(shop: httpx.Client) -> None:
    assert len(skus(shop.get("/catalog"))) == 100
    assert len(skus(shop.get("/catalog", params={"limit": "1000"}))) == 4 + MUGS * 4 // 5
    assert len(skus(shop.get("/catalog?limit=1"))) == 1


def test_a_product_never_seen_may_be_what_a_page_comes_after(shop: httpx.Client) -> None:
    assert skus(shop.get("/catalog", params={"after": "mug-0001zzz", "limit": "1"})) == ["mug-0002"]
    assert skus(shop.get("/catalog", params={"after": "zzz"})) == []


@pytest.mark.parametrize(
    ("q", "found"),
    [
        ("apple", ["fruit-1", "fruit-2", "fruit-3"]),
        ("APPLE", ["fruit-1", "fruit-2", "fruit-3"]),
        ("app pea", ["fruit-2", "fruit-3"]),
        ("pea  app\tand", ["fruit-2"]),
        ("pple", []),
        ("apple nothing", []),
        ("o'bri", ["fruit-3"]),
        ("o'brien's & \\ co: (best)", ["fruit-3"]),
        ("apple & pear | !", ["fruit-2", "fruit-3"]),
        ("crème ærø", ["fruit-4"]),
        ("BRÛ", ["fruit-4"]),
        ("apple:*", ["fruit-1", "fruit-2", "fruit-3"]),
        ("bri/pea", ["fruit-3"]),
        ("læsø", ["fruit-4"]),
        ("number 24", [f"mug-{number:04}" for number in (24, *range(241, 245), *range(246, 250))]),
    ],
)
def test_a_search_finds_titles_in_which_every_word_begins_a_word(shop: httpx.Client, q: str, found: list[str]) -> None:
    assert skus(shop.get("/catalog", params={"q": q})) == found


def test_a_search_has_pages_too(shop: httpx.Client) -> None:
    first = shop.get("/catalog", params={"q": "apple", "limit": "2"})
    assert skus(first) == ["fruit-1", "fruit-2"]
    second = shop.get("/catalog", params={"q": "apple", "limit": "2", "after": first.json()["next"]})
    assert (skus(second), second.json()["next"]) == (["fruit-3"], None)


@pytest.mark.parametrize(
    ("query", "field", "rule"),
    [
        ("sku=", "sku", "must be 1 to 255 bytes"),
        ("sku=a&sku=" + "x" * 256, "sku", "must be at most 255 bytes"),
        ("sku=a%00", "sku", "must not contain NUL"),
        ("&".join(["sku=a"] * 101), "sku", "must be given at most 100 times; it is given 101 times"),
        ("sku=a&q=b", "sku", "does not go together"),
        ("sku=a&after=b", "sku", "does not go together"),
        ("sku=a&limit=5", "sku", "does not go together"),
        ("q=", "q", "must be 1 to 255 bytes"),
        ("q=%20+", "q", "must hold a letter or a digit"),
        ("q=%27", "q", "must hold a letter or a digit"),
        ("q=a%00", "q", "must not contain NUL"),
        ("q=" + "x" * 256, "q", "must be at most 255 bytes"),
        ("after=", "after", "must be 1 to 255 bytes"),
        ("after=%00", "after", "must not contain NUL"),
        ("after=%FF", "after", "must be UTF-8"),
        ("sku=a&sku=%C3", "sku", "must be UTF-8"),
        ("limit=1&limit=2", "limit", "must be given once"),
        ("active=false", "active", "is no parameter of this route; it has sku, q, after, limit"),
        ("after=" + "%C3%A9" * 128, "after", "must be at most 255 bytes"),
        *((f"limit={bad}", "limit", "must be an integer from 1 to 1000") for bad in BAD_LIMITS),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_bad_parameter_is_400_with_its_rule(shop: httpx.Client, query: str, field: str, rule: str) -> None:
    answer = shop.get(f"/catalog?{query}")
    assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
    assert answer.json()["rule"].startswith(rule)


def test_100_skus_may_be_asked_for(shop: httpx.Client) -> None:
    asked = [f"mug-{number:04}" for number in range(100, 0, -1)]
    assert skus(shop.get("/catalog", params={"sku": asked})) == asked


def test_a_catalog_that_postgresql_does_not_show_in_time_is_unavailable(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(request_database, "TRANSACTION_TIMEOUT_S", 0.3)

    async def page() -> None:
        engine = create_engine(database.url)
        try:
            await Catalog(RequestDatabase(engine, RequestTimeouts())).page(after="", limit=1)
        finally:
            await engine.dispose()

    with (
        transaction(database.url, "LOCK TABLE products IN ACCESS EXCLUSIVE MODE"),
        pytest.raises(DatabaseUnavailableError),
    ):
        asyncio.run(page())


def test_the_document_tells_the_rules_of_the_parameters(tracker: Tracker) -> None:
    operation = tracker.client.get("/docs/openapi.json").json()["paths"]["/catalog"]["get"]
    rules = {parameter["name"]: parameter["schema"] for parameter in operation["parameters"]}
    assert {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}.items() <= rules["limit"].items()
    assert {"type": "array", "maxItems": 100}.items() <= rules["sku"].items()
    assert {"type": "string", "minLength": 1, "maxLength": 255}.items() <= rules["sku"]["items"].items()
    assert not any("oneOf" in rule for rule in rules.values())


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def connection(shared_database: Database, catalog: None, runner: asyncio.Runner) -> Iterator[AsyncConnection]:
    del catalog
    engine = create_engine(shared_database.url)
    connection = runner.run(engine.connect().start())
    yield connection
    runner.run(connection.close())
    runner.run(engine.dispose())


def test_only_products_that_are_sold_are_given_to_who_sells_them(
    runner: asyncio.Runner, connection: AsyncConnection
) -> None:
    found = runner.run(active_products(connection, ["mug-0005", "mug-0001", "no", "mug-0001"]))
    assert {sku: (product.price, product.currency) for sku, product in found.items()} == {"mug-0001": (10, "EUR")}


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("a'\\&|!():*<->\"\t .@/%_£é0") | st.characters(exclude_categories=["Cs"]), max_size=80))
def test_no_text_is_more_than_words_to_a_search(runner: asyncio.Runner, connection: AsyncConnection, q: str) -> None:
    try:
        words = words_of("q", q)
    except InvalidInputError:
        return
    runner.run(store.page(connection, after="", limit=10, words=words))


@pytest.mark.parametrize("word", ["x", "é", "1", "/x", "a-", "a.b", "&amp;", "x@", "«"])
def test_the_longest_search_is_taken(runner: asyncio.Runner, connection: AsyncConnection, word: str) -> None:
    longest = word * (MAX_SEARCH_BYTES // len(word.encode()))
    runner.run(store.page(connection, after="", limit=10, words=words_of("q", longest)))


@pytest.fixture
def large(database: Database) -> Database:
    database.fetch(
        "INSERT INTO products (sku, title, item_type, price, currency)"
        " SELECT md5(n::text), 'Mug ' || md5('title' || n), 'cup', n, 'EUR' FROM generate_series(1, 20000) n"
    )
    database.fetch("ANALYZE products")
    return database


def nodes(plan: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield plan["Node Type"], plan.get("Index Name", "")
    yield from itertools.chain.from_iterable(nodes(part) for part in plan.get("Plans", []))


def planned(database: Database, words: list[str]) -> list[tuple[str, str]]:
    """Return the parts of the plan for the statement that reads a page."""
    executed: list[tuple[str, tuple[object, ...]]] = []

    async def page() -> None:
        engine = create_engine(database.url)
        event.listen(
            engine.sync_engine, "before_cursor_execute", lambda *found: executed.append((found[2], tuple(found[3])))
        )
        async with engine.connect() as connection:
            await store.page(connection, after="8", limit=100, words=words)
        await engine.dispose()

    asyncio.run(page())
    [(statement, values)] = executed
    [row] = database.fetch(f"EXPLAIN (FORMAT JSON) {statement}", *values)
    return list(nodes(json.loads(row["QUERY PLAN"])[0]["Plan"]))


def test_a_search_uses_the_index_of_titles(large: Database) -> None:
    assert ("Bitmap Index Scan", "ix_products_title") in planned(large, ["4a5", "mug"])


def test_a_page_is_read_from_the_primary_key_without_sorting(large: Database) -> None:
    found = planned(large, [])
    assert ("Index Scan", "pk_products") in found
    assert not {"Sort", "Seq Scan"} & {node for node, _ in found}

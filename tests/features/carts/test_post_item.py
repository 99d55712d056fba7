"""POST /item through a real server, down to the rows."""

import json
import uuid

import httpx
import pytest

from tests.conftest import Database, Tracker, cart_of, cookie


def new_cart() -> str:
    return str(uuid.uuid4())


def test_a_first_item_makes_a_cart_and_sets_its_cookie(tracker: Tracker, shared_database: Database) -> None:
    answer = tracker.post_item({"external_id": "sku-1", "name": "Mug", "value": 1250})
    assert (answer.status_code, answer.content) == (204, b"")
    cart_id = cart_of(answer)
    assert uuid.UUID(cart_id).version == 4
    assert answer.headers["set-cookie"] == f"cart_id={cart_id}; Max-Age=259200; Path=/; HttpOnly; SameSite=Lax"
    row = shared_database.wait_for_items(cart_id)["sku-1"]
    assert (row["name"], row["value"], row["quantity"]) == ("Mug", 1250, 1)


def test_the_cookies_cart_is_used_and_created_and_no_cookie_is_set(tracker: Tracker, shared_database: Database) -> None:
    cart_id = new_cart()
    answer = tracker.post_item({"external_id": "sku-1"}, cart_id)
    assert answer.status_code == 204
    assert "set-cookie" not in answer.headers
    assert set(shared_database.wait_for_items(cart_id)) == {"sku-1"}
    assert len(shared_database.fetch("SELECT * FROM carts WHERE id = $1", cart_id)) == 1


def test_a_cookie_in_upper_case_is_the_same_cart(tracker: Tracker) -> None:
    cart_id = new_cart()
    tracker.post_item({"external_id": "a"}, cart_id.upper())
    assert [item["product_id"] for item in tracker.get_items(cart_id)] == ["a"]


@pytest.mark.parametrize("bad", ["nonsense", "", "7d9f5f0e-1111-4222-8333-44445555666", "'; DROP TABLE items; --"])
def test_a_cookie_that_is_no_uuid_gives_a_new_cart(tracker: Tracker, bad: str) -> None:
    assert cart_of(tracker.post_item({"external_id": "a"}, bad))


def test_absent_and_null_fields_leave_what_is_stored(tracker: Tracker, shared_database: Database) -> None:
    cart_id = cart_of(tracker.post_item({"external_id": "a", "name": "Mug", "value": 5, "quantity": 3}))
    shared_database.wait_for_items(cart_id)
    tracker.post_item({"external_id": "a", "name": None, "value": None, "quantity": None}, cart_id)
    tracker.post_item({"external_id": "a", "value": 6}, cart_id)
    tracker.post_item({"external_id": "b"}, cart_id)
    rows = shared_database.wait_for_items(cart_id, 2)
    assert (rows["a"]["name"], rows["a"]["value"], rows["a"]["quantity"]) == ("Mug", 6, 3)
    assert (rows["b"]["name"], rows["b"]["value"], rows["b"]["quantity"]) == (None, None, 1)


def test_an_item_sent_again_is_updated_not_doubled(tracker: Tracker, shared_database: Database) -> None:
    cart_id = cart_of(tracker.post_item({"external_id": "a", "quantity": 1}))
    for quantity in range(2, 12):
        tracker.post_item({"external_id": "a", "quantity": quantity}, cart_id)
    tracker.post_item({"external_id": "last"}, cart_id)
    rows = shared_database.wait_for_items(cart_id, 2)
    assert rows["a"]["quantity"] == 11


@pytest.mark.parametrize(
    "text",
    ["O'Brien", 'a "quoted" one', "£ ä 漢字 \U0001f600", "$1; %s %(x)s {}", "\\", "\n\t", "x" * 255, "é" * 127],
)
def test_any_text_is_stored_as_it_was_sent(tracker: Tracker, shared_database: Database, text: str) -> None:
    cart_id = cart_of(tracker.post_item({"external_id": text, "name": text}))
    assert shared_database.wait_for_items(cart_id)[text]["name"] == text


@pytest.mark.parametrize(
    ("field", "value"),
    [("value", -(2**63)), ("value", 2**63 - 1), ("value", 0), ("quantity", 2**31 - 1), ("quantity", 0)],
)
def test_bounds_are_stored_exactly(tracker: Tracker, shared_database: Database, field: str, value: int) -> None:
    cart_id = cart_of(tracker.post_item({"external_id": "a", field: value}))
    assert shared_database.wait_for_items(cart_id)["a"][field] == value


@pytest.mark.parametrize("content_type", ["application/json", "application/json; charset=utf-8", "text/plain",
                                          "text/plain;charset=UTF-8", "Application/JSON"])  # fmt: skip
def test_json_is_read_as_json_or_as_a_beacon_sends_it(tracker: Tracker, content_type: str) -> None:
    answer = tracker.client.post("/item", content=b'{"external_id": "a"}', headers={"content-type": content_type})
    assert answer.status_code == 204


def test_json_without_a_content_type_is_read(tracker: Tracker) -> None:
    request = tracker.client.build_request("POST", "/item", content=b'{"external_id": "a"}')
    request.headers.pop("content-type", None)
    assert tracker.client.send(request).status_code == 204


@pytest.mark.parametrize(
    "content_type",
    ["application/x-www-form-urlencoded", "text/html", "application/x-msgpack", "multipart/form-data; boundary=x"],
)
def test_another_content_type_is_415(tracker: Tracker, content_type: str) -> None:
    answer = tracker.client.post("/item", content=b'{"external_id": "a"}', headers={"content-type": content_type})
    assert_problem(answer, 415)
    assert content_type.split(";", maxsplit=1)[0] in answer.json()["detail"]


def assert_problem(answer: httpx.Response, status: int) -> None:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert answer.json()["title"]
    assert answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b"{", ""),
        (b"", ""),
        (b"{}", "external_id"),
        (b'{"external_id": ""}', "external_id"),
        (b'{"external_id": "a", "value": true}', "value"),
        (b'{"external_id": "a", "value": 1.0}', "value"),
        (b'{"external_id": "a", "value": "1"}', "value"),
        (b'{"external_id": "a", "value": 9223372036854775808}', "value"),
        (b'{"external_id": "a", "quantity": -1}', "quantity"),
        (b'{"external_id": "a\\u0000"}', "external_id"),
        (b'{"external_id": "a", "name": "\\ud800"}', ""),
        (b'{"external_id": "\xff"}', ""),
        (b"[" * 60_000, ""),
        (b'{"external_id": "a", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_bad_body_is_400_and_names_field_and_rule(tracker: Tracker, body: bytes, field: str) -> None:
    answer = tracker.client.post("/item", content=body, headers={"content-type": "application/json"})
    assert_problem(answer, 400)
    assert answer.json()["field"] == field
    assert answer.json()["rule"]
    assert "set-cookie" not in answer.headers


def padded(length: int) -> bytes:
    body = b'{"external_id": "a", "padding": "%s"}'
    return body % (b"x" * (length - len(body) + 2))


def test_a_body_of_64_kib_is_read_and_a_byte_more_is_413(tracker: Tracker) -> None:
    headers = {"content-type": "application/json"}
    assert tracker.client.post("/item", content=padded(65_536), headers=headers).status_code == 204
    assert_problem(tracker.client.post("/item", content=padded(65_537), headers=headers), 413)


def test_a_chunked_body_over_64_kib_is_413(tracker: Tracker) -> None:
    chunks = iter([padded(40_000)[:40_000], b" " * 40_000])
    answer = tracker.client.post("/item", content=chunks, headers={"content-type": "application/json"})
    assert_problem(answer, 413)


@pytest.mark.parametrize(("path", "status"), [("/item", 204), ("/items", 200), ("/api/v1/items", 200)])
def test_a_trailing_slash_makes_no_difference(tracker: Tracker, path: str, status: int) -> None:
    body = {"external_id": "a", "product_id": "a"}
    assert tracker.client.post(f"{path}/", json=body).status_code == status
    assert tracker.client.post(path, json=body).status_code == status


@pytest.mark.parametrize(("method", "path"), [("GET", "/item"), ("PUT", "/item"), ("DELETE", "/items"), ("PATCH", "/")])
def test_another_method_is_405_or_404_as_a_problem(tracker: Tracker, method: str, path: str) -> None:
    answer = tracker.client.request(method, path)
    assert_problem(answer, 404 if path == "/" else 405)


def test_https_by_a_trusted_proxy_sets_a_cookie_for_third_party_pages(tracker: Tracker) -> None:
    headers = {"X-Forwarded-Proto": "https", "content-type": "application/json"}
    answer = tracker.client.post("/item", content=json.dumps({"external_id": "a"}), headers=headers)
    assert answer.headers["set-cookie"].endswith("; HttpOnly; Secure; SameSite=None; Partitioned")


def test_many_items_of_one_connection_all_arrive(tracker: Tracker, shared_database: Database) -> None:
    cart_id = new_cart()
    for number in range(300):
        assert tracker.client.post("/item", json={"external_id": f"{number}"}, headers=cookie(cart_id)).is_success
    assert set(shared_database.wait_for_items(cart_id, 300)) == {str(number) for number in range(300)}

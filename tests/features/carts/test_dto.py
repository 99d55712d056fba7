import pytest

from tracker.errors import InvalidInputError
from tracker.features.carts.dto import ItemIn, ProductIn
from tracker.web.strict_json import decode


def test_an_item_with_every_field_is_read() -> None:
    body = '{"external_id": "ä", "name": "O\'Brien £", "value": -5, "quantity": 0, "unknown": [1]}'
    assert decode(ItemIn, body.encode()) == ItemIn("ä", "O'Brien £", -5, 0)


def test_null_is_the_same_as_absent() -> None:
    assert decode(ItemIn, b'{"external_id": "a", "name": null, "value": null, "quantity": null}') == ItemIn("a")


def test_a_field_that_tracker_does_not_know_is_passed_over() -> None:
    assert decode(ItemIn, b'{"external_id": "a", "color": "red"}') == ItemIn("a")
    assert decode(ProductIn, b'{"product_id": "a", "color": "red"}') == ProductIn("a")


def test_a_product_without_an_id_is_identified_by_its_name() -> None:
    product = decode(ProductIn, b'{"name": "laptop", "quantity": 1}')
    assert product.external_id == "laptop"


@pytest.mark.parametrize("cart_id", ["5", "[[]]", "null", '"nonsense"', "1.5", "{}", "1e999", "9" * 5000, '"\xff"'])
def test_any_value_may_stand_in_a_bodys_cart_id(cart_id: str) -> None:
    assert decode(ProductIn, b'{"product_id": "a", "cart_id": %s}' % cart_id.encode("latin-1")).product_id == "a"


MAX = 2**63

BAD_ITEMS = [
    (b"", "", "valid JSON"),
    (b"{", "", "valid JSON"),
    (b'{"external_id": "a"} x', "", "valid JSON"),
    (b"\xef\xbb\xbf{}", "", "valid JSON"),
    (b'{"external_id": "\xff"}', "", "UTF-8"),
    (b'{"external_id": "a", "value": NaN}', "", "valid JSON"),
    (b'{"external_id": "a", "x": ' + b"[" * 30_000 + b"]" * 30_000 + b"}", "", "nested too deeply"),
    (b'{"external_id": "\\ud800abcdefgh"}', "", "valid JSON"),
    (b'{"external_id": "a", "name": "\\udc00"}', "", "valid JSON"),
    (b"[]", "", "JSON object"),
    (b"null", "", "JSON object"),
    (b'"a"', "", "JSON object"),
    (b"{}", "external_id", "is required"),
    (b'{"external_id": null}', "external_id", "string of 1 to 255 bytes"),
    (b'{"external_id": 5}', "external_id", "string of 1 to 255 bytes"),
    (b'{"external_id": ""}', "external_id", "1 to 255 bytes"),
    (b'{"external_id": "%s"}' % (b"a" * 256), "external_id", "1 to 255 bytes"),
    (b'{"external_id": "%s"}' % ("é" * 128).encode(), "external_id", "255 bytes"),
    (b'{"external_id": "a\\u0000"}', "external_id", "NUL"),
    (b'{"external_id": "a", "name": 1}', "name", "2048 bytes"),
    (b'{"external_id": "a", "name": "%s"}' % (b"a" * 2049), "name", "2048 bytes"),
    (b'{"external_id": "a", "name": "%s"}' % ("é" * 1025).encode(), "name", "2048 bytes"),
    (b'{"external_id": "a", "name": "\\u0000"}', "name", "NUL"),
    (b'{"external_id": "a", "value": true}', "value", "64 bits"),
    (b'{"external_id": "a", "value": 1.5}', "value", "64 bits"),
    (b'{"external_id": "a", "value": 1.0}', "value", "64 bits"),
    (b'{"external_id": "a", "value": "1"}', "value", "64 bits"),
    (b'{"external_id": "a", "value": 1e400}', "value", "64 bits"),
    (b'{"external_id": "a", "value": %d}' % MAX, "value", "64 bits"),
    (b'{"external_id": "a", "value": %d}' % (-MAX - 1), "value", "64 bits"),
    (b'{"external_id": "a", "value": ' + b"9" * 5000 + b"}", "value", "64 bits"),
    (b'{"external_id": "a", "quantity": -1}', "quantity", "0 to 2147483647"),
    (b'{"external_id": "a", "quantity": 2147483648}', "quantity", "0 to 2147483647"),
    (b'{"external_id": "a", "quantity": false}', "quantity", "0 to 2147483647"),
    (b'{"external_id": "a", "quantity": "3"}', "quantity", "0 to 2147483647"),
]


@pytest.mark.parametrize(("body", "field", "rule"), BAD_ITEMS, ids=lambda value: str(value)[:40])
def test_a_bad_item_is_refused_by_naming_field_and_rule(body: bytes, field: str, rule: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode(ItemIn, body)
    assert caught.value.field == field
    assert rule in caught.value.rule


BAD_PRODUCTS = [
    (b"{}", "product_id", "is required"),
    (b'{"name": "a"}', "product_id", "is required"),
    (b'{"quantity": 1}', "product_id", "is required"),
    (b'{"product_id": null, "name": null, "quantity": 1}', "product_id", "is required"),
    (b'{"product_id": ""}', "product_id", "1 to 255 bytes"),
    (b'{"name": "", "quantity": 1}', "name", "1 to 255 bytes"),
    (b'{"name": "%s", "quantity": 1}' % (b"a" * 256), "name", "255 bytes"),
    (b'{"name": "\\u0000", "quantity": 1}', "name", "NUL"),
    (b'{"product_id": "a", "price": 1.5}', "price", "64 bits"),
]


@pytest.mark.parametrize(("body", "field", "rule"), BAD_PRODUCTS, ids=lambda value: str(value)[:40])
def test_a_bad_product_is_refused_by_naming_field_and_rule(body: bytes, field: str, rule: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        decode(ProductIn, body)
    assert caught.value.field == field
    assert rule in caught.value.rule


@pytest.mark.parametrize("value", [-MAX, MAX - 1, 0])
def test_the_bounds_of_a_value_are_accepted(value: int) -> None:
    assert decode(ItemIn, b'{"external_id": "a", "value": %d}' % value).value == value


@pytest.mark.parametrize("quantity", [0, 1, 2**31 - 1])
def test_the_bounds_of_a_quantity_are_accepted(quantity: int) -> None:
    assert decode(ItemIn, b'{"external_id": "a", "quantity": %d}' % quantity).quantity == quantity

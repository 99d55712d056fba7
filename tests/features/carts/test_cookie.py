import pytest

from tracker.features.carts.cookie import cart_id_of_cookie, drop_cookie_header, set_cookie_header
from tracker.ingest.items import CartId

ONE = "7d9f5f0e-1111-4222-8333-444455556666"
TWO = "8d9f5f0e-1111-4222-8333-444455556666"


@pytest.mark.parametrize(
    ("cookies", "found"),
    [
        ([f"cart_id={ONE}"], ONE),
        ([f"a=b; cart_id={ONE}; c=d"], ONE),
        ([f"a=b;cart_id={ONE}"], ONE),
        ([f'cart_id="{ONE}"'], ONE),
        ([f"cart_id={ONE.upper()}"], ONE),
        (["a=b", f"cart_id={ONE}"], ONE),
        ([f"cart_id=nonsense; cart_id={ONE}"], ONE),
        ([f"cart_id={ONE}; cart_id={TWO}"], ONE),
        ([f"cart_id={ONE[:-1]}-; cart_id={TWO}"], TWO),
        ([f"cart_id={ONE[:-1]}-;cart_id={TWO}"], TWO),
        ([f"x=hello cart_id={ONE}"], None),
        ([], None),
        (["cart_id="], None),
        ([f"old_cart_id={ONE}"], None),
        ([f"cart_id={ONE}0"], None),
        ([f"cart_id={ONE.replace('-', '')}"], None),
        ([f"Cart_Id={ONE}"], None),
        ([f"a=cart_id={ONE}"], None),
    ],
)
def test_the_first_valid_uuid_of_the_cookies_is_the_cart(cookies: list[str], found: str | None) -> None:
    headers = [(b"host", b"x"), *((b"cookie", value.encode()) for value in cookies)]
    assert cart_id_of_cookie(headers) == found


def test_bytes_that_are_no_text_name_no_cart() -> None:
    assert cart_id_of_cookie([(b"cookie", b"\xff\x00; cart_id=\xff")]) is None


def test_over_http_the_cookie_works_on_localhost() -> None:
    assert (
        set_cookie_header(CartId(ONE), secure=False) == f"cart_id={ONE}; Max-Age=259200; Path=/; HttpOnly; SameSite=Lax"
    )


def test_over_https_the_cookie_works_in_a_third_partys_page() -> None:
    assert (
        set_cookie_header(CartId(ONE), secure=True)
        == f"cart_id={ONE}; Max-Age=259200; Path=/; HttpOnly; Secure; SameSite=None; Partitioned"
    )


@pytest.mark.parametrize("secure", [True, False])
def test_it_is_dropped_with_the_attributes_it_was_set_with(secure: bool) -> None:  # noqa: FBT001  # of the test's cases
    set_with = set_cookie_header(CartId(ONE), secure=secure)
    assert drop_cookie_header(secure=secure) == set_with.replace(ONE, "").replace("Max-Age=259200", "Max-Age=0")

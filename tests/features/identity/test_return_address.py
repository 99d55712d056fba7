import pytest

from tracker.errors import ForbiddenError, InvalidInputError
from tracker.features.identity.domain import MAX_RETURN_ADDRESS_CHARS, Caller, check_return_address, check_same_site
from tracker.kit.origins import Origins

SHOP = "https://shop.example"
LONGEST = "/" + "a" * (MAX_RETURN_ADDRESS_CHARS - 1)


@pytest.mark.parametrize(
    "address", ["/", "/cart", "/a/b?c=d&e=//f#g", "/.//x", "/@evil.example", "/%5Cevil.example", LONGEST]
)
def test_a_path_on_this_site_is_taken(address: str) -> None:
    assert check_return_address(address) == address


@pytest.mark.parametrize(
    "address",
    [
        "",
        "cart",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/a\\b",
        "https://evil.example/",
        "https:evil.example",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/\n/evil.example",
        "/a\r\nSet-Cookie: a=b",
        "/a\n",
        "\t//evil.example",
        " /cart",
        "/a b",
        "/\x00",
        "/\x7f",
        "/ü",
        "/\u2215evil.example",
        LONGEST + "a",
    ],
)
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(InvalidInputError, match="must be a path on this site") as caught:
        check_return_address(address)
    assert caught.value.field == "return_to"


def caller(method: str = "POST", *, origins: tuple[str, ...] = (), sites: tuple[str, ...] = ()) -> Caller:
    return Caller(method=method, origin=SHOP, sent_origins=origins, fetch_sites=sites)


@pytest.mark.parametrize(
    "sent",
    [
        caller(origins=(SHOP,)),
        caller(origins=("HTTPS://Shop.Example",)),
        caller(sites=("same-origin",)),
        caller("DELETE", origins=(SHOP,), sites=("same-origin",)),
        *(caller(method, origins=("https://evil.example",), sites=("cross-site",)) for method in ("GET", "HEAD")),
    ],
)
def test_our_own_page_may_change_things_and_any_page_may_read(sent: Caller) -> None:
    check_same_site(sent)


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (caller(), "needs an Origin or Sec-Fetch-Site"),
        (caller(origins=("null",)), "Origin must be"),
        (caller(origins=("https://evil.example",)), "Origin must be"),
        (caller(origins=("http://shop.example",)), "Origin must be"),
        (caller(origins=(f"{SHOP}:8443",)), "Origin must be"),
        (caller(origins=(SHOP, "https://evil.example")), "Origin must be"),
        (caller(origins=(SHOP,), sites=("same-site",)), "Sec-Fetch-Site must be"),
        (caller(origins=(SHOP,), sites=("cross-site",)), "Sec-Fetch-Site must be"),
        (caller(sites=("none",)), "Sec-Fetch-Site must be"),
        (caller("PUT", origins=("https://evil.example",), sites=("same-origin",)), "Origin must be"),
        (caller("BREW"), "needs an Origin"),
    ],
)
def test_another_sites_page_may_not(sent: Caller, reason: str) -> None:
    with pytest.raises(ForbiddenError, match=reason):
        check_same_site(sent)


def test_a_page_of_a_listed_origin_may_change_things_and_no_other_may() -> None:
    listed = Origins("https://www.example, http://localhost:3000")
    check_same_site(caller(origins=("https://www.example",), sites=("same-site",)), listed)
    check_same_site(caller("PUT", origins=("http://localhost:3000",), sites=("cross-site",)), listed)
    check_same_site(caller(origins=(SHOP,), sites=("same-origin",)), listed)
    for origins in [("https://www.example", "https://evil.example"), ("https://evil.example",), ("null",), ()]:
        with pytest.raises(ForbiddenError):
            check_same_site(caller(origins=origins), listed)

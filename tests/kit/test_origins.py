import pytest

from tracker.kit.origins import Hosts, Origins


def test_origins_are_listed_by_commas() -> None:
    found = Origins(" https://shop.example,http://localhost:3000 , http://[::1]:3000,")
    assert set(found) == {"https://shop.example", "http://localhost:3000", "http://[::1]:3000"}


@pytest.mark.parametrize(
    "text",
    [
        "*", "null", "https://*.shop.example", "shop.example", "https://", "https://shop.example/", "https://Shop.example",
        "https://shop.example/path", "https://user@shop.example", "https://shop.example:443", "http://shop.example:80",
        "https://shop.example:0", "https://shop.example:65536", "https://shop.example:", "ftp://shop.example",
        "https://shop_example", "https://-shop.example", "https://shöp.example", "https://shop.example https://b.example",
        ",", " ",
    ],
)  # fmt: skip
def test_what_no_browser_sends_as_an_origin_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"origin|port|none"):
        Origins(text)


@pytest.mark.parametrize(
    "text", ["*", "*.", "*shop.example", "a.*.example", "https://shop.example", "shop.example:80", ","]
)
def test_what_is_no_host_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"host|none"):
        Hosts(text)


@pytest.mark.parametrize(
    ("header", "allowed"),
    [
        (b"shop.example", True),
        (b"Shop.EXAMPLE", True),
        (b"shop.example:8443", True),
        (b"cdn.example", False),
        (b"a.cdn.example", True),
        (b"a.b.cdn.example:80", True),
        (b".cdn.example", False),
        (b"[::1]", True),
        (b"[::1]:8000", True),
        (b"::1", False),
        (b"a.shop.example", False),
        (b"evilshop.example", False),
        (b"shop.example.evil", False),
        (b"shop.example:80@evil", False),
        (b"shop.example, shop.example", False),
        (b"shop.example.", False),
        (b"shop.example:80:80", False),
        (b"*.cdn.example", True),  # no name that resolves; a browser cannot send it
        (b"evil.example:80@a.cdn.example", False),
        (b"my_app.cdn.example", True),
        (b"a..cdn.example", False),
        (b"", False),
        (b":80", False),
        (b"\xff", False),
        (b"a." * 5000 + b"cdn.example", False),
    ],
)
def test_a_host_is_allowed_by_its_name_whatever_its_port(header: bytes, allowed: bool) -> None:  # noqa: FBT001
    assert Hosts("shop.example, *.cdn.example, [::1]").allows(header) is allowed

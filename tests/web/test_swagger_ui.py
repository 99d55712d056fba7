"""The page at /docs: it needs nothing from anywhere else, and browsers do not load twice what they have."""

import gzip
import re
from urllib.parse import urlsplit

import pytest

from tests.conftest import Tracker

SCRIPT = "/docs/swagger-ui/swagger-ui-bundle.js"


def test_the_page_names_no_other_host_and_has_no_inline_script(tracker: Tracker) -> None:
    answer = tracker.client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    named = re.findall(r'(?:src|href)="([^"]*)"', answer.text)
    assert len(named) == 5
    for address in named:
        assert not urlsplit(address).netloc
        assert tracker.client.get(address).status_code == 200, address
    assert re.findall(r"<script[^>]*>([^<]*)</script>", answer.text) == ["", ""]


def test_the_policy_of_the_page_forbids_every_other_host(tracker: Tracker) -> None:
    policy = dict(
        rule.split(" ", 1) for rule in tracker.client.get("/docs").headers["content-security-policy"].split("; ")
    )
    assert policy.pop("default-src") == "'none'"
    assert policy["script-src"] == "'self'"
    sources = {source for rule in policy.values() for source in rule.split()}
    assert sources <= {"'self'", "'none'", "'unsafe-inline'", "data:"}


def test_the_page_starts_with_trackers_document(tracker: Tracker) -> None:
    start = tracker.client.get("/docs/swagger-ui/start.js").text
    assert '"/docs/openapi.json"' in start
    assert "validatorUrl: null" in start  # else it asks a public host about the document


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("start.js", "text/javascript; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ],
)
def test_a_file_has_its_type(tracker: Tracker, name: str, media_type: str) -> None:
    answer = tracker.client.get(f"/docs/swagger-ui/{name}")
    assert answer.headers["content-type"] == media_type


@pytest.mark.parametrize("accepted", ["gzip", "br, gzip;q=0.5", "GZIP"])
def test_a_large_file_is_sent_compressed_to_who_takes_that(tracker: Tracker, accepted: str) -> None:
    with tracker.client.stream("GET", SCRIPT, headers={"Accept-Encoding": accepted}) as answer:
        sent = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "Accept-Encoding"
    assert len(sent) < 500_000
    assert b"SwaggerUIBundle" in gzip.decompress(sent)


@pytest.mark.parametrize("accepted", ["identity", "", "gzip;q=0", "gzip; q=0.0, br"])
def test_a_large_file_is_sent_as_it_is_to_others(tracker: Tracker, accepted: str) -> None:
    with tracker.client.stream("GET", SCRIPT, headers={"Accept-Encoding": accepted}) as answer:
        sent = b"".join(answer.iter_raw())
    assert "content-encoding" not in answer.headers
    assert b"SwaggerUIBundle" in sent


def test_a_browser_that_has_a_file_does_not_get_it_again(tracker: Tracker) -> None:
    tag = tracker.client.get(SCRIPT).headers["etag"]
    again = tracker.client.get(SCRIPT, headers={"If-None-Match": f'"other", {tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    assert tracker.client.get(SCRIPT, headers={"If-None-Match": '"other"'}).status_code == 200


@pytest.mark.parametrize("name", ["README.md", "LICENSE", "swagger-ui.css.gz", "%2e%2e%2f__init__.py"])
def test_nothing_else_of_the_folder_is_served(tracker: Tracker, name: str) -> None:
    assert tracker.client.get(f"/docs/swagger-ui/{name}").status_code == 404

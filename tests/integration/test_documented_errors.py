"""The served OpenAPI names the errors that a client must expect, each as a problem."""

import pytest

from tests.conftest import Tracker

CARTS = ["/items", "/api/v1/items"]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        *(("post", path, {"400", "413", "415", "503"}) for path in ["/item", *CARTS]),
        *(("get", path, {"503"}) for path in [*CARTS, "/health/ready"]),
    ],
)
def test_the_document_names_every_error_of_a_route(
    tracker: Tracker, method: str, path: str, statuses: set[str]
) -> None:
    document = tracker.client.get("/docs/openapi.json").json()
    answers = document["paths"][path][method]["responses"]
    assert statuses <= set(answers)
    for status in statuses:
        assert set(answers[status]["content"]) == {"application/problem+json"}

"""The served OpenAPI names the errors that a client must expect, each as a problem."""

import pytest

from tests.conftest import Tracker

CARTS = ["/items", "/api/v1/items"]


@pytest.mark.parametrize(
    ("method", "path", "statuses"),
    [
        *(("post", path, {"400", "403", "413", "415", "429", "503"}) for path in ["/item", *CARTS]),
        *(("get", path, {"503"}) for path in [*CARTS, "/health/ready"]),
        ("get", "/catalog", {"400", "431", "503"}),
        *(("get", path, {"400", "501", "503"}) for path in ["/login", "/login/callback"]),
        ("post", "/logout", {"400", "403", "501"}),
        ("get", "/me", {"401", "403", "501", "503"}),
        *((method, "/carts", {"401", "403", "501", "503"}) for method in ["get", "post"]),
        ("get", "/carts", {"400"}),
        ("post", "/carts/claim", {"401", "403", "404", "501", "503"}),
        ("get", "/carts/{cart_id}", {"401", "403", "404", "501", "503"}),
        *(
            (method, "/carts/{cart_id}/items/{external_id}", {"400", "401", "403", "404", "409", "501", "503"})
            for method in ["put", "delete"]
        ),
        ("post", "/carts/{cart_id}/checkout", {"400", "401", "402", "403", "409", "413", "415", "422", "501", "503"}),
        ("get", "/orders/{order_id}", {"401", "403", "404", "501", "503"}),
        ("post", "/payments/stripe", {"400", "403", "413", "501", "503"}),
        ("post", "/warranties", {"400", "403", "413", "415", "422", "503"}),
        ("get", "/warranties", {"400", "431", "503"}),
        ("get", "/warranties/{warranty_id}", {"404", "503"}),
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

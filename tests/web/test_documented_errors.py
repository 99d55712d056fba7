"""The served OpenAPI names the errors that a client must expect, each as a problem, with examples that are true."""

import time
from typing import Any, Final

import pytest

from tests.conftest import Tracker
from tests.support.oidc import Provider

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


CART: Final = "/carts/0b6f8f5e-2c57-4dd0-9b3b-0f2f6c1f3c55"
MUG: Final = {"item_sku": "mug", "item_title": "Mug", "item_type": "kitchen", "store_uuid": "1"}

ELSEWHERE: Final = {"params": {"return_to": "//elsewhere"}}
NO_ENTRIES: Final = {"params": {"limit": "0"}}

WRONG: Final[dict[str, tuple[str, str, dict[str, Any]]]] = {
    "addItem": ("POST", "/item", {"json": {"external_id": "mug", "quantity": "1"}}),
    "addProduct": ("POST", "/items", {"json": {"product_id": "mug", "quantity": "1"}}),
    "addProductV1": ("POST", "/api/v1/items", {"json": {"product_id": "mug", "quantity": "1"}}),
    "putItem": ("PUT", f"{CART}/items/mug", {"json": {"quantity": "1"}}),
    "deleteItem": ("DELETE", f"{CART}/items/%FF", {}),
    "checkOut": ("POST", f"{CART}/checkout", {"json": {}, "headers": {"Idempotency-Key": "a"}}),
    "logIn": ("GET", "/login", ELSEWHERE),
    "logOut": (
        "POST",
        "/logout",
        {"params": {"return_to": "//elsewhere"}, "headers": {"Sec-Fetch-Site": "same-origin"}},
    ),
    "createWarranty": ("POST", "/warranties", {"json": {**MUG, "item_cost": "1.5"}}),
    **{
        operation: ("GET", path, {"params": {"limit": "0"}})
        for operation, path in {
            "showCatalog": "/catalog",
            "listCarts": "/carts",
            "listWarranties": "/warranties",
        }.items()
    },
}
"""A request that breaks the documented rule, by operation."""

NEEDS_STRIPE: Final = {"hearStripe"}
"""Operations that answer 501 here; those of their own tests break the rule."""


def documented(tracker: Tracker) -> dict[str, dict[str, Any]]:
    """Return the documented problems that name a field and its rule, by operation."""
    document = tracker.client.get("/docs/openapi.json").json()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    problems = {
        operation["operationId"]: operation["responses"]["400"]["content"]["application/problem+json"]["example"]
        for operation in operations
    }
    return {operation: problem for operation, problem in problems.items() if "rule" in problem}


def test_each_documented_rule_has_a_request_that_breaks_it(tracker: Tracker) -> None:
    assert WRONG.keys() | NEEDS_STRIPE == documented(tracker).keys()


@pytest.mark.parametrize("operation", WRONG)
def test_a_request_that_breaks_a_rule_gets_the_documented_problem(
    tracker: Tracker, provider: Provider, operation: str
) -> None:
    method, path, sent = WRONG[operation]
    token = {"Authorization": f"Bearer {provider.token(exp=int(time.time()) + 3600)}"}
    answer = tracker.client.request(method, path, **{**sent, "headers": {**token, **sent.get("headers", {})}})
    assert (answer.status_code, answer.json()) == (400, documented(tracker)[operation])

"""The served OpenAPI: complete enough for schemathesis to find nothing undocumented."""

import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import Database, StartTracker, Tracker
from tests.oidc import Provider

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
]


def test_schemathesis_finds_no_server_error_and_no_undocumented_answer(
    start_tracker: StartTracker, database: Database, provider: Provider, tmp_path: Path
) -> None:
    stripe = {"TRACKER_PAYMENT": "stripe", "TRACKER_STRIPE_SECRET_KEY": "sk", "TRACKER_STRIPE_WEBHOOK_SECRET": "wh"}
    nobody = {"TRACKER_STRIPE_URL": "http://127.0.0.1:9"}
    tracker = start_tracker(env={"DATABASE_URL": database.url, **provider.env(), **stripe, **nobody})
    token = provider.token(exp=int(time.time()) + 3600)
    done = subprocess.run(
        [
            Path(sys.executable).parent / "schemathesis",
            "run",
            f"{tracker.url}/docs/openapi.json",
            "--checks",
            ",".join(CHECKS),
            "--max-examples=30",
            f"--header=Authorization: Bearer {token}",
            "--no-color",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]


def test_the_document_describes_every_route(tracker: Tracker) -> None:
    document = tracker.client.get("/docs/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) == {
        *("/item", "/items", "/api/v1/items"),
        *("/login", "/login/callback", "/logout", "/me"),
        *("/carts", "/carts/claim", "/carts/{cart_id}", "/carts/{cart_id}/items/{external_id}"),
        *("/catalog", "/carts/{cart_id}/checkout", "/orders/{order_id}", "/payments/stripe"),
        *("/warranties", "/warranties/{warranty_id}"),
        *("/health/live", "/health/ready"),
    }
    quantity = document["components"]["schemas"]["ItemIn"]["properties"]["quantity"]["anyOf"][0]
    assert (quantity["minimum"], quantity["maximum"]) == (0, 2**31 - 1)
    assert set(document["paths"]["/item"]["post"]["requestBody"]["content"]) == {"application/json", "text/plain"}

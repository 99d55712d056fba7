"""The served OpenAPI document: true and complete, as far as schemathesis and its own rules can tell."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPO, Database, StartTracker, Tracker, clean_environ
from tests.support.oidc import Provider
from tracker.web import health_routes
from tracker.web.openapi.examples import OF_ALL, Examples, joined

SCHEMATHESIS = REPO / "tests" / "support" / "schemathesis"


def test_schemathesis_finds_nothing_that_the_document_does_not_say(
    start_tracker: StartTracker, database: Database, provider: Provider, tmp_path: Path
) -> None:
    """All phases and all checks; what a check cannot know of Tracker stands in schemathesis.toml, with its reason."""
    stripe = {"TRACKER_PAYMENT": "stripe", "TRACKER_STRIPE_SECRET_KEY": "sk", "TRACKER_STRIPE_WEBHOOK_SECRET": "wh"}
    nobody = {"TRACKER_STRIPE_URL": "http://127.0.0.1:9"}
    guard = {"TRACKER_ALLOWED_ORIGINS": "https://tracker.example", "TRACKER_ALLOWED_HOSTS": "127.0.0.1"}
    tracker = start_tracker(env={"DATABASE_URL": database.url, **provider.env(), **stripe, **nobody, **guard})
    token = provider.token(exp=int(time.time()) + 3600)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "schemathesis.cli",
            f"--config-file={SCHEMATHESIS / 'schemathesis.toml'}",
            "run",
            f"{tracker.url}/docs/openapi.json",
            "--checks=all",
            "--max-examples=3",
            "--seed=1",
            "--generation-database=none",
            f"--header=Authorization: Bearer {token}",
            "--no-color",
        ],
        cwd=tmp_path,  # it leaves its cases behind
        env={**clean_environ(), "SCHEMATHESIS_HOOKS": str(SCHEMATHESIS / "hooks.py")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr


@pytest.fixture(scope="module")
def document(tracker: Tracker) -> dict[str, Any]:
    found: dict[str, Any] = tracker.client.get("/docs/openapi.json").json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    tags = {tag["name"] for tag in document["tags"] if tag["description"]}
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert set(operation["tags"]) <= tags, name
        for parameter in operation["parameters"]:
            assert parameter["description"], (name, parameter)
            assert parameter["schema"].get("type"), (name, parameter)


def test_operation_ids_are_the_names_of_the_handlers(document: dict[str, Any]) -> None:
    ids = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(ids)) == len(ids)
    assert {"addItem", "addProduct", "addProductV1", "checkOut", "listWarranties", "ready"} <= set(ids)


def test_every_body_and_every_answer_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for answer in [operation.get("requestBody", {}), *operation["responses"].values()]:
            for content in answer.get("content", {}).values():
                assert "example" in content, (name, answer)


def test_the_example_of_an_error_has_its_status(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, answer in operation["responses"].items():
            problem = answer.get("content", {}).get("application/problem+json")
            assert problem is None or problem["example"]["status"] == int(status), name


def test_what_a_connection_answers_by_itself_is_described_everywhere(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert {"400", "408", "431", "503"} <= set(operation["responses"]), name


def test_the_cookies_are_described(document: dict[str, Any]) -> None:
    add_item = document["paths"]["/item"]["post"]
    assert [(sent["in"], sent["name"]) for sent in add_item["parameters"]] == [("cookie", "cart_id")]
    assert "cart_id" in add_item["responses"]["204"]["headers"]["Set-Cookie"]["description"]
    session = document["components"]["securitySchemes"]["session"]
    assert (session["in"], session["name"]) == ("cookie", "session")
    assert {"session": []} in document["paths"]["/me"]["get"]["security"]


def test_options_names_every_method_of_a_path(tracker: Tracker, document: dict[str, Any]) -> None:
    for path, methods in document["paths"].items():
        allowed = tracker.client.options(path).headers["allow"].split(", ")
        assert set(allowed) == {*map(str.upper, methods), "OPTIONS"}, path


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


def test_the_readme_names_routes_that_there_are_and_leaves_none_out(document: dict[str, Any]) -> None:
    readme = (REPO / "README.md").read_text(encoding="utf-8")
    table = readme.partition("## The routes")[2].partition("\n## ")[0]
    told = re.findall(r"`(?:([A-Z]+) )?(/[^`]*)`", table)
    known = {path: {method.upper() for method in methods} for path, methods in document["paths"].items()}
    known |= {path: {"GET"} for path in ("/metrics", "/docs", "/docs/openapi.json")}  # which the document leaves out
    known = {re.sub(r"{\w+}", "{id}", path): methods for path, methods in known.items()}
    for method, path in told:
        assert {method} - {""} <= known.get(path, set()), (method, path)
        assert path in known, path
    named = {path for _, path in told}
    assert not [path for path in known if not any(path == one or path.startswith(f"{one}/") for one in named)]


def all_examples() -> Examples:
    names = [path.parent.name for path in REPO.glob("tracker/features/*/examples.py")]
    of_features = [import_module(f"tracker.features.{name}.examples").EXAMPLES for name in names]
    return joined([OF_ALL, health_routes.EXAMPLES, *of_features])


def test_every_example_is_of_an_operation_and_an_answer_that_there_are(tracker: Tracker) -> None:
    document = tracker.client.get("/docs/openapi.json").json()
    answers = {op["operationId"]: op["responses"] for path in document["paths"].values() for op in path.values()}
    examples = all_examples()
    for operation, status in {*examples.problems, *examples.headers, *examples.answers}:
        assert str(status) in answers[operation], (operation, status)
    assert {*examples.fields, *examples.parameters, *examples.request_bodies} <= set(answers)
    assert set(examples.tag_places) <= set(examples.tags)
    assert set(examples.schemas) <= {type(body).__name__ for body in examples.bodies}

"""The served OpenAPI document: Litestar's, made true and complete.

msgspec is what checks the requests, so its schemas are the true ones; Litestar's rendering of the
same Structs loses a `minimum` of 0 and moves the bounds of a nullable field beside its type. What a
connection answers before Litestar is asked (`tracker.web.server.connection`), the headers that come with a status,
and an example of everything are added to every operation here, so that no route needs to repeat them.
"""

import math
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.handlers import HTTPRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, Tag
from litestar.types import Method
from litestar.types.internal_types import PathParameterDefinition

from tracker.web.limits import MAX_HEADER_BYTES, REQUEST_TIMEOUT_S
from tracker.web.openapi.examples import Examples, location
from tracker.web.openapi.swagger_ui import SwaggerUI, docs_router
from tracker.web.problems import ANSWERS, PROBLEM_MEDIA_TYPE, RETRY_AFTER, Header, Problem

DESCRIPTION: Final = """\
Tracks what shoppers put into their carts: answers at once, stores in PostgreSQL milliseconds later.

- A browser's cart is in the cookie `cart_id`. Over https it is `Secure; SameSite=None; Partitioned`.
- Customers send a bearer token of their identity provider, or the session cookie that `/login` has set.
- Amounts of money are integers, in cents, but for `item_cost` of a warranty.
- Integers are written without a fraction: `5`, not `5.0`. Lengths of texts count bytes of UTF-8.
- Errors are problems (RFC 9457) and name the field and its rule. 503 says in `Retry-After` when to try again.
"""

_BELOW: Final = {
    400: "This is no valid HTTP request",
    408: f"The request did not arrive within {REQUEST_TIMEOUT_S:.0f} s",
    431: f"The request line and all headers together are larger than {MAX_HEADER_BYTES // 1024} KiB",
    503: "Too many connections are open, or the service is stopping; try again after Retry-After seconds",
}
"""Descriptions of the answers that the connection itself may give to any request, by status."""

_STRING: Final = {"type": "string"}


def _described(header: Header) -> dict[str, Any]:
    return {"description": header.description, "schema": header.schema, "required": True}


_HEADERS: Final = {
    201: {"Location": location("What was created")},
    202: {"Retry-After": _described(RETRY_AFTER)},
    **{
        answer.status: {name: _described(header) for name, header in answer.headers.items()}
        for answer in ANSWERS.values()
    },
}
"""Headers of every answer with a certain status, by status."""


def openapi_config(version: str, examples: Examples) -> OpenAPIConfig:
    """Return the settings by which Litestar makes and serves the document."""
    return OpenAPIConfig(
        title="Tracker",
        version=version,
        description=DESCRIPTION,
        path="/docs",
        openapi_router=docs_router(),
        render_plugins=[SwaggerUI(), Document(examples)],
        use_handler_docstrings=True,
        operation_id_creator=_operation_id,
        tags=_tags(examples),
        components=Components(security_schemes={**examples.security_schemes}),
    )


def _tags(examples: Examples) -> list[Tag]:
    in_order = sorted(examples.tags, key=lambda tag: examples.tag_places.get(tag, math.inf))
    return [Tag(tag, examples.tags[tag]) for tag in in_order]


def _operation_id(handler: HTTPRouteHandler, _: Method, path: list[str | PathParameterDefinition]) -> str:
    """Return the handler's name; some handlers serve two paths."""
    first, *rest = handler.handler_name.split("_")
    return first + "".join(map(str.title, rest)) + ("V1" if path[:2] == ["api", "v1"] else "")


class Document(JsonRenderPlugin):
    """Serves the document as JSON."""

    def __init__(self, examples: Examples) -> None:
        super().__init__(path="/openapi.json")
        self._examples = examples
        self._document = b""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the document, which is made at the first request for it."""
        if not self._document:
            _complete(openapi_schema, self._examples)
            self._document = super().render(request, openapi_schema)
        return self._document


def _complete(document: dict[str, Any], examples: Examples) -> None:
    structs = [*map(type, examples.bodies), Problem]
    _, schemas = msgspec.json.schema_components(structs, ref_template="#/components/schemas/{name}")
    for name, more in examples.schemas.items():
        schemas[name] |= more
    document["components"]["schemas"].update(schemas)
    examples_by_name = examples.bodies_by_name()
    for operation in (operation for path in document["paths"].values() for operation in path.values()):
        name = operation["operationId"]
        operation.setdefault("parameters", []).extend(examples.parameters.get(name, ()))
        for parameter in operation["parameters"]:
            _forget_null(parameter)
        if name in examples.request_bodies:
            operation["requestBody"] = examples.request_bodies[name]
        for content in _contents(operation.get("requestBody", {})):
            _add_example(content, examples_by_name)
        for status, description in _BELOW.items():
            described = operation["responses"].get(str(status), {})
            if PROBLEM_MEDIA_TYPE not in described.get("content", {}):  # Litestar describes a 400 of its own
                operation["responses"][str(status)] = {
                    "description": description,
                    "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
                }
        for status, answer in operation["responses"].items():
            _complete_answer(name, int(status), answer, schemas, examples_by_name, examples)
        operation["responses"] = dict(sorted(operation["responses"].items()))


def _complete_answer(
    operation_id: str,
    status: int,
    answer: dict[str, Any],
    schemas: dict[str, Any],
    examples_by_name: dict[str, Any],
    examples: Examples,
) -> None:
    headers = {name.title(): header for name, header in answer.get("headers", {}).items()}
    for header in headers.values():
        header.setdefault("schema", _STRING)  # Litestar leaves it out, which OpenAPI does not allow
    answer["headers"] = {**headers, **_HEADERS.get(status, {}), **examples.headers.get((operation_id, status), {})}
    for content in _contents(answer):
        name = _add_example(content, examples_by_name)
        if status < HTTPStatus.BAD_REQUEST and name in schemas and answer["description"] == _usual(status):
            answer["description"] = schemas[name]["description"]
        if name == Problem.__name__:
            content["example"] = examples.problem_of(operation_id, status)
        elif (operation_id, status) in examples.answers:
            content["example"] = msgspec.to_builtins(examples.answers[operation_id, status])


def _usual(status: int) -> str:
    """Return how Litestar describes an answer whose route does not."""
    return HTTPStatus(status).description


def _contents(holder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the description of each content that a request or an answer may have, one for a media type."""
    yield from holder.get("content", {}).values()


def _add_example(content: dict[str, Any], examples_by_name: dict[str, Any]) -> str:
    """Add the example of the model that is described; return the model's name, or that of the list's entries."""
    schema = content["schema"]
    name: str = schema.get("items", schema).get("$ref", "").rpartition("/")[2]
    if name in examples_by_name:
        content["example"] = [examples_by_name[name]] if "items" in schema else examples_by_name[name]
    return name


def _forget_null(parameter: dict[str, Any]) -> None:
    """Remove null from a parameter's schema: one that may be left out is never null, though Litestar shows it so."""
    one_of = parameter["schema"].pop("oneOf", None)
    if one_of is not None:
        (kind,) = (one for one in one_of if one != {"type": "null"})
        parameter["schema"] |= kind

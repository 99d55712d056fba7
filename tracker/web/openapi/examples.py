"""The part of the API's document that each feature hands in: examples, tags, and facts that its routes cannot express.

Bodies are the Structs themselves, so that an example cannot have a field that is not there.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import msgspec
from litestar.openapi.spec import SecurityScheme
from msgspec import Struct

from tracker.web.problems import BODY_TOO_LARGE, HEADERS_TOO_LARGE, NOT_HTTP, REQUEST_TOO_SLOW, problem

AT: Final = datetime(2026, 11, 20, 17, 56, 45, 423814, tzinfo=UTC)
"""Time that stands in the examples."""


class Examples(NamedTuple):
    """Examples of one feature. An operation is named by its `operationId`."""

    bodies: Sequence[Struct] = ()
    """One of each Struct that its routes take or answer."""

    tags: Mapping[str, str] = {}
    """Descriptions of the tags that group its routes, by tag."""

    tag_places: Mapping[str, float] = {}
    """Places of its tags on the page, the lowest number first, by tag; one without a place stands behind them all."""

    security_schemes: Mapping[str, SecurityScheme] = {}
    """Ways for clients to show who they are, by the names that its routes use."""

    fields: Mapping[str, tuple[str, str]] = {}
    """A field that may be wrong, and its rule, by operation."""

    usual_problems: Mapping[int, str] = {}
    """Text of the problem with a status, by status, in every operation that has none of its own."""

    problems: Mapping[tuple[str, int], str] = {}
    """Text of the problem with a status in an operation."""

    headers: Mapping[tuple[str, int], Mapping[str, dict[str, Any]]] = {}
    """Headers of the answer with a status in an operation, by their names."""

    answers: Mapping[tuple[str, int], Struct] = {}
    """Answer with a status in an operation that the example of its Struct does not fit."""

    schemas: Mapping[str, Mapping[str, Any]] = {}
    """Part of a schema that the types of its Struct cannot say, by the Struct's name."""

    parameters: Mapping[str, Sequence[dict[str, Any]]] = {}
    """Parameters that a handler reads from the request itself, which Litestar does not describe, by operation."""

    request_bodies: Mapping[str, Mapping[str, Any]] = {}
    """Body that a handler reads as bytes, which Litestar does not describe, by operation."""

    def bodies_by_name(self) -> dict[str, Any]:
        """Return the example of each Struct, by the Struct's name, as JSON has it."""
        return {type(body).__name__: msgspec.json.decode(msgspec.json.encode(body)) for body in self.bodies}

    def problem_of(self, operation_id: str, status: int) -> dict[str, Any]:
        """Return the problem that an operation answers with a status."""
        if status == HTTPStatus.BAD_REQUEST and operation_id in self.fields:
            field, rule = self.fields[operation_id]
            found = problem(status, f"{field} {rule}", field=field, rule=rule)
        else:
            found = problem(status, self.problems.get((operation_id, status)) or self.usual_problems[status])
        example: dict[str, Any] = msgspec.to_builtins(found)
        return example


def location(description: str) -> dict[str, Any]:
    """Return how the document describes a header Location."""
    return {"description": description, "schema": {"type": "string"}, "required": True}


def joined(parts: Iterable[Examples]) -> Examples:
    """Return the examples of several features as one."""
    found = list(parts)
    bodies = [body for part in found for body in part.bodies]
    maps = (name for name in Examples._fields if name != "bodies")
    return Examples(bodies, **{name: {k: v for part in found for k, v in getattr(part, name).items()} for name in maps})


OF_ALL: Final = Examples(
    usual_problems={
        400: NOT_HTTP,
        408: REQUEST_TOO_SLOW,
        413: BODY_TOO_LARGE,
        415: "send JSON as application/json or text/plain, not as application/xml",
        429: "too many requests; see the RateLimit header",
        431: HEADERS_TOO_LARGE,
        503: "the database does not answer",
    }
)
"""Problems that operations of any feature may answer."""

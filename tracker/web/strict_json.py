"""Request bodies as Structs: `StrictJSON` turns a request's bytes into one, or says which field breaks which rule.

It decodes by itself because Litestar's DTOs decode leniently: with `strict=False` the string "1" passes
for an integer.
"""

import re
from dataclasses import dataclass
from typing import Final, TypeVar

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import MsgspecDTO
from litestar.openapi.spec import OpenAPIResponse, Operation, Reference, RequestBody, Schema
from litestar.typing import FieldDefinition
from msgspec import Struct

from tracker.errors import InvalidInputError, UnsupportedMediaTypeError

JSON_MEDIA_TYPES: Final = frozenset({"", "application/json", "text/plain"})
"""Content types of a body that is read as JSON: text/plain is what sendBeacon and fetch send by default, and needs no
preflight; a request without a content type is read as JSON too."""

T = TypeVar("T", bound=Struct)


class StrictJSON(MsgspecDTO[T]):
    """A DTO that takes strict JSON, of the media types in `JSON_MEDIA_TYPES` and no other."""

    def decode_bytes(self, value: bytes) -> T:
        """Return the body as the model; raise a TrackerError that names what is wrong with it."""
        media_type = self.asgi_connection.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media_type not in JSON_MEDIA_TYPES:
            msg = f"send JSON as application/json or text/plain, not as {media_type}"
            raise UnsupportedMediaTypeError(msg)
        return decode(self.model_type, value)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """Describe the model itself.

        Litestar's model for the transfer turns `Annotated[str, max_length] | None` inside out, which
        msgspec then refuses.
        """
        del field_definition, handler_id
        return schema_creator.for_field_definition(FieldDefinition.from_annotation(cls.model_type))


@dataclass
class JSONOperation(Operation):
    """Describes for OpenAPI a route that takes JSON as text/plain too, or answers nothing."""

    def __post_init__(self) -> None:
        """Add the second media type; an empty answer has no media type at all."""
        if isinstance(self.request_body, RequestBody):
            self.request_body.content["text/plain"] = self.request_body.content["application/json"]
        empty = (self.responses or {}).get("204")
        if isinstance(empty, OpenAPIResponse):
            empty.content = None  # Litestar documents a body of `null`


def decode(model: type[T], body: bytes) -> T:
    """Decode `body` strictly; raise InvalidInputError that names the field and its rule."""
    try:
        return msgspec.json.decode(body, type=model)
    except msgspec.ValidationError as error:
        raise _explained(model, str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidInputError("", f"the body must be valid JSON in UTF-8: {error}") from None
    except RecursionError:
        raise InvalidInputError("", "the body must be valid JSON: it is nested too deeply") from None


_AT_FIELD = re.compile(r"(?P<message>.*) - at `\$\.(?P<field>\w+)")
_MISSING = re.compile(r"Object missing required field `(?P<field>\w+)`")
_GOT = re.compile(r"got `(?P<kind>\w+)`")


def _explained(model: type[Struct], message: str) -> InvalidInputError:
    """Turn msgspec's message into the field and the rule that stands in its type."""
    if match := _MISSING.match(message):
        return InvalidInputError(match["field"], "is required")
    if match := _AT_FIELD.match(message):
        got = _GOT.search(match["message"])
        suffix = f"; got {got['kind']}" if got else ""
        return InvalidInputError(match["field"], f"{_rule(model, match['field'])}{suffix}")
    return InvalidInputError("", f"the body must be a JSON object: {message}")


def _rule(model: type[Struct], field: str) -> str:
    schema = msgspec.json.schema(model)["$defs"][model.__name__]["properties"][field]
    for part in (schema, *schema.get("anyOf", ())):
        if "description" in part:
            return str(part["description"])
    return "is not valid"

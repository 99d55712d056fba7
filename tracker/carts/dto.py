"""What clients send and get, as Structs; `StrictJSON` turns a request's bytes into one of them.

The rule of a field stands in its type: msgspec checks it, OpenAPI shows it and the error quotes it.
What a JSON schema cannot say (lengths in bytes, NUL, one field instead of another) stands in
`__post_init__`, so that no instance exists that breaks it.

`StrictJSON` decodes by itself because Litestar's DTOs decode leniently: with `strict=False` the string
"1" passes for an integer.
"""

import re
from datetime import datetime
from typing import Annotated, Final, TypeVar

import msgspec
from litestar._openapi.schema_generation import SchemaCreator
from litestar.dto import MsgspecDTO
from litestar.openapi.spec import Reference, Schema
from litestar.typing import FieldDefinition
from msgspec import Meta, Struct

from tracker.carts.domain import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_QUANTITY,
    MAX_VALUE,
    MIN_VALUE,
    check_external_id,
    check_name,
)
from tracker.errors import InvalidInputError, UnsupportedMediaTypeError
from tracker.reservations.domain import SHOWN

JSON_MEDIA_TYPES: Final = frozenset({"", "application/json", "text/plain"})
"""What JSON arrives as: text/plain is what sendBeacon and fetch send of themselves, and what needs
no preflight; a request without a content type is read as JSON too."""

NO_NUL: Final = "^[^\\u0000]*$"

ExternalId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_EXTERNAL_ID_BYTES,
        description=f"must be a string of 1 to {MAX_EXTERNAL_ID_BYTES} bytes of UTF-8",
        extra_json_schema={"pattern": NO_NUL},
        examples=["sku-1"],
    ),
]
Name = Annotated[
    str,
    Meta(
        max_length=MAX_NAME_BYTES,
        description=f"must be a string of up to {MAX_NAME_BYTES} bytes of UTF-8, or null",
        extra_json_schema={"pattern": NO_NUL},
        examples=["Mug"],
    ),
]
Cents = Annotated[
    int,
    Meta(
        ge=MIN_VALUE,
        le=MAX_VALUE,
        description="must be an integer number of cents that fits 64 bits, or null",
        examples=[1250],
    ),
]
Quantity = Annotated[
    int,
    Meta(ge=0, le=MAX_QUANTITY, description=f"must be an integer from 0 to {MAX_QUANTITY}, or null", examples=[2]),
]


class ItemIn(Struct):
    """An item put into the cart. What is absent or null stays as it is stored."""

    external_id: ExternalId
    name: Name | None = None
    value: Cents | None = None
    quantity: Quantity | None = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        check_external_id("external_id", self.external_id)
        if self.name is not None:
            check_name("name", self.name)


class ProductIn(Struct):
    """A product put into the cart. What is absent or null stays as it is stored."""

    product_id: ExternalId | None = None
    price: Cents | None = None
    name: Name | None = None
    quantity: Quantity | None = None
    cart_id: Annotated[
        msgspec.Raw,
        Meta(
            description="The cart, as a UUID in a string, when no cookie names one. Anything else is passed over.",
            examples=["7d9f5f0e-1111-4222-8333-444455556666"],
        ),
    ] = msgspec.field(default_factory=msgspec.Raw)

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if self.product_id is not None:
            check_external_id("product_id", self.product_id)
        elif self.name is None or self.quantity is None:
            raise InvalidInputError("product_id", "is required, except with both `name` and `quantity`")
        else:
            check_external_id("name", self.name)
        if self.name is not None:
            check_name("name", self.name)

    @property
    def cart_id_text(self) -> str | None:
        """What `cart_id` says, if it is a string."""
        try:
            return msgspec.json.decode(self.cart_id, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    @property
    def external_id(self) -> str:
        """What identifies the item: its product id, or else its name."""
        return self.product_id or str(self.name)


class CartRef(Struct):
    """Which cart an item went into."""

    cart_id: str


class ItemOut(Struct):
    """An item in a cart."""

    product_id: str
    name: str | None
    price: Annotated[int | None, Meta(description="Cents.")]
    quantity: int
    updated_at: datetime
    reservation_id: Annotated[int | str | None, Meta(description="As the service gave it; null until it is granted.")]
    reservation_status: Annotated[str, Meta(extra_json_schema={"enum": [status.value for status in SHOWN]})]


class CartOut(Struct):
    """A cart and its items, in the order in which they were first added."""

    cart_id: str | None
    items: list[ItemOut]


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

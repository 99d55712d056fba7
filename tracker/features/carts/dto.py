"""Structs that clients of the tracking routes send and get.

The rule of a field stands in its type: msgspec checks it, OpenAPI shows it and the error quotes it.
Rules that a JSON schema cannot express (lengths in bytes, NUL, one field instead of another) stand in
`__post_init__`, so that no instance exists that breaks them.
"""

from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from tracker.errors import InvalidInputError
from tracker.features.carts.domain import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_NAME_BYTES,
    MAX_QUANTITY,
    MAX_VALUE,
    MIN_VALUE,
    CartItems,
    check_external_id,
    check_name,
)
from tracker.features.reservations.domain import VISIBLE
from tracker.kit.clock import stamp_time
from tracker.kit.text_rules import NO_NUL_PATTERN

QUANTITY_RULE: Final = f"must be an integer from 0 to {MAX_QUANTITY}, or null"

ExternalId = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_EXTERNAL_ID_BYTES,
        description=f"must be a string of 1 to {MAX_EXTERNAL_ID_BYTES} bytes of UTF-8",
        extra_json_schema={"pattern": NO_NUL_PATTERN},
        examples=["sku-1"],
    ),
]
Name = Annotated[
    str,
    Meta(
        max_length=MAX_NAME_BYTES,
        description=f"must be a string of up to {MAX_NAME_BYTES} bytes of UTF-8, or null",
        extra_json_schema={"pattern": NO_NUL_PATTERN},
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
    Meta(ge=0, le=MAX_QUANTITY, description=QUANTITY_RULE, examples=[2]),
]


class ItemIn(Struct):
    """An item put into the cart. What is absent or null stays as it is stored."""

    external_id: ExternalId
    name: Name | None = None
    value: Cents | None = None
    quantity: Quantity | None = None

    def __post_init__(self) -> None:
        """Check the rules that the types cannot express."""
        check_external_id("external_id", self.external_id)
        if self.name is not None:
            check_name("name", self.name)


WHAT_NAMES_A_PRODUCT: Final = {
    "anyOf": [
        {"required": ["product_id"], "properties": {"product_id": {"type": "string"}}},
        {
            "required": ["name", "quantity"],
            "properties": {
                "name": {"type": "string", "minLength": 1, "maxLength": MAX_EXTERNAL_ID_BYTES},
                "quantity": {"type": "integer"},
            },
        },
    ]
}
"""Part of the schema of `ProductIn` that its fields do not express; `__post_init__` checks it."""


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
        """Check the rules that the types cannot express."""
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
        """The value of `cart_id`, if it is a string."""
        try:
            return msgspec.json.decode(self.cart_id, type=str)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    @property
    def external_id(self) -> str:
        """The id of the item in its cart: its product id, or else its name."""
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
    reservation_status: Annotated[str, Meta(extra_json_schema={"enum": [status.value for status in VISIBLE]})]


class CartOut(Struct):
    """A cart and its items, in the order in which they were first added."""

    cart_id: str | None
    items: list[ItemOut]


def items_out(items: CartItems) -> list[ItemOut]:
    """Return the items of a cart as clients see them."""
    return [
        ItemOut(
            product_id=external_id,
            name=item.name,
            price=item.value,
            quantity=item.effective_quantity,
            updated_at=stamp_time(item.updated_stamp),
            reservation_id=reservation.reservation_id,
            reservation_status=reservation.status.value,
        )
        for external_id, (item, reservation) in items.items()
    ]

"""Structs that customers send and get for their carts."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from tracker.features.carts.domain import check_name
from tracker.features.carts.dto import Cents, ItemOut, Name, Quantity


class ItemChange(Struct):
    """A change of an item in a cart. A field that is absent or null stays as it is stored."""

    name: Name | None = None
    price: Cents | None = None
    quantity: Quantity | None = None

    def __post_init__(self) -> None:
        """Check the rules that the types cannot express."""
        if self.name is not None:
            check_name("name", self.name)


class CustomerCart(Struct):
    """A cart of a customer."""

    cart_id: str
    purchased: bool
    created_at: Annotated[datetime, Meta(description="Since when it is the customer's.")]


class CustomerCartsOut(Struct):
    """Carts of a customer, those first that they got last."""

    carts: list[CustomerCart]
    next: Annotated[str | None, Meta(description="What to ask for the rest `after`; null if there is none.")]


class CustomerCartOut(CustomerCart):
    """A cart of a customer and its items, in the order in which they were first added."""

    items: list[ItemOut]

"""Structs that a checkout takes and gives."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from tracker.features.checkout.domain import Status


class CheckoutIn(Struct):
    """How the cart is to be paid for."""

    payment_method: Annotated[
        str,
        Meta(
            pattern=r"^[\x21-\x7e]{1,255}$(?!\n)",  # in Python `$` is also before a last newline, elsewhere it is not
            description="must be a string of 1 to 255 visible ASCII characters: what the payment processor calls it",
            examples=["accepted"],
        ),
    ]


class OrderLineOut(Struct):
    """A line of an order: one product, as it was when it was bought."""

    product_id: str
    title: str
    item_type: str
    price: Annotated[int, Meta(description="Of one, in cents.")]
    quantity: int


class OrderOut(Struct):
    """An order."""

    order_id: str
    cart_id: str
    next_cart_id: Annotated[str | None, Meta(description="The cart that took the place of the one that was bought.")]
    status: Status
    reason: Annotated[str | None, Meta(description="Why it failed.")]
    total: Annotated[int, Meta(description="Cents.")]
    currency: str
    created_at: datetime
    lines: list[OrderLineOut]

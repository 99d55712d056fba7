"""Structs that a checkout takes and gives."""

from datetime import datetime
from typing import Annotated, Final

from msgspec import Meta, Struct

from tracker.features.checkout.domain import Status

MAX_METHOD_CHARS: Final = 255
"""Longest name of a payment method, in characters."""


class CheckoutIn(Struct):
    """How the cart is to be paid for."""

    payment_method: Annotated[
        str,
        Meta(
            # In Python `$` is also before a last newline, elsewhere it is not.
            pattern=rf"^[\x21-\x7e]{{1,{MAX_METHOD_CHARS}}}$(?!\n)",
            description=f"must be a string of 1 to {MAX_METHOD_CHARS} visible ASCII characters: "
            "what the payment processor calls it",
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

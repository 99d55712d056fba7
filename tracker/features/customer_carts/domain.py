"""A customer's cart, as it is stored."""

from datetime import datetime

from msgspec import Struct

from tracker.ingest.items import CartId


class Cart(Struct, frozen=True):
    """A cart as it is stored, without its items."""

    id: CartId
    customer: str | None
    """Customer who owns the cart; None for a guest's cart."""
    owned_at: datetime | None
    """Time since which the customer owns the cart."""
    purchased: bool
    next_cart_id: CartId | None
    """The cart that takes the items now, if this one takes none any more."""

    @property
    def is_merged(self) -> bool:
        """Whether its items were moved into another cart."""
        return self.next_cart_id is not None and not self.purchased

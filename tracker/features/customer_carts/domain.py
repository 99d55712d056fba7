"""A customer's cart, as it is stored."""

from datetime import datetime

from msgspec import Struct

from tracker.ingest.items import CartId


class Cart(Struct, frozen=True):
    """A cart as it is stored, without its items."""

    id: CartId
    customer: str | None
    """Whose it is; None is a guest's."""
    owned_at: datetime | None
    """Since when."""
    purchased: bool
    next_cart_id: CartId | None
    """The cart that takes its items now, if it does not itself."""

    @property
    def is_merged(self) -> bool:
        """Whether its items were moved into another cart."""
        return self.next_cart_id is not None and not self.purchased

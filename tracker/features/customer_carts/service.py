"""The service for the carts of customers: it creates, finds and changes them, and makes a guest's cart a customer's.

Items take the way of all items, through the aggregator with stamps of their own. The only thing that is looked up
before is the owner of the cart.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import structs
from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.errors import ConflictError, DatabaseUnavailableError, InvalidInputError, NotFoundError
from tracker.features.carts import chains, store
from tracker.features.carts.batch_writer import FollowUp
from tracker.features.carts.domain import CartItems, new_cart_id, shown_items
from tracker.features.carts.service import CartReader
from tracker.features.customer_carts import store as customer_store
from tracker.features.customer_carts.domain import Cart
from tracker.ingest.intake import Intake
from tracker.ingest.items import CartId, ItemWrite
from tracker.postgres.request_database import RequestDatabase

CLAIM_TRIES: Final = 10
"""Most tries to claim a cart; a try fails only if another call has changed one of the two carts in between."""

NO_SUCH_CART: Final = "you have no cart of this id"

CART_OF_ANOTHER: Final = "the cart of your cookie is not yours"

PURCHASED: Final = "this cart is purchased; it does not change any more"

AFTER_RULE: Final = "must be the id of one of your carts"


class CustomerCarts:
    """Creates, finds, changes and claims the carts of customers."""

    def __init__(
        self, database: RequestDatabase, intake: Intake, carts: CartReader, follow_up: FollowUp | None
    ) -> None:
        self._database = database
        self._intake = intake
        self._carts = carts
        self._follow_up = follow_up

    async def create(self, customer: str) -> CartId:
        """Return a new, empty cart."""
        cart_id = new_cart_id()
        async with self._database.transaction() as connection:
            await customer_store.create(connection, cart_id, customer)
        return cart_id

    async def list(
        self, customer: str, *, purchased: bool | None, after: CartId | None, limit: int
    ) -> tuple[Sequence[Cart], CartId | None]:
        """Return up to `limit` carts, those first that the customer got last, and what to ask for the rest `after`.

        Raises InvalidInputError when `after` is not one of theirs.
        """
        async with self._database.transaction() as connection:
            behind = None
            if after is not None:
                behind = await customer_store.find(connection, after)
                if behind is None or behind.customer != customer:
                    raise InvalidInputError("after", AFTER_RULE)
            found = await customer_store.of_customer(
                connection, customer, purchased=purchased, after=behind, limit=limit + 1
            )
        return found[:limit], found[limit - 1].id if len(found) > limit else None

    async def find(self, customer: str, cart_id: CartId) -> tuple[Cart, CartItems]:
        """Return a cart and its items; raise NotFoundError unless it is the customer's."""
        cart = await self._owned(customer, cart_id)
        return cart, await self._carts.items_of(cart.id, is_closed=cart.purchased)

    async def put_item(self, customer: str, write: ItemWrite) -> None:
        """Take a write of an item, as `Intake.accept` does, and return once it is stored.

        So a checkout that follows has it, whichever process that comes to. Raises NotFoundError unless the cart is the
        customer's, ConflictError when it is purchased, and DatabaseUnavailableError when the write was taken, but is
        not stored in time.
        """
        cart = await self._owned(customer, write.cart_id)
        if cart.purchased:
            raise ConflictError(PURCHASED)
        await self._intake.accept(structs.replace(write, cart_id=cart.id))
        await self._intake.flush()

    async def claim(self, customer: str, guest_cart_id: CartId | None) -> CartId:
        """Make a guest's cart the customer's, or merge it into their outstanding one; return what they have now.

        Without a guest's cart that is the outstanding one, or a new one. Raises NotFoundError when the cart belongs
        to somebody else, DatabaseUnavailableError when what this process has in hand is not stored in time.
        """
        if guest_cart_id is not None:
            # What the guest was answered for is looked for in the customer's cart from now on.
            await self._intake.flush()
        for _ in range(CLAIM_TRIES):
            if guest_cart_id is not None:
                # It may be on its way here from another worker: then it is the customer's before it has any items.
                # Committed before anything is locked, as a flush may be creating it too.
                async with self._database.transaction() as connection:
                    await customer_store.create_unless_known(connection, guest_cart_id)
            async with self._database.transaction() as connection:
                if (found := await self._claim(connection, customer, guest_cart_id)) is not None:
                    return found
        msg = "the carts change too fast to be claimed"
        raise DatabaseUnavailableError(msg)

    async def _claim(self, connection: AsyncConnection, customer: str, guest_cart_id: CartId | None) -> CartId | None:
        """Claim a cart as `claim` does, or return None if another call came in between."""
        await customer_store.take_turn(connection, customer)  # or two claims at once would leave two open carts
        outstanding = await customer_store.newest_open(connection, customer)
        if guest_cart_id is None:
            if outstanding is None:
                outstanding = new_cart_id()
                await customer_store.create(connection, outstanding, customer)
            return outstanding
        guest_cart_id = await end_of_chain(connection, guest_cart_id) or guest_cart_id
        locked = await customer_store.lock(connection, {guest_cart_id, outstanding or guest_cart_id})
        guest = locked.get(guest_cart_id)  # it may have been pruned meanwhile
        if guest is None or guest.next_cart_id is not None:
            return None
        if guest.customer == customer:
            return guest_cart_id
        if guest.customer is not None:
            raise NotFoundError(CART_OF_ANOTHER)
        if outstanding is None:
            await customer_store.give(connection, guest_cart_id, customer)
            return guest_cart_id
        target = locked.get(outstanding)
        if target is None or target.customer != customer or target.next_cart_id is not None:
            return None
        await merge(connection, guest_cart_id, outstanding, self._follow_up)
        return outstanding

    async def _owned(self, customer: str, cart_id: CartId) -> Cart:
        """Return a cart of the customer's, or the one that it was merged into."""
        async with self._database.transaction() as connection:
            cart = await customer_store.find(connection, cart_id)
            if cart is not None and cart.customer == customer and cart.is_merged:
                end = await end_of_chain(connection, cart_id)
                cart = None if end is None else await customer_store.find(connection, end)  # None: pruned meanwhile
        if cart is None or cart.customer != customer:
            raise NotFoundError(NO_SUCH_CART)
        return cart


async def merge(connection: AsyncConnection, source: CartId, target: CartId, follow_up: FollowUp | None) -> None:
    """Move all items of a cart into another by the rule of the last write; what still comes for it goes there too.

    The caller holds both carts' locks.
    """
    changed = await store.move_items(connection, source, target)
    await customer_store.close(connection, source, target)
    if follow_up is not None:
        await follow_up.moved(connection, source, target, changed)


async def lock(connection: AsyncConnection, cart_id: CartId) -> Cart | None:
    """Return a cart, which nothing changes and no item reaches until the transaction ends."""
    return (await customer_store.lock(connection, {cart_id})).get(cart_id)


async def successor(connection: AsyncConnection, cart_id: CartId) -> CartId | None:
    """Return the cart that took the place of a closed one."""
    cart = await customer_store.find(connection, cart_id)
    return None if cart is None else cart.next_cart_id


async def end_of_chain(connection: AsyncConnection, cart_id: CartId) -> CartId | None:
    """Return the cart that takes the items of a closed one now, which may have been closed often since."""
    return (await chains.ends(connection, [cart_id])).get(cart_id)


async def quantities(connection: AsyncConnection, cart_id: CartId) -> dict[str, int]:
    """Return the quantity of each item in a cart, by external id, first added first."""
    found = await store.read_items(connection, cart_id)
    return {external_id: item.effective_quantity for external_id, item in shown_items(found).items()}


async def purchase(connection: AsyncConnection, cart_id: CartId, customer: str, stamp: int) -> CartId:
    """Mark a locked cart as purchased at a stamp, and return the customer's new one.

    What still comes for the old one goes there.
    """
    next_cart_id = new_cart_id()
    await customer_store.create(connection, next_cart_id, customer)
    await customer_store.purchase(connection, cart_id, next_cart_id, stamp)
    return next_cart_id


async def undo_purchase(connection: AsyncConnection, cart_id: CartId, follow_up: FollowUp | None) -> None:
    """Open a purchased cart again, and bring back what has come for it meanwhile, unless that was purchased too."""
    found = await successor(connection, cart_id)
    while found is not None:
        locked = await customer_store.lock(connection, {cart_id, found})
        next_cart_id = locked[cart_id].next_cart_id
        if next_cart_id == found:
            await customer_store.reopen(connection, cart_id)
            if locked[found].next_cart_id is None:
                await merge(connection, found, cart_id, follow_up)
            return
        found = next_cart_id  # an erasing has led it elsewhere meanwhile

"""The owner of carts, who is erased with the customer; a cart that was purchased goes to a pseudonym, for its order."""

from typing import Final

from sqlalchemy.ext.asyncio import AsyncConnection

from tracker.features.carts.domain import new_cart_id
from tracker.features.customer_carts import store
from tracker.features.feature_data import Contents, Erasure, FeatureData


async def _erase_carts(connection: AsyncConnection, erasure: Erasure) -> Contents:
    if erasure.pseudonym is not None:
        await _erase_owner(connection, erasure, erasure.pseudonym)
    return Contents({})


async def _erase_owner(connection: AsyncConnection, erasure: Erasure, pseudonym: str) -> None:
    if purchased := await store.purchased_among(connection, erasure.cart_ids):
        # Their orders need them. What still comes for them must not lead to a cart that somebody may claim.
        nobodys = await store.newest_open(connection, pseudonym)
        if nobodys is None:
            nobodys = new_cart_id()
            await store.create(connection, nobodys, pseudonym)
        await store.give_purchased(connection, purchased, pseudonym, nobodys, erasure.stamp)
    await store.disown(connection, erasure.cart_ids, erasure.stamp)


DATA: Final = FeatureData(erase_carts=_erase_carts)

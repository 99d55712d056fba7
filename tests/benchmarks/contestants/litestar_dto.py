"""Litestar's plain way: a route that takes a Struct by its MsgspecDTO, and does nothing with it.

Only the required field has a rule of its own: Litestar refuses `Annotated[str, max_length] | None`.
"""

from typing import Annotated

from litestar import Litestar, post
from litestar.dto import MsgspecDTO
from msgspec import Meta, Struct


class ItemIn(Struct):
    """An item, with rules as Tracker has them."""

    external_id: Annotated[str, Meta(min_length=1, max_length=255)]
    name: str | None = None
    value: int | None = None
    quantity: int | None = None


@post("/item", dto=MsgspecDTO[ItemIn], return_dto=None, status_code=204)
async def add_item(data: ItemIn) -> None:
    """Take an item."""
    del data


app = Litestar([add_item], openapi_config=None, logging_config=None)

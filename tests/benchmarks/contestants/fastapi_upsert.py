"""What people write: FastAPI, SQLAlchemy async, the cart and the item upserted and committed per request."""

import os
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Cookie, Depends, FastAPI, Response
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, ForeignKey
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Of the tables."""


class Cart(Base):
    """A shopper's cart."""

    __tablename__ = "carts"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True)


class Item(Base):
    """An item in it."""

    __tablename__ = "items"
    cart_id: Mapped[uuid.UUID] = mapped_column(ForeignKey("carts.id"), primary_key=True)
    external_id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str | None]
    value: Mapped[int | None] = mapped_column(BigInteger)
    quantity: Mapped[int]


class ItemIn(BaseModel):
    """An item as it is sent."""

    external_id: str = Field(min_length=1, max_length=255)
    name: str | None = Field(None, max_length=2048)
    value: int | None = None
    quantity: int = Field(1, ge=0)


engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=20
)
sessions = async_sessionmaker(engine)
app = FastAPI()


async def session_of_request() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with sessions() as session:
        yield session


@app.post("/item", status_code=204)
async def add_item(
    data: ItemIn,
    response: Response,
    session: Annotated[AsyncSession, Depends(session_of_request)],
    cart_id: Annotated[uuid.UUID | None, Cookie()] = None,
) -> None:
    """Put an item into the cart of the cookie, or into a new one."""
    if cart_id is None:
        cart_id = uuid.uuid4()
        response.set_cookie("cart_id", str(cart_id), max_age=72 * 3600, httponly=True)
    await session.execute(insert(Cart).values(id=cart_id).on_conflict_do_nothing())
    fields = data.model_dump(exclude={"external_id"})
    await session.execute(
        insert(Item)
        .values(cart_id=cart_id, external_id=data.external_id, **fields)
        .on_conflict_do_update(index_elements=[Item.cart_id, Item.external_id], set_=fields)
    )
    await session.commit()

"""The service as people usually write it: each request gets or creates store and item, and adds the warranty."""

import datetime as dt
import os
import uuid
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI
from pydantic import BaseModel, Field
from sqlalchemy import BigInteger, DateTime, ForeignKey, UniqueConstraint, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """The parent of the tables."""


class Store(Base):
    """A seller."""

    __tablename__ = "stores"
    id: Mapped[int] = mapped_column(primary_key=True)
    store_uuid: Mapped[str] = mapped_column(unique=True)


class Item(Base):
    """A thing that is sold."""

    __tablename__ = "store_items"
    __table_args__ = (UniqueConstraint("item_type", "item_sku"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    item_type: Mapped[str]
    item_sku: Mapped[str]
    item_title: Mapped[str]
    item_cost: Mapped[int] = mapped_column(BigInteger)


class Warranty(Base):
    """A warranty, as it is stored."""

    __tablename__ = "warranties"
    id: Mapped[uuid.UUID] = mapped_column(primary_key=True, default=uuid.uuid4)
    store_id: Mapped[int] = mapped_column(ForeignKey(Store.id))
    item_id: Mapped[int] = mapped_column(ForeignKey(Item.id))
    item_cost: Mapped[int] = mapped_column(BigInteger)
    price: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[dt.datetime] = mapped_column(DateTime(timezone=True))


class WarrantyIn(BaseModel):
    """A sale, for which a store asks for a warranty."""

    store_uuid: str = Field(pattern="^[A-Za-z0-9-]{1,64}$")
    item_type: str = Field(min_length=1, max_length=255)
    item_sku: str = Field(min_length=1, max_length=255)
    item_cost: float = Field(ge=0)
    item_title: str = Field(min_length=1, max_length=2048)


class WarrantyOut(WarrantyIn):
    """A warranty."""

    id: uuid.UUID
    price: int
    created_at: dt.datetime


engine = create_async_engine(
    os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+asyncpg://", 1), pool_size=20
)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def create_tables() -> None:
    """Create the tables."""
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)


app = FastAPI(on_startup=[create_tables])


async def session_of_request() -> AsyncIterator[AsyncSession]:
    """Open a session for a request."""
    async with sessions() as session:
        yield session


@app.post("/warranties", status_code=201)
async def create_warranty(
    data: WarrantyIn, session: Annotated[AsyncSession, Depends(session_of_request)]
) -> WarrantyOut:
    """Create the warranty for an item that a store sells."""
    cents = round(data.item_cost * 100)
    store = await session.scalar(select(Store).where(Store.store_uuid == data.store_uuid))
    if store is None:
        await session.execute(insert(Store).values(store_uuid=data.store_uuid).on_conflict_do_nothing())
        store = (await session.scalars(select(Store).where(Store.store_uuid == data.store_uuid))).one()
    of_item = select(Item).where(Item.item_type == data.item_type, Item.item_sku == data.item_sku)
    item = await session.scalar(of_item)
    if item is None:
        fields = data.model_dump(include={"item_type", "item_sku", "item_title"})
        await session.execute(insert(Item).values(**fields, item_cost=cents).on_conflict_do_nothing())
        item = (await session.scalars(of_item)).one()
    item.item_title, item.item_cost = data.item_title, cents
    now = dt.datetime.now(dt.UTC)
    warranty = Warranty(store_id=store.id, item_id=item.id, item_cost=cents, price=cents // 10, created_at=now)
    session.add(warranty)
    await session.commit()
    return WarrantyOut(**data.model_dump(), id=warranty.id, price=warranty.price, created_at=now)

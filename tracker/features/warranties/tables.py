"""The tables of stores, of the items that they sell warranties for, and of the warranties.

Stores and items have keys of their own already, so nobody has to look up a number before a warranty can be written.
"""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    text,
)

from tracker.features.warranties.domain import MAX_STORE_CHARS, MAX_TEXT_BYTES
from tracker.postgres.metadata import metadata

stores = Table(
    "stores",
    metadata,
    Column("store_uuid", Text, primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False),
    CheckConstraint(f"octet_length(store_uuid) BETWEEN 1 AND {MAX_STORE_CHARS}", name="store_uuid_length"),
)

warranty_items = Table(
    "warranty_items",
    metadata,
    Column("item_type", Text, primary_key=True),
    Column("item_sku", Text, primary_key=True),
    Column("item_title", Text, nullable=False),
    Column("item_cost", BigInteger, nullable=False),
    Column("updated_stamp", BigInteger, nullable=False),
    CheckConstraint(f"octet_length(item_type) BETWEEN 1 AND {MAX_TEXT_BYTES}", name="item_type_length"),
    CheckConstraint(f"octet_length(item_sku) BETWEEN 1 AND {MAX_TEXT_BYTES}", name="item_sku_length"),
    CheckConstraint("item_cost >= 0", name="item_cost_not_negative"),
    # Popular items change with every group; with room on the page that touches no index.
    postgresql_with={"fillfactor": 90},
)

warranties = Table(
    "warranties",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("store_uuid", Text, ForeignKey(stores.c.store_uuid), nullable=False),
    Column("item_type", Text, nullable=False),
    Column("item_sku", Text, nullable=False),
    Column("item_title", Text, nullable=False),
    Column("item_cost", BigInteger, nullable=False),
    Column("term_months", Integer, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("terms_version", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False),
    Column("idempotency_key", Text),
    ForeignKeyConstraint(["item_type", "item_sku"], [warranty_items.c.item_type, warranty_items.c.item_sku]),
    CheckConstraint("item_cost >= 0", name="item_cost_not_negative"),
    CheckConstraint("price >= 0", name="price_not_negative"),
    CheckConstraint("term_months > 0", name="term_months_positive"),
    Index("ix_warranties_sold", "store_uuid", "item_type", "item_sku", "id"),
    # Stores do not know of each other: the same key from two of them means two warranties.
    Index(
        "uq_warranties_store_uuid_idempotency_key",
        "store_uuid",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
)

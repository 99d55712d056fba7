"""The tables of orders and their lines: what was bought, at the prices of that moment."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from tracker.features.carts.tables import carts
from tracker.features.checkout.domain import Status
from tracker.postgres.metadata import metadata

_STATUSES = ", ".join(f"'{status.value}'" for status in Status)

orders = Table(
    "orders",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("cart_id", Uuid(as_uuid=False), ForeignKey(carts.c.id), nullable=False),
    Column("customer", Text, nullable=False),
    Column("idempotency_key", Text, nullable=False),
    Column("processor", Text, nullable=False),
    Column("payment_method", Text, nullable=False),
    Column("payment_id", Text),
    Column("status", Text, nullable=False),
    Column("reason", Text),
    Column("total", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(f"status IN ({_STATUSES})", name="status_known"),
    CheckConstraint("total >= 0", name="total_not_negative"),
    UniqueConstraint("customer", "idempotency_key"),
    # However many try at once: a cart is sold once.
    Index("uq_orders_cart_id_sold", "cart_id", unique=True, postgresql_where=text("status <> 'failed'")),
    Index("ix_orders_cart_id", "cart_id"),
)

order_lines = Table(
    "order_lines",
    metadata,
    Column("order_id", Uuid(as_uuid=False), ForeignKey(orders.c.id), primary_key=True),
    Column("line", Integer, primary_key=True),
    Column("sku", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("item_type", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("quantity", Integer, nullable=False),
    CheckConstraint("price >= 0", name="price_not_negative"),
    CheckConstraint("quantity > 0", name="quantity_positive"),
)

"""The tables of carts and items.

Times are stamps (`tracker.clock`): `to_timestamp((added_stamp >> 10) / 1e6)` shows one as a time. The
CHECKs repeat the edge's rules as a backstop. Nothing that an update changes is indexed, and pages
keep some room: an update then stays on its page (HOT) and leaves no index entry behind.

A cart is a guest's until it has a `customer` (the subject of their tokens). With a `next_cart_id` it takes no
items any more: it was purchased (at `closed_stamp`), or merged into another, and what still arrives for it goes there.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    Uuid,
    false,
    text,
)

from tracker.carts.domain import DEFAULT_QUANTITY, MAX_EXTERNAL_ID_BYTES, MAX_NAME_BYTES
from tracker.db.base import metadata

_NEVER = text("0")

carts = Table(
    "carts",
    metadata,
    Column("id", Uuid(as_uuid=False), primary_key=True),
    Column("customer", Text),
    Column("owned_at", DateTime(timezone=True)),
    Column("purchased", Boolean, nullable=False, server_default=false()),
    Column("next_cart_id", Uuid(as_uuid=False), ForeignKey("carts.id")),
    Column("closed_stamp", BigInteger),
    CheckConstraint("(customer IS NULL) = (owned_at IS NULL)", name="owned_since"),
    CheckConstraint("customer IS NOT NULL OR NOT purchased", name="purchased_by"),
    Index("ix_carts_customer", "customer", "owned_at", "id", postgresql_where=text("customer IS NOT NULL")),
)

items = Table(
    "items",
    metadata,
    Column("cart_id", Uuid(as_uuid=False), ForeignKey(carts.c.id), primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("name", Text),
    Column("value", BigInteger),
    Column("quantity", Integer, nullable=False, server_default=text(str(DEFAULT_QUANTITY))),
    Column("added_stamp", BigInteger, nullable=False),
    Column("name_stamp", BigInteger, nullable=False, server_default=_NEVER),
    Column("value_stamp", BigInteger, nullable=False, server_default=_NEVER),
    Column("quantity_stamp", BigInteger, nullable=False, server_default=_NEVER),
    CheckConstraint(f"octet_length(external_id) BETWEEN 1 AND {MAX_EXTERNAL_ID_BYTES}", name="external_id_length"),
    CheckConstraint(f"octet_length(name) <= {MAX_NAME_BYTES}", name="name_length"),
    CheckConstraint("quantity >= 0", name="quantity_not_negative"),
    postgresql_with={"fillfactor": 90},
)

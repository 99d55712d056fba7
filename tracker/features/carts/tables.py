"""The tables of carts and items.

Times are stamps (`tracker.kit.clock`): `to_timestamp((added_stamp >> 10) / 1e6)` shows one as a time. The
CHECKs repeat the edge's rules as a backstop. Nothing that an update changes is indexed, and pages
keep some room: an update then stays on its page (HOT) and leaves no index entry behind.

A cart is a guest's until it has a `customer` (the subject of their tokens). With a `next_cart_id` it takes no
items any more: it was purchased or merged into another (at `closed_stamp`), and what still arrives for it goes there.

What was written for a cart up to its `erased_stamp` was erased, and is stored no more, wherever it still waits. Of a
cart that is not there at all the same is true up to the horizon: whatever is older was pruned, so that nothing has to
be kept of a cart to remember that it is gone.
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

from tracker.features.carts.domain import MAX_EXTERNAL_ID_BYTES, MAX_NAME_BYTES
from tracker.ingest.items import DEFAULT_QUANTITY
from tracker.postgres.metadata import metadata

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
    Column("erased_stamp", BigInteger),
    CheckConstraint("(customer IS NULL) = (owned_at IS NULL)", name="owned_since"),
    CheckConstraint("customer IS NOT NULL OR NOT purchased", name="purchased_by"),
    Index("ix_carts_customer", "customer", "owned_at", "id", postgresql_where=text("customer IS NOT NULL")),
    # Without it each cart that is removed would cost a look at all carts, for one that leads there.
    Index("ix_carts_next_cart_id", "next_cart_id", postgresql_where=text("next_cart_id IS NOT NULL")),
)

horizon = Table(
    "horizon",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False, server_default=text("1")),
    Column("stamp", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="only_one"),
)
"""The horizon: one row, once something was pruned, with the greatest stamp that counted as too old."""

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

"""The table of reservations: one row for each item that was in a cart since they were switched on.

It has no foreign key to the items: a flush writes both in one transaction, and a check of the key would
cost every row once more.
"""

from sqlalchemy import CheckConstraint, Column, DateTime, Index, Integer, Table, Text, Uuid, func, text
from sqlalchemy.dialects.postgresql import JSONB

from tracker.features.reservations.domain import Status
from tracker.postgres.metadata import metadata

_STORED = ", ".join(f"'{status.value}'" for status in Status if status is not Status.NONE)

reservations = Table(
    "reservations",
    metadata,
    Column("cart_id", Uuid(as_uuid=False), primary_key=True),
    Column("external_id", Text, primary_key=True),
    Column("quantity", Integer, nullable=False),
    Column("key", Uuid(as_uuid=False), nullable=False, unique=True),
    Column("status", Text, nullable=False),
    Column("reservation_id", JSONB(none_as_null=True)),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("error", Text),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint(f"status IN ({_STORED})", name="status_known"),
    Index("ix_reservations_failed", "updated_at", postgresql_where=text("status = 'failed'")),
)

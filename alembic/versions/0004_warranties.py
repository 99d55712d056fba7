"""Create the stores, the items that they sell warranties for, and the warranties."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "stores",
        sa.Column("store_uuid", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("octet_length(store_uuid) BETWEEN 1 AND 64", name=op.f("ck_stores_store_uuid_length")),
        sa.PrimaryKeyConstraint("store_uuid", name=op.f("pk_stores")),
    )
    op.create_table(
        "warranty_items",
        sa.Column("item_type", sa.Text(), nullable=False),
        sa.Column("item_sku", sa.Text(), nullable=False),
        sa.Column("item_title", sa.Text(), nullable=False),
        sa.Column("item_cost", sa.BigInteger(), nullable=False),
        sa.Column("updated_stamp", sa.BigInteger(), nullable=False),
        sa.CheckConstraint(
            "octet_length(item_type) BETWEEN 1 AND 255", name=op.f("ck_warranty_items_item_type_length")
        ),
        sa.CheckConstraint("octet_length(item_sku) BETWEEN 1 AND 255", name=op.f("ck_warranty_items_item_sku_length")),
        sa.CheckConstraint("item_cost >= 0", name=op.f("ck_warranty_items_item_cost_not_negative")),
        sa.PrimaryKeyConstraint("item_type", "item_sku", name=op.f("pk_warranty_items")),
        postgresql_with={"fillfactor": 90},
    )
    op.create_table(
        "warranties",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("store_uuid", sa.Text(), nullable=False),
        sa.Column("item_type", sa.Text(), nullable=False),
        sa.Column("item_sku", sa.Text(), nullable=False),
        sa.Column("item_title", sa.Text(), nullable=False),
        sa.Column("item_cost", sa.BigInteger(), nullable=False),
        sa.Column("term_months", sa.Integer(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("terms_version", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.CheckConstraint("item_cost >= 0", name=op.f("ck_warranties_item_cost_not_negative")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_warranties_price_not_negative")),
        sa.CheckConstraint("term_months > 0", name=op.f("ck_warranties_term_months_positive")),
        sa.ForeignKeyConstraint(["store_uuid"], ["stores.store_uuid"], name=op.f("fk_warranties_store_uuid_stores")),
        sa.ForeignKeyConstraint(
            ["item_type", "item_sku"],
            ["warranty_items.item_type", "warranty_items.item_sku"],
            name=op.f("fk_warranties_item_type_item_sku_warranty_items"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_warranties")),
    )
    op.create_index("ix_warranties_sold", "warranties", ["store_uuid", "item_type", "item_sku", "id"])
    op.create_index(
        "uq_warranties_store_uuid_idempotency_key",
        "warranties",
        ["store_uuid", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("warranties")
    op.drop_table("warranty_items")
    op.drop_table("stores")

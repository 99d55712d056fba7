"""Create carts and items."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "carts",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_carts")),
    )
    op.create_table(
        "items",
        sa.Column("cart_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("external_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("value", sa.BigInteger(), nullable=True),
        sa.Column("quantity", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("added_stamp", sa.BigInteger(), nullable=False),
        sa.Column("name_stamp", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("value_stamp", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("quantity_stamp", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("octet_length(external_id) BETWEEN 1 AND 255", name=op.f("ck_items_external_id_length")),
        sa.CheckConstraint("octet_length(name) <= 2048", name=op.f("ck_items_name_length")),
        sa.CheckConstraint("quantity >= 0", name=op.f("ck_items_quantity_not_negative")),
        sa.ForeignKeyConstraint(["cart_id"], ["carts.id"], name=op.f("fk_items_cart_id_carts")),
        sa.PrimaryKeyConstraint("cart_id", "external_id", name=op.f("pk_items")),
        postgresql_with={"fillfactor": 90},
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("items")
    op.drop_table("carts")

"""Make carts erasable and prunable for good."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("carts", sa.Column("erased_stamp", sa.BigInteger(), nullable=True))
    # Flushes wait while it is built: 0.3 s for each million carts, few of which are in it.
    op.create_index(
        "ix_carts_next_cart_id",
        "carts",
        ["next_cart_id"],
        postgresql_where=sa.text("next_cart_id IS NOT NULL"),
    )
    op.create_table(
        "horizon",
        sa.Column("id", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("stamp", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_horizon_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_horizon")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("horizon")
    op.drop_index("ix_carts_next_cart_id", "carts")
    op.drop_column("carts", "erased_stamp")

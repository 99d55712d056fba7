"""Create the catalog, the owners of carts, and orders."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TITLE_WORDS = (
    r"""to_tsvector('simple'::regconfig, translate(title, '!"#$%&''()*+,-./:;<=>?@[\]^_`{|}~'::text, """
    "'                                '::text))"
)


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "products",
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), server_default="", nullable=False),
        sa.Column("item_type", sa.Text(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.CheckConstraint("octet_length(sku) BETWEEN 1 AND 255", name=op.f("ck_products_sku_length")),
        sa.CheckConstraint("price >= 0", name=op.f("ck_products_price_not_negative")),
        sa.CheckConstraint("currency ~ '^[A-Z]{3}$'", name=op.f("ck_products_currency_known")),
        sa.PrimaryKeyConstraint("sku", name=op.f("pk_products")),
    )
    op.create_index(
        "ix_products_title",
        "products",
        [sa.text(TITLE_WORDS)],
        postgresql_using="gin",
    )
    op.add_column("carts", sa.Column("customer", sa.Text(), nullable=True))
    op.add_column("carts", sa.Column("owned_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("carts", sa.Column("purchased", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("carts", sa.Column("next_cart_id", sa.Uuid(as_uuid=False), nullable=True))
    op.add_column("carts", sa.Column("closed_stamp", sa.BigInteger(), nullable=True))
    # Not checked against the carts that are there, which would lock them for as long as that takes: in new
    # columns they all hold the same, which is right.
    op.create_foreign_key(
        op.f("fk_carts_next_cart_id_carts"), "carts", "carts", ["next_cart_id"], ["id"], postgresql_not_valid=True
    )
    op.create_check_constraint(
        op.f("ck_carts_owned_since"), "carts", "(customer IS NULL) = (owned_at IS NULL)", postgresql_not_valid=True
    )
    op.create_check_constraint(
        op.f("ck_carts_purchased_by"), "carts", "customer IS NOT NULL OR NOT purchased", postgresql_not_valid=True
    )
    op.create_index(
        "ix_carts_customer",
        "carts",
        ["customer", "owned_at", "id"],
        postgresql_where=sa.text("customer IS NOT NULL"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("cart_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("customer", sa.Text(), nullable=False),
        sa.Column("idempotency_key", sa.Text(), nullable=False),
        sa.Column("processor", sa.Text(), nullable=False),
        sa.Column("payment_method", sa.Text(), nullable=False),
        sa.Column("payment_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.CheckConstraint("status IN ('paying', 'paid', 'failed')", name=op.f("ck_orders_status_known")),
        sa.CheckConstraint("total >= 0", name=op.f("ck_orders_total_not_negative")),
        sa.ForeignKeyConstraint(["cart_id"], ["carts.id"], name=op.f("fk_orders_cart_id_carts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_orders")),
        sa.UniqueConstraint("customer", "idempotency_key", name=op.f("uq_orders_customer_idempotency_key")),
    )
    op.create_index(
        "uq_orders_cart_id_sold",
        "orders",
        ["cart_id"],
        unique=True,
        postgresql_where=sa.text("status <> 'failed'"),
    )
    op.create_index("ix_orders_cart_id", "orders", ["cart_id"])
    op.create_table(
        "order_lines",
        sa.Column("order_id", sa.Uuid(as_uuid=False), nullable=False),
        sa.Column("line", sa.Integer(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("title", sa.Text(), nullable=False),
        sa.Column("item_type", sa.Text(), nullable=False),
        sa.Column("price", sa.BigInteger(), nullable=False),
        sa.Column("quantity", sa.Integer(), nullable=False),
        sa.CheckConstraint("price >= 0", name=op.f("ck_order_lines_price_not_negative")),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_order_lines_quantity_positive")),
        sa.ForeignKeyConstraint(["order_id"], ["orders.id"], name=op.f("fk_order_lines_order_id_orders")),
        sa.PrimaryKeyConstraint("order_id", "line", name=op.f("pk_order_lines")),
    )


def downgrade() -> None:
    """Undo."""
    op.drop_table("order_lines")
    op.drop_table("orders")
    for column in ("closed_stamp", "next_cart_id", "purchased", "owned_at", "customer"):
        op.drop_column("carts", column)
    op.drop_table("products")

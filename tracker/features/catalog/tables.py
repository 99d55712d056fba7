"""The table of products."""

from typing import Final

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Index, Table, Text, text, true

from tracker.features.catalog.domain import MAX_SKU_BYTES, PUNCTUATION
from tracker.postgres.metadata import metadata

_QUOTED: Final = PUNCTUATION.replace("'", "''")

TITLE_WORDS: Final = (
    f"to_tsvector('simple'::regconfig, translate(title, '{_QUOTED}'::text, '{' ' * len(PUNCTUATION)}'::text))"
)
"""SQL expression of the title index: only a search for this very expression can use the index."""

products = Table(
    "products",
    metadata,
    Column("sku", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("description", Text, nullable=False, server_default=""),
    Column("item_type", Text, nullable=False),
    Column("price", BigInteger, nullable=False),
    Column("currency", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default=true()),
    CheckConstraint(f"octet_length(sku) BETWEEN 1 AND {MAX_SKU_BYTES}", name="sku_length"),
    CheckConstraint("price >= 0", name="price_not_negative"),
    CheckConstraint("currency ~ '^[A-Z]{3}$'", name="currency_known"),
    Index("ix_products_title", text(TITLE_WORDS), postgresql_using="gin"),
)

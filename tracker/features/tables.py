"""Every table of Tracker, gathered for Alembic."""

from tracker.features.carts.tables import carts, horizon, items
from tracker.features.catalog.tables import products
from tracker.features.checkout.tables import order_lines, orders
from tracker.features.reservations.tables import reservations
from tracker.features.warranties.tables import stores, warranties, warranty_items
from tracker.postgres.metadata import metadata

__all__ = [
    "carts",
    "horizon",
    "items",
    "metadata",
    "order_lines",
    "orders",
    "products",
    "reservations",
    "stores",
    "warranties",
    "warranty_items",
]

"""Every table of Tracker, gathered for Alembic."""

from tracker.carts.tables import carts, horizon, items
from tracker.catalog.tables import products
from tracker.checkout.tables import order_lines, orders
from tracker.postgres.metadata import metadata
from tracker.reservations.tables import reservations
from tracker.warranties.tables import stores, warranties, warranty_items

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

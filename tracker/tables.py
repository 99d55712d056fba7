"""Every table of Tracker, gathered for Alembic."""

from tracker.carts.tables import carts, items
from tracker.db.base import metadata

__all__ = ["carts", "items", "metadata"]

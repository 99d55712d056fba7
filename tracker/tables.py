"""Every table of Tracker, gathered for Alembic."""

from tracker.carts.tables import carts, items
from tracker.db.base import metadata
from tracker.reservations.tables import reservations

__all__ = ["carts", "items", "metadata", "reservations"]

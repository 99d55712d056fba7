"""Reservations: every item of a cart is reserved at an external service, which may take its time."""

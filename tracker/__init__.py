"""Tracker: answers a cart's update at once, stores it in PostgreSQL milliseconds later."""

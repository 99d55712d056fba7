"""Middleware around the routes."""

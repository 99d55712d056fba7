"""Durable background jobs on the same PostgreSQL.

A job is a row that is written in the transaction of what it follows from, so neither exists without
the other. Features register a handler under a name and know nothing of the library behind.
"""

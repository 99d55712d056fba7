"""Carts and their items: from the request to the row.

Read it top down: `routes` (HTTP) hand validated `dto` to `service`, which stamps an item and puts it
into the aggregator of `ingest`; its flusher drains that by `batch_writer` into `store`, the SQL on `tables`.
"""

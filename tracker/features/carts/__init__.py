"""Carts and their items: from the request to the row.

Read it top down: `routes` (HTTP) hand validated `dto` to `service`, which stamps an item and puts it
into the `aggregator`; the `flusher` drains that into `store`, the SQL on `tables`. `domain` holds the
one rule they all share: how two writes of an item merge.
"""

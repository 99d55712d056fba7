"""The path of an accepted item to its row: memory, journal, flush, and what does not get through."""

"""The composition root: builds a process from its parts, and runs it."""

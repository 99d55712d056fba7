"""Parameters of route handlers that are parts of the process."""

from litestar.di import Provide


def given(part: object) -> Provide:
    """Return the dependency that is always `part`."""
    return Provide(lambda: part, sync_to_thread=False)

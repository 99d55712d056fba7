"""Chooses the PostgreSQL that Tracker uses: the one in the settings, or else the embedded one."""

import contextlib
from collections.abc import Iterator

from tracker.postgres.engine import dsn_of
from tracker.settings import Settings


@contextlib.contextmanager
def database(settings: Settings, *, join: bool = True) -> Iterator[str]:
    """Yield the URL of the database that `settings` choose; run that database meanwhile if it is embedded.

    `join` has the same meaning as in `embedded_postgres`.
    """
    if settings.database_url is not None:
        yield dsn_of(settings.database_url)
    else:
        # With subprocess and shutil it is a megabyte, for nothing where DATABASE_URL is set.
        from tracker.postgres.embedded import embedded_postgres  # noqa: PLC0415

        with embedded_postgres(settings.data_dir, join=join) as url:
            yield url

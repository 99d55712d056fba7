"""Which PostgreSQL this is about: the one in the settings, or else the embedded one."""

import contextlib
from collections.abc import Iterator

from tracker.db.embedded import embedded_postgres
from tracker.db.engine import dsn_of
from tracker.settings import Settings


@contextlib.contextmanager
def database(settings: Settings, *, join: bool = True) -> Iterator[str]:
    """Yield the URL of the database that `settings` mean, running it meanwhile if it is embedded.

    `join` is that of `embedded_postgres`.
    """
    if settings.database_url is not None:
        yield dsn_of(settings.database_url)
    else:
        with embedded_postgres(settings.data_dir, join=join) as url:
            yield url

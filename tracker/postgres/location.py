"""Chooses the PostgreSQL that Tracker uses: the one in the settings, or else the embedded one."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tracker.postgres.engine import dsn_of


@contextlib.contextmanager
def database(url: str | None, data_dir: Path, *, join: bool = True) -> Iterator[str]:
    """Yield the URL of the database at `url`; without one, of the embedded one in `data_dir`, which runs meanwhile.

    `join` has the same meaning as in `embedded_postgres`.
    """
    if url is not None:
        yield dsn_of(url)
    else:
        # With subprocess and shutil it is a megabyte, for nothing where DATABASE_URL is set.
        from tracker.postgres.embedded import embedded_postgres  # noqa: PLC0415

        with embedded_postgres(data_dir, join=join) as embedded_url:
            yield embedded_url

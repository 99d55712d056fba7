"""One PostgreSQL for all contestants, the embedded one, and a fresh database for each start of one."""

import asyncio
import contextlib
import itertools
import re
import secrets
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import asyncpg

from tracker.postgres.embedded import embedded_postgres
from tracker.postgres.schema import upgrade_schema

PLAIN_TABLES: Final = """
CREATE TABLE carts (id uuid PRIMARY KEY);
CREATE TABLE items (
    cart_id uuid NOT NULL REFERENCES carts (id),
    external_id text NOT NULL,
    name text,
    value bigint,
    quantity integer NOT NULL DEFAULT 1,
    PRIMARY KEY (cart_id, external_id)
);
"""
"""What somebody without stamps would create; for the contestants other than Tracker."""


def run_sql(url: str, sql: str, *arguments: object) -> list[Any]:
    """Run a statement and return its rows; or, without arguments and as DDL, several statements."""

    async def run() -> list[Any]:
        connection = await asyncpg.connect(url)
        try:
            if arguments or sql.lstrip().upper().startswith("SELECT"):
                return list(await connection.fetch(sql, *arguments))
            await connection.execute(sql)
            return []
        finally:
            await connection.close()

    return asyncio.run(run())


class Databases:
    """Gives out fresh databases of one server."""

    def __init__(self, server_url: str, pid: int) -> None:
        self.server_url = server_url
        self.pid = pid
        """Of the process whose children do the work."""
        self._prefix = f"bench_{secrets.token_hex(3)}"
        self._numbers = itertools.count(1)

    @contextlib.contextmanager
    def fresh(self, *, plain: bool = False) -> Iterator[str]:
        """Yield the URL of a new database, with Tracker's tables or the plain ones; drop it at the end."""
        with self.copy_of("template1" if plain else self._migrated) as url:
            if plain:
                run_sql(url, PLAIN_TABLES)
            yield url

    @contextlib.contextmanager
    def copy_of(self, template: str) -> Iterator[str]:
        """Yield the URL of a new database that is as the one named `template`; drop it at the end."""
        name = f"{self._prefix}_{next(self._numbers)}"
        run_sql(self.server_url, f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield _url_of(self.server_url, name)
        finally:
            run_sql(self.server_url, f"DROP DATABASE {name} WITH (FORCE)")

    @cached_property
    def _migrated(self) -> str:
        """The name of a database with Tracker's tables, to copy instead of a migration for each."""
        name = f"{self._prefix}_template"
        run_sql(self.server_url, f"CREATE DATABASE {name}")
        upgrade_schema(_url_of(self.server_url, name))
        return name


def disconnect_all(server_url: str, database: str) -> None:
    """End every connection to a database; each backend reports its statistics as it ends."""
    run_sql(server_url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", database)


def name_of(url: str) -> str:
    """Return the name of the database at `url`."""
    return url.partition("?")[0].rpartition("/")[2]


def _url_of(server_url: str, database: str) -> str:
    return re.sub(r"^([a-z+]+://[^/?]*)/?[^?]*", rf"\1/{database}", server_url)


@contextlib.contextmanager
def databases(folder: Path) -> Iterator[Databases]:
    """Run PostgreSQL in `folder`, on the cores that this process has now."""
    folder.mkdir(parents=True, exist_ok=True)
    with embedded_postgres(folder) as url:
        pid = (folder / "postgres" / "cluster" / "postmaster.pid").read_text().partition("\n")[0]
        yield Databases(url, int(pid))

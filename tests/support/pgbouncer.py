"""A real pgbouncer in transaction mode, between Tracker and the PostgreSQL of the tests."""

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from tests.conftest import Database
from tests.support.waiting import wait_until

PROGRAM: Final = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


SESSIONS: Final = 2
"""Of PostgreSQL, for all clients together: few enough that each statement may come to another one than the last."""

IGNORED: Final = (
    "statement_timeout,lock_timeout,idle_in_transaction_session_timeout,tcp_keepalives_idle,"
    "tcp_keepalives_interval,tcp_keepalives_count,tcp_user_timeout"
)
"""What an operator may have told it to pass over."""


@dataclass(frozen=True)
class PgBouncer:
    """A running one."""

    sockets: Path
    log: Path

    def url_of(self, database: Database) -> str:
        """Return the URL by which a database is reached through it."""
        name = urlsplit(database.url).path
        return f"postgresql://tracker@{name}?host={self.sockets}&port=6432"


@contextlib.contextmanager
def running_pgbouncer(server_url: str, folder: Path, *, ignored: str = "") -> Iterator[PgBouncer]:
    """Run it before the PostgreSQL at `server_url`; skip the test where it is not installed."""
    if PROGRAM is None:
        pytest.skip("pgbouncer is not installed (Debian's package of that name)")
    config, log = folder / "pgbouncer.ini", folder / "pgbouncer.log"
    config.write_text(
        f"""[databases]
* = {_server(server_url)}
[pgbouncer]
pool_mode = transaction
default_pool_size = {SESSIONS}
auth_type = any
unix_socket_dir = {folder}
listen_port = 6432
logfile = {log}
server_login_retry = 1
ignore_startup_parameters = {ignored}
"""
    )
    # It refuses to run as root.
    prefix = ["unshare", "--user", "--map-user=65534", "--map-group=65534", "--"] if os.geteuid() == 0 else []
    process = subprocess.Popen([*prefix, PROGRAM, "--quiet", config], stdin=subprocess.DEVNULL)
    try:
        wait_until(lambda: process.poll() is not None or (folder / ".s.PGSQL.6432").exists(), what="pgbouncer listens")
        assert process.poll() is None, log.read_text() if log.exists() else "pgbouncer has ended"
        yield PgBouncer(folder, log)
    finally:
        process.terminate()
        process.wait()


def _server(url: str) -> str:
    """Return where PostgreSQL is, as pgbouncer's configuration says it."""
    parts = urlsplit(url)
    host = parts.hostname or parse_qs(parts.query)["host"][0]
    said = {
        "host": unquote(host),
        "port": str(parts.port or 5432),
        "user": unquote(parts.username or "") or "postgres",
        "password": unquote(parts.password or ""),
    }
    return " ".join(f"{name}='{value}'" for name, value in said.items() if value)

"""The embedded PostgreSQL: whom it lets in, what it holds, how it stores texts."""

import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Database
from tracker.postgres.embedded import embedded_postgres


@dataclass
class Embedded:
    folder: Path
    database: Database
    server: int

    @property
    def descriptors(self) -> list[str]:
        """What the server has open."""
        return [str(entry.readlink()) for entry in Path(f"/proc/{self.server}/fd").iterdir()]


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    data_dir = tmp_path_factory.mktemp("data")
    folder = data_dir / "postgres"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LC_ALL", "C")
        with embedded_postgres(data_dir) as url:
            server = int((folder / "cluster" / "postmaster.pid").read_text().split()[0])
            yield Embedded(folder, Database(url), server)


def test_it_listens_on_no_tcp_port(embedded: Embedded) -> None:
    own = {match[1] for text in embedded.descriptors if (match := re.fullmatch(r"socket:\[(\d+)\]", text))}
    assert own, "its Unix socket at least"
    for table in ("tcp", "tcp6"):
        rows = Path(f"/proc/{embedded.server}/net/{table}").read_text().splitlines()[1:]
        assert not own & {row.split()[9] for row in rows}
    assert embedded.database.fetch("SHOW listen_addresses") == [{"listen_addresses": ""}]


def test_its_socket_is_for_its_own_user_only(embedded: Embedded) -> None:
    sockets = embedded.folder / "run"
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    (path,) = (path for path in sockets.iterdir() if path.is_socket())
    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_it_holds_the_servers_lock_and_not_the_owners(embedded: Embedded) -> None:
    locks = {Path(text).name for text in embedded.descriptors if text.endswith(".lock")}
    assert locks == {"server.lock"}


def test_texts_are_utf8_and_sort_alike_on_every_machine(embedded: Embedded) -> None:
    (row,) = embedded.database.fetch(
        "SELECT pg_encoding_to_char(encoding) AS encoding, datcollate, datctype"
        " FROM pg_database WHERE datname = current_database()"
    )
    assert row == {"encoding": "UTF8", "datcollate": "C.UTF-8", "datctype": "C.UTF-8"}

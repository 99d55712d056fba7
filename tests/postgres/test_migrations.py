"""The schema: up, down, unchanged, and refused when stale."""

import secrets
import subprocess
import sys
import uuid
from pathlib import Path

import asyncpg
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from tests.conftest import REPO, Database, clean_environ, run_tracker, url_of
from tests.support.faults.outages import login
from tracker.postgres.schema import known_revisions


def alembic(*arguments: str, url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "alembic", *arguments],
        env={**clean_environ(), "DATABASE_URL": url},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def tables(url: str) -> set[str]:
    rows = Database(url).fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return {row["tablename"] for row in rows}


def test_alembic_upgrades_checks_and_downgrades(empty_database: str) -> None:
    assert alembic("upgrade", "head", url=empty_database).returncode == 0
    assert {"carts", "items"} <= tables(empty_database)
    check = alembic("check", url=empty_database)
    assert check.returncode == 0, check.stdout + check.stderr
    assert alembic("downgrade", "base", url=empty_database).returncode == 0
    assert tables(empty_database) == {"alembic_version"}
    assert alembic("upgrade", "head", url=empty_database).returncode == 0


def test_the_names_of_the_migrations_files_tell_their_revisions() -> None:
    scripts = ScriptDirectory.from_config(Config(REPO / "alembic.ini"))
    newest_first = [script.revision for script in scripts.walk_revisions()]
    assert known_revisions() == newest_first[::-1]


def test_tracker_migrate_is_the_same_upgrade(empty_database: str) -> None:
    done = run_tracker("migrate", env={"DATABASE_URL": empty_database})
    assert done.returncode == 0, done.stderr
    assert "up to date" in done.stdout
    assert alembic("check", url=empty_database).returncode == 0


def test_a_database_without_schema_is_refused_in_one_line_that_names_the_command(empty_database: str) -> None:
    done = run_tracker("serve", "--port", "0", env={"DATABASE_URL": empty_database})
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "tracker migrate" in done.stderr


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["migrate"]])
def test_a_newer_schema_is_refused_in_one_line(database: Database, command: list[str]) -> None:
    database.fetch("UPDATE alembic_version SET version_num = 'from-the-future'")
    done = run_tracker(*command, env={"DATABASE_URL": database.url})
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "from-the-future" in done.stderr
    assert "install a newer one" in done.stderr


def test_a_database_that_went_back_to_its_beginning_is_migrated_anew(empty_database: str) -> None:
    for _ in range(2):
        done = run_tracker("migrate", env={"DATABASE_URL": empty_database})
        assert done.returncode == 0, done.stderr
        assert alembic("downgrade", "base", url=empty_database).returncode == 0


def test_a_database_that_may_not_be_read_is_not_called_out_of_reach(database: Database) -> None:
    with login(database) as role:
        done = run_tracker("serve", "--port", "0", env={"DATABASE_URL": role.url})
    assert done.returncode == 1
    assert done.stderr.startswith("tracker: cannot use PostgreSQL")
    assert "permission denied" in done.stderr


def test_a_database_that_cannot_hold_every_text_is_refused_in_one_line(server_url: str, database: Database) -> None:
    del database  # the server is there
    name = f"tracker_test_{secrets.token_hex(4)}"
    server = Database(server_url)
    server.fetch(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        done = run_tracker("serve", "--port", "0", env={"DATABASE_URL": url_of(server_url, name)})
    finally:
        server.fetch(f"DROP DATABASE {name} WITH (FORCE)")
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "LATIN1" in done.stderr


def test_rows_that_break_a_rule_are_refused_by_the_tables_themselves(database: Database) -> None:
    cart_id = str(uuid.uuid4())
    insert = "INSERT INTO items (cart_id, external_id, name, quantity, added_stamp) VALUES ($1, $2, $3, $4, 1)"
    with pytest.raises(asyncpg.ForeignKeyViolationError):
        database.fetch(insert, cart_id, "a", None, 1)
    database.fetch("INSERT INTO carts (id) VALUES ($1)", cart_id)
    for bad in [("", None, 1), ("x" * 256, None, 1), ("a", "é" * 1025, 1), ("a", None, -1)]:
        with pytest.raises(asyncpg.CheckViolationError):
            database.fetch(insert, cart_id, *bad)

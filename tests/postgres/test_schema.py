"""What the tables refuse and how they are laid out, and how a migration takes its turn."""

import uuid
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from tests.conftest import Database
from tests.support.parts import transaction
from tests.support.waiting import wait_until
from tracker.errors import ConfigurationError
from tracker.postgres.schema import upgrade_schema

MIGRATION_LOCK = 7_405_322_914
"""Advisory lock of every version of Tracker: replicas of two versions migrate one after the other too."""

ROW = {"external_id": "a", "name": None, "quantity": 1}


def insert(database: Database, **fields: object) -> None:
    cart_id = str(uuid.uuid4())
    database.fetch("INSERT INTO carts (id) VALUES ($1)", cart_id)
    database.fetch(
        "INSERT INTO items (cart_id, external_id, name, quantity, added_stamp) VALUES ($1, $2, $3, $4, 1)",
        cart_id,
        *{**ROW, **fields}.values(),
    )


@pytest.mark.parametrize(
    ("column", "longest_or_least", "beyond"),
    [
        ("external_id", "x" * 255, "x" * 256),
        ("external_id", "é" * 127 + "x", "é" * 128),
        ("external_id", "x", ""),
        ("name", "x" * 2048, "x" * 2049),
        ("name", "é" * 1024, "é" * 1024 + "x"),
        ("quantity", 0, -1),
    ],
    ids=lambda value: str(value)[:12],
)
def test_the_tables_take_a_bound_and_refuse_what_is_beyond(
    database: Database, column: str, longest_or_least: object, beyond: object
) -> None:
    insert(database, **{column: longest_or_least})
    with pytest.raises(asyncpg.CheckViolationError):
        insert(database, **{column: beyond})


def test_pages_of_items_keep_room_for_updates(database: Database) -> None:
    (row,) = database.fetch("SELECT reloptions FROM pg_class WHERE oid = 'items'::regclass")
    assert row["reloptions"] == ["fillfactor=90"]


def test_no_column_that_an_update_changes_is_indexed(database: Database) -> None:
    indexed = database.fetch(
        "SELECT DISTINCT attname FROM pg_attribute, pg_index"
        " WHERE pg_index.indrelid = 'items'::regclass AND attrelid = indexrelid"
    )
    assert {row["attname"] for row in indexed} == {"cart_id", "external_id"}


def test_a_migration_waits_for_the_one_of_another_replica(empty_database: str) -> None:
    database = Database(empty_database)
    waiting = (
        "SELECT 1 FROM pg_locks JOIN pg_database ON pg_database.oid = database"
        " WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    with ThreadPoolExecutor() as pool:
        with transaction(empty_database, f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"):
            migration = pool.submit(upgrade_schema, empty_database)
            wait_until(lambda: migration.done() or database.fetch(waiting))
            assert not migration.done()
        migration.result(60)
    assert database.fetch("SELECT version_num FROM alembic_version")


def test_a_migration_that_cannot_get_its_lock_gives_up_and_changes_nothing(empty_database: str) -> None:
    with (
        ThreadPoolExecutor() as pool,
        transaction(empty_database, "CREATE TABLE items ()"),
        pytest.raises(ConfigurationError, match=r"changed nothing: .*lock timeout"),
    ):
        pool.submit(upgrade_schema, empty_database).result(30)
    assert Database(empty_database).fetch("SELECT 1 FROM pg_tables WHERE schemaname = 'public'") == []

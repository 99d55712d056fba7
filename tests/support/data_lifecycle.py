"""Carts of any age, the commands that end them, and journals that somebody has left behind."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from click.testing import CliRunner, Result

from tests.conftest import Database
from tests.support.waiting import wait_until
from tracker.cli.registry import main
from tracker.features.carts.domain import new_cart_id
from tracker.ingest.items import CartId, Item, ItemKey
from tracker.ingest.journal.frames import frame, header, segment_name
from tracker.ingest.journal_record import encode_record
from tracker.kit.clock import stamp_at

DAY: Final = timedelta(days=1)


def run(database: Database, *arguments: str, data_dir: Path | str = "/nonexistent", answer: str = "") -> Result:
    """Run a command of Tracker in this process."""
    env = {"DATABASE_URL": database.url, "TRACKER_DATA_DIR": str(data_dir)}
    return CliRunner().invoke(main, arguments, env=env, input=answer)


def days_ago(days: float) -> int:
    """Return a stamp of so many days ago."""
    return stamp_at(datetime.now(UTC) - days * DAY)


def stored_cart(
    database: Database, age_days: float, *external_ids: str, cart_id: str | None = None, **columns: object
) -> CartId:
    """Store a cart with items that were written so many days ago, each with a reservation."""
    cart_id = cart_id or new_cart_id()
    names = ["id", *columns]
    values = [cart_id, *columns.values()]
    numbers = ", ".join(f"${number}" for number in range(1, len(values) + 1))
    database.fetch(f"INSERT INTO carts ({', '.join(names)}) VALUES ({numbers})", *values)
    for external_id in external_ids:
        store_item(database, cart_id, external_id, age_days)
        database.fetch(
            "INSERT INTO reservations (cart_id, external_id, quantity, key, status)"
            " VALUES ($1, $2, 1, gen_random_uuid(), 'pending')",
            cart_id,
            external_id,
        )
    return CartId(cart_id)


def store_item(database: Database, cart_id: str, external_id: str, age_days: float) -> None:
    stamp = days_ago(age_days)
    database.fetch(
        "INSERT INTO items (cart_id, external_id, name, name_stamp, added_stamp) VALUES ($1, $2, 'Mug', $3, $3)",
        cart_id,
        external_id,
        stamp,
    )


def owned(customer: str, age_days: float, **columns: object) -> dict[str, Any]:
    """Return the columns of a cart that a customer has owned for so many days."""
    return {"customer": customer, "owned_at": datetime.now(UTC) - age_days * DAY, **columns}


def stored_order(database: Database, cart_id: str, customer: str, *, status: str = "paid", key: str = "the key") -> str:
    """Store an order of one line."""
    (row,) = database.fetch(
        "INSERT INTO orders (id, cart_id, customer, idempotency_key, processor, payment_method, payment_id, status,"
        " total, currency) VALUES (gen_random_uuid(), $1, $2, $3, 'sandbox', 'accepted', 'p-1', $4, 500, 'EUR')"
        " RETURNING id::text",
        cart_id,
        customer,
        key,
        status,
    )
    order_id: str = row["id"]
    database.fetch("INSERT INTO order_lines VALUES ($1, 1, 'a', 'Mug', 'cup', 500, 1)", order_id)
    return order_id


def cart_ids(database: Database) -> set[str]:
    return {row["id"] for row in database.fetch("SELECT id::text FROM carts")}


def everything(database: Database) -> dict[str, list[dict[str, object]]]:
    """Return all rows of the tables that end."""
    tables = ("carts", "items", "reservations", "orders", "order_lines", "horizon")
    return {table: database.fetch(f"SELECT * FROM {table} AS one ORDER BY one::text") for table in tables}


def left_journal(data_dir: Path, items: Mapping[ItemKey, Item], *, worker: int = 31) -> Path:
    """Write the journal of a worker that is dead; return its segment."""
    folder = data_dir / "workers" / f"{worker:04}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / segment_name(1, 7)
    frames = [
        frame(encode_record(cart_id, external_id, item), 7, number)
        for number, ((cart_id, external_id), item) in enumerate(items.items())
    ]
    path.write_bytes(header(7) + b"".join(frames))
    return path


def wait_until_gone(path: Path) -> None:
    """Return once a journal was replayed."""
    wait_until(lambda: not path.exists(), what=f"{path} is replayed")

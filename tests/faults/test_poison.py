"""Rows that PostgreSQL will never take, put past the checks of the edge: they go aside, all others are stored."""

import asyncio
import random
import uuid
from pathlib import Path

import pytest

from tests.conftest import Database, StartTracker, Tracker, run_tracker
from tests.support.waiting import wait_until
from tracker.features.carts.batch_writer import BatchWriter
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.delivery import Delivery
from tracker.ingest.flush_traces import ItemTraces
from tracker.ingest.items import Batch, CartId, Item, ItemKey
from tracker.ingest.journal.frames import frame, header, segment_name
from tracker.ingest.journal_record import encode_record
from tracker.postgres.engine import create_engine
from tracker.postgres.error_classes import Failure

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")
SALT = 0x12345678
STAMP = 1_700_000_000_000_000 << 10

POISON: Batch = {
    (CART, "NUL in the name"): Item.written(STAMP, "a\0b", None, None),
    (CART, "NUL in the id \0"): Item.written(STAMP, "Mug", None, None),
    (CART, "65 bits"): Item.written(STAMP, None, 2**63, None),
    (CART, "33 bits"): Item.written(STAMP, None, None, 2**31),
    (CART, "negative"): Item.written(STAMP, None, None, -1),
    (CART, "long " * 100): Item.written(STAMP, "Mug", None, None),
    (CartId("no uuid"), "cart"): Item.written(STAMP, "Mug", None, None),
}

UNWRITABLE: Batch = {
    (CART, "surrogate in the name"): Item.written(STAMP, "\ud800", None, None),
    (CART, "surrogate \udfff"): Item.written(STAMP, "Mug", None, None),
}
"""What does not even go into a journal."""


def batch_with(poison: Batch, size: int) -> Batch:
    """Return `size` items, those of `poison` at random places among good ones."""
    good = {(CART, f"good-{n}"): Item.written(STAMP + n, f"Mug {n}", n, 1) for n in range(size - len(poison))}
    rows = [*good.items(), *poison.items()]
    random.Random(1).shuffle(rows)
    return dict(rows)


def write_journal(data_dir: Path, batch: Batch) -> Path:
    """Leave a journal with a batch, as a worker that was killed does."""
    folder = data_dir / "workers" / "0000"
    folder.mkdir(parents=True)
    frames = [
        frame(encode_record(cart_id, external_id, item), SALT, sequence)
        for sequence, ((cart_id, external_id), item) in enumerate(batch.items())
    ]
    segment = folder / segment_name(1, SALT)
    segment.write_bytes(header(SALT) + b"".join(frames))
    return segment


def deliver(database: Database, dead_letters: DeadLetters, batch: Batch) -> int:
    """Deliver a batch in this process; return how many writes it took."""
    writes = 0

    async def run() -> None:
        engine = create_engine(database.url)

        async def write(part: Batch, traces: ItemTraces) -> None:
            nonlocal writes
            writes += 1
            await BatchWriter(engine).write(part, traces)

        async def give_up(failure: Failure, tries: int) -> None:
            pytest.fail(f"{failure} was not for the dead letters (try {tries})")

        try:
            await Delivery(write, dead_letters).deliver(batch, give_up)
        finally:
            await engine.dispose()

    asyncio.run(run())
    return writes


def stored(database: Database) -> set[str]:
    return {row["external_id"] for row in database.fetch("SELECT external_id FROM items")}


def keys_of(letters: DeadLetters) -> list[ItemKey]:
    return sorted(letter.key for letter in letters.all())


def dead_letters_command(action: str, data_dir: Path, database: Database) -> str:
    done = run_tracker("dead-letters", action, env={"TRACKER_DATA_DIR": str(data_dir), "DATABASE_URL": database.url})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_one_poison_row_of_a_thousand_goes_aside_and_the_others_are_stored(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    ((key, item),) = [entry for entry in POISON.items() if entry[0][1] == "NUL in the name"]
    segment = write_journal(tmp_path, batch_with({key: item}, 1000))
    start_tracker(env={"DATABASE_URL": database.url})
    wait_until(lambda: not segment.exists(), what="the journal to be replayed")
    assert stored(database) == {f"good-{n}" for n in range(999)}
    (letter,) = DeadLetters(segment.parent).all()
    assert (letter.key, letter.item) == (key, item)
    assert "0x00" in letter.error

    listed = dead_letters_command("list", tmp_path, database)
    assert listed.count("  cart ") == 1
    assert "NUL in the name" in listed
    assert "0x00" in listed
    assert dead_letters_command("retry", tmp_path, database) == "0 stored, 1 refused again\n"
    assert keys_of(DeadLetters(segment.parent)) == [key]


@pytest.mark.slow
def test_poison_of_every_kind_goes_aside_and_the_others_are_stored(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    segment = write_journal(tmp_path, batch_with(POISON, 300))
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    wait_until(lambda: not segment.exists(), what="the journal to be replayed")
    assert stored(database) == {f"good-{n}" for n in range(300 - len(POISON))}
    assert keys_of(DeadLetters(segment.parent)) == sorted(POISON)
    assert not list(segment.parent.glob("*.corrupt"))
    assert tracker.post_item({"external_id": "after"}).status_code == 204
    assert tracker.stop() == 0
    assert "after" in stored(database)


@pytest.mark.parametrize("count", [1, len(POISON) + len(UNWRITABLE)])
def test_a_delivery_finds_the_bad_rows_in_few_writes(database: Database, tmp_path: Path, count: int) -> None:
    poison = dict(list({**UNWRITABLE, **POISON}.items())[:count])
    letters = DeadLetters(tmp_path)
    writes = deliver(database, letters, batch_with(poison, 1000))
    assert stored(database) == {f"good-{n}" for n in range(1000 - count)}
    assert keys_of(letters) == sorted(poison)
    assert {letter.key: letter.item for letter in letters.all()} == poison
    assert letters.buried == count
    assert writes <= 1 + count * 2 * 10  # 1,000 rows are halved ten times


@pytest.mark.slow
def test_what_cannot_be_written_as_utf_8_is_listed_too(database: Database, tmp_path: Path) -> None:
    folder = tmp_path / "workers" / "0000"
    folder.mkdir(parents=True)
    deliver(database, DeadLetters(folder), UNWRITABLE)
    listed = dead_letters_command("list", tmp_path, database)
    assert listed.count("  cart ") == len(UNWRITABLE)
    assert "surrogate in the name" in listed


def refuse_mugs(database: Database) -> None:
    database.fetch("ALTER TABLE items ADD CONSTRAINT no_mugs CHECK (name <> 'Mug')")


def post_mug_and_cup(tracker: Tracker, cart_id: str) -> None:
    assert tracker.post_item({"external_id": "mug", "name": "Mug", "value": 100}, cart_id).status_code == 204
    assert tracker.post_item({"external_id": "cup", "name": "Cup"}, cart_id).status_code == 204


def test_what_a_trigger_refuses_is_a_dead_letter_and_its_text_is_not_in_the_log(
    start_tracker: StartTracker, database: Database, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    database.fetch(
        "CREATE FUNCTION refuse_mugs() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN IF NEW.name = 'Mug' THEN RAISE EXCEPTION 'no %', NEW.name; END IF; RETURN NEW; END $$"
    )
    database.fetch("CREATE TRIGGER refuse_mugs BEFORE INSERT ON items FOR EACH ROW EXECUTE FUNCTION refuse_mugs()")
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    cart_id = str(uuid.uuid4())
    post_mug_and_cup(tracker, cart_id)
    assert set(database.wait_for_items(cart_id)) == {"cup"}
    wait_until(DeadLetters(tmp_path / "workers" / "0000").all, what="a dead letter")
    assert tracker.stop() == 0
    assert "Mug" not in capfd.readouterr().err


@pytest.mark.slow
def test_a_dead_letter_is_stored_by_a_retry_once_its_reason_is_mended(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    refuse_mugs(database)
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    cart_id = str(uuid.uuid4())
    post_mug_and_cup(tracker, cart_id)
    assert set(database.wait_for_items(cart_id)) == {"cup"}
    letters = DeadLetters(tmp_path / "workers" / "0000")
    wait_until(letters.all, what="a dead letter")
    assert "no_mugs" in letters.all()[0].error

    # What is written after it is stored, and not undone by the retry.
    assert tracker.post_item({"external_id": "mug", "value": 200}, cart_id).status_code == 204
    assert database.wait_for_items(cart_id, 2)["mug"]["name"] is None
    database.fetch("ALTER TABLE items DROP CONSTRAINT no_mugs")
    assert dead_letters_command("retry", tmp_path, database) == "1 stored, 0 refused again\n"
    mug = database.items(cart_id)["mug"]
    assert (mug["name"], mug["value"]) == ("Mug", 200)
    assert dead_letters_command("list", tmp_path, database) == ""


@pytest.mark.slow
def test_a_retry_that_finds_no_postgresql_keeps_the_dead_letters(
    start_tracker: StartTracker, database: Database, tmp_path: Path
) -> None:
    refuse_mugs(database)
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    cart_id = str(uuid.uuid4())
    post_mug_and_cup(tracker, cart_id)
    letters = DeadLetters(tmp_path / "workers" / "0000")
    wait_until(letters.all, what="a dead letter")
    tracker.stop()
    done = run_tracker(
        "dead-letters", "retry", env={"TRACKER_DATA_DIR": str(tmp_path), "DATABASE_URL": "postgresql://x@127.0.0.1:1/d"}
    )
    assert done.returncode == 1
    assert keys_of(letters) == [(cart_id, "mug")]
    database.fetch("ALTER TABLE items DROP CONSTRAINT no_mugs")
    assert dead_letters_command("retry", tmp_path, database) == "1 stored, 0 refused again\n"
    assert letters.all() == []

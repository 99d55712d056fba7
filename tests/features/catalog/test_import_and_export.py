"""`tracker catalog import` and `export`: all or nothing, every bad line told, and back again unchanged."""

import asyncio
import csv
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.conftest import REPO, Database, clean_environ, run_tracker
from tests.support.faults.outages import Proxy
from tests.support.order_lines import read_lines
from tests.support.products import products_of, write_products
from tests.support.terminal import shown_on_terminal
from tracker.cli.registry import main
from tracker.errors import DatabaseUnavailableError
from tracker.features.catalog.domain import Numbered, Product
from tracker.features.catalog.service import Imported, import_products
from tracker.postgres.engine import create_engine, dispose

SAMPLE = REPO / "tests" / "support" / "data" / "order-lines.csv"
REAL = REPO.parent / "shared" / "data" / "online-retail-2010-12-to-2011-06.csv.gz"

COLUMNS = ["sku", "title", "description", "item_type", "price", "currency", "active"]

TRICKY: list[tuple[object, ...]] = [
    (" ", " a title ", "", "gift", 0, "EUR", True),
    ("'\";--", 'quotes "" and, commas', 'ends with "', "g", 2**63 - 1, "USD", False),
    ("\\.", "\\N", "\\.", "\\", 1, "JPY", True),
    ("lines", "one\ntwo", "three\r\nfour\rfive\n", "g\n", 1, "EUR", True),
    ("Ærø \U0001f600", "コーヒー", "é" * 8192, "é" * 127, 1, "DKK", False),
    ("null", "NULL", "x" * 16384, "t", 1, "EUR", True),
    ("x" * 255, '"' * 2048, "\t\x01\u2028", "#", 1, "EUR", True),
]


def catalog(database: Database, *arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["catalog", *map(str, arguments)], env={"DATABASE_URL": database.url})


def stored(database: Database) -> list[tuple[object, ...]]:
    return [tuple(row.values()) for row in database.fetch(f"SELECT {', '.join(COLUMNS)} FROM products ORDER BY sku")]


def fill(database: Database, rows: Sequence[tuple[object, ...]]) -> None:
    for row in rows:
        database.fetch("INSERT INTO products VALUES ($1, $2, $3, $4, $5, $6, $7)", *row)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "products.csv"


def write(file: Path, *lines: str) -> Path:
    file.write_text("".join(f"{line}\n" for line in ["sku,title,item_type,price,currency", *lines]), encoding="utf-8")
    return file


def test_an_import_says_what_is_new_changed_and_unchanged(database: Database, file: Path) -> None:
    first = catalog(database, "import", write(file, "b,Mug,cup,10,EUR", "a,Pen,pen,20,USD", "c,Box,box,0,EUR"))
    assert (first.exit_code, first.stderr) == (0, "")
    assert first.stdout == "3 products: 3 new, 0 changed, 0 unchanged, 0 bad lines\n"
    assert stored(database)[0] == ("a", "Pen", "", "pen", 20, "USD", True)
    second = catalog(database, "import", write(file, "b,Mug,cup,11,EUR", "d,New,new,1,EUR", "a,Pen,pen,20,USD"))
    assert second.stdout == "3 products: 1 new, 1 changed, 1 unchanged, 0 bad lines\n"
    assert [(row[0], row[4]) for row in stored(database)] == [("a", 20), ("b", 11), ("c", 0), ("d", 1)]


def test_what_is_unchanged_is_not_written(database: Database, file: Path) -> None:
    catalog(database, "import", write(file, "a,Mug,cup,10,EUR", "b,Mug,cup,10,EUR"))
    rows = "SELECT sku, xmin::text, ctid::text FROM products ORDER BY sku"
    before = database.fetch(rows)
    catalog(database, "import", write(file, "a,Mug,cup,10,EUR", "b,Cup,cup,10,EUR"))
    after = database.fetch(rows)
    assert (before[0] == after[0], before[1] == after[1]) == (True, False)


def test_postgresql_plans_with_what_was_imported_at_once(database: Database, file: Path) -> None:
    catalog(database, "import", write(file, "a,Mug,cup,10,EUR", "b,Mug,cup,10,EUR"))
    assert database.fetch("SELECT reltuples FROM pg_class WHERE relname = 'products'") == [{"reltuples": 2}]


@pytest.mark.parametrize("field", range(1, len(COLUMNS)))
def test_each_field_that_differs_counts_as_a_change(database: Database, file: Path, field: int) -> None:
    row: list[object] = ["a", "Mug", "white", "cup", 10, "EUR", True]
    fill(database, [tuple(row)])
    row[field] = {"price": 11, "currency": "USD", "active": False}.get(COLUMNS[field], "other")
    file.write_text(",".join(COLUMNS) + "\n" + ",".join(map(str, row)), encoding="utf-8")
    assert catalog(database, "import", file).stdout.startswith("1 products: 0 new, 1 changed, 0 unchanged")
    assert stored(database) == [tuple(row)]


BAD = [
    "a,Mug,cup,10,EUR",
    '"b\n",Mug,cup,1.5,EUR',
    "a,Mug again,cup,11,EUR",
    "c,Pen,pen,20,EUR",
    "a,Mug again,cup,12,EUR",
    "d,,cup,10,EUR",
    "d,Box,cup,10,EUR",
    "c,Pen again,pen,20,EUR",
]
REPORT = [
    "line 3: price must be an integer number of cents from 0 to 9223372036854775807",
    "line 8: title must be 1 to 2048 bytes of UTF-8; it is empty",
    "line 5: sku repeats the SKU of line 2",
    "line 7: sku repeats the SKU of line 2",
    "line 10: sku repeats the SKU of line 6",
]


def test_one_bad_line_keeps_all_out_and_every_one_is_told(database: Database, file: Path) -> None:
    fill(database, [("a", "Old", "", "old", 1, "EUR", True)])
    done = catalog(database, "import", write(file, *BAD))
    assert (done.exit_code, done.stdout) == (1, "")
    last = "tracker: nothing was imported: 5 bad lines; mend them, or leave them out with --skip-bad"
    assert done.stderr.splitlines() == [*REPORT, last]
    assert stored(database) == [("a", "Old", "", "old", 1, "EUR", True)]


def test_bad_lines_may_be_left_out_and_of_a_repeated_sku_the_first_good_line_counts(
    database: Database, file: Path
) -> None:
    done = catalog(database, "import", "--skip-bad", write(file, *BAD))
    assert (done.exit_code, done.stderr.splitlines()) == (0, REPORT)
    assert done.stdout == "3 products: 3 new, 0 changed, 0 unchanged, 5 bad lines\n"
    assert [row[:2] for row in stored(database)] == [("a", "Mug"), ("c", "Pen"), ("d", "Box")]


def test_a_header_that_is_no_good_is_one_line_also_when_bad_lines_are_left_out(database: Database, file: Path) -> None:
    file.write_text("sku,title,weight\n", encoding="utf-8")
    done = catalog(database, "import", "--skip-bad", file)
    assert (done.exit_code, done.stdout) == (1, "")
    assert re.fullmatch(r"tracker: columns are unknown: 'weight'; the header must name .*\n", done.stderr)


def test_what_is_exported_is_imported_unchanged(database: Database, file: Path) -> None:
    fill(database, TRICKY)
    before = stored(database)
    assert len(before) == len(TRICKY)
    done = catalog(database, "export", file)
    assert (done.exit_code, done.stdout, done.stderr) == (0, "", f"{len(TRICKY)} products\n")
    again = catalog(database, "import", file)
    assert again.stdout == f"{len(TRICKY)} products: 0 new, 0 changed, {len(TRICKY)} unchanged, 0 bad lines\n"
    database.fetch("DELETE FROM products")
    assert catalog(database, "import", file).exit_code == 0
    assert stored(database) == before


def test_an_export_is_a_csv_in_the_order_of_the_skus(database: Database, file: Path) -> None:
    fill(database, sorted(TRICKY, key=str, reverse=True))
    catalog(database, "export", file)
    with file.open(encoding="utf-8", newline="") as text:
        rows = list(csv.reader(text, strict=True))
    assert rows[0] == COLUMNS
    assert [row[0] for row in rows[1:]] == [row[0] for row in stored(database)]
    assert {row[6] for row in rows[1:]} == {"true", "false"}


def test_standard_input_and_output_do_as_files(database: Database) -> None:
    env = {**clean_environ(), "DATABASE_URL": database.url}
    command = [sys.executable, "-m", "tracker", "catalog"]
    content = 'sku,title,description,item_type,price,currency,active\na,Mug,"",cup,10,EUR,true\n'
    done = subprocess.run(
        [*command, "import", "-"], env=env, cwd=REPO, input=content, capture_output=True, text=True, check=True
    )
    assert (done.stdout, done.stderr) == ("1 products: 1 new, 0 changed, 0 unchanged, 0 bad lines\n", "")
    done = subprocess.run([*command, "export"], env=env, cwd=REPO, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (content, "1 products\n")


def test_a_terminal_shows_how_far_the_file_is_read(database: Database, file: Path) -> None:
    write(file, *(f"{number},Mug,cup,10,EUR" for number in range(20_000)))
    shown = shown_on_terminal(database, "catalog", "import", str(file), data_dir=file.parent)
    assert re.search(rb"reading .*100%", shown), shown


@pytest.mark.parametrize("command", ["import", "export"])
def test_a_database_that_cannot_be_reached_is_one_line(file: Path, command: str) -> None:
    url = "postgresql://nobody@127.0.0.1:1/nothing"
    done = CliRunner().invoke(main, ["catalog", command, str(write(file))], env={"DATABASE_URL": url})
    assert done.exit_code == 1
    assert re.fullmatch(r"tracker: cannot reach PostgreSQL at .*\n", done.stderr), done.stderr


def test_a_database_without_the_tables_is_one_line(empty_database: str, file: Path) -> None:
    done = catalog(Database(empty_database), "import", write(file))
    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "tracker migrate" in done.stderr


def test_an_import_on_a_fresh_machine_needs_no_server_before(tmp_path: Path, file: Path) -> None:
    env = {"TRACKER_DATA_DIR": str(tmp_path / "data")}
    done = run_tracker("catalog", "import", str(write(file, "a,Mug,cup,10,EUR")), env=env)
    assert done.stdout == "1 products: 1 new, 0 changed, 0 unchanged, 0 bad lines\n", done.stderr
    assert run_tracker("catalog", "export", env=env).stdout.count("\n") == 2


def imported(url: str, products: Iterator[Numbered]) -> Imported:
    async def run() -> Imported:
        engine = create_engine(url, command_timeout_s=None)
        try:
            return await import_products(engine, products, report=lambda *_: None, confirm=lambda: None)
        finally:
            await dispose(engine)
            # asyncpg asks PostgreSQL, on a connection of its own, to cancel what was cut off.
            if asking := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(asking, timeout=30)
                await asyncio.sleep(0.01)

    return asyncio.run(run())


def endless() -> Iterator[Numbered]:
    number = 1
    while True:
        number += 1
        yield number, Product(f"sku-{number}", "x" * 2000, "y" * 10_000, "gift", 1, "EUR", active=True)


def test_a_connection_lost_while_postgresql_is_not_reading_ends_the_import(
    database: Database,
) -> None:
    sent = 0

    def counted() -> Iterator[Numbered]:
        nonlocal sent
        for sent, product in enumerate(endless()):
            if sent == 1000:
                proxy.set("hold")
            yield product

    def cut_when_stuck() -> None:
        last = -1
        while sent < 1000 or sent != last:
            last = sent
            if stopped.wait(0.3):
                return
        proxy.set("reset")

    stopped = threading.Event()
    with Proxy(database.url) as proxy:
        thread = threading.Thread(target=cut_when_stuck)
        thread.start()
        try:
            with pytest.raises(DatabaseUnavailableError, match="run it again"):
                imported(proxy.url, counted())
        finally:
            stopped.set()
            thread.join()
    assert stored(database) == []


END_OTHERS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)


def test_a_server_that_ends_the_connection_ends_the_import(database: Database) -> None:
    def ending() -> Iterator[Numbered]:
        for number, product in endless():
            if number == 1000:
                with ThreadPoolExecutor() as pool:  # a loop runs in this thread already
                    pool.submit(database.fetch, END_OTHERS).result(30)
            yield number, product

    with pytest.raises(DatabaseUnavailableError, match="run it again"):
        imported(database.url, ending())
    assert stored(database) == []


def test_two_imports_of_the_same_products_at_once_take_turns(database: Database) -> None:
    def numbered(title: str) -> list[Numbered]:
        return [(number, Product(f"sku-{number}", title, "", "gift", 1, "EUR", active=True)) for number in range(2000)]

    with ThreadPoolExecutor() as pool:
        files = [iter(numbered("one")), iter(numbered("two")[::-1])]
        done = list(pool.map(lambda file: imported(database.url, file), files))
    assert sorted(done, key=lambda one: one.new) == [Imported(0, 2000, 0), Imported(2000, 0, 0)]
    assert len({row[1] for row in stored(database)}) == 1


@pytest.mark.parametrize(
    ("lines", "count"),
    [
        (SAMPLE, 35),
        pytest.param(
            REAL,
            3530,
            marks=pytest.mark.skipif(
                not REAL.exists(), reason="the order lines of the real shop are not beside this repository"
            ),
        ),
    ],
    ids=["sample", "real"],
)
def test_the_products_of_order_lines_are_imported(database: Database, file: Path, lines: Path, count: int) -> None:
    with file.open("w", encoding="utf-8", newline="") as text:
        write_products(lines, text)
    done = catalog(database, "import", file)
    assert done.stdout == f"{count} products: {count} new, 0 changed, 0 unchanged, 0 bad lines\n", done.stderr
    expected = [
        (sku, title, "", kind, price, currency, True)
        for sku, title, kind, price, currency in products_of(read_lines(lines))
    ]
    assert sorted(stored(database)) == sorted(expected)


def test_a_product_has_the_name_and_the_price_of_its_last_sale() -> None:
    found = {row.sku: (row.title, row.price) for row in products_of(read_lines(SAMPLE))}
    assert found["TK-100"] == ("ENAMEL TEA KETTLE", 2250)
    assert found["GR-7"] == ("PEPPER GRINDER", 949)
    assert found["LMP-1"] == ("READING LAMP BRASS", 6000)
    assert found["M "] == ("Manual", 13)
    assert not {"GR-8", "GR-10", "GR-11", "PADS", "B", "M"} & found.keys()


def test_the_catalog_for_trying_tracker_out_is_made_without_the_tools_of_the_tests() -> None:
    blocked = "import sys; sys.modules.update(dict.fromkeys(['aiohttp', 'hypothesis', 'pytest', 'rich']))"
    script = f"{blocked}; from tests.support import oidc, products, reservation_service; products.main()"
    done = subprocess.run(
        [sys.executable, "-c", script, str(SAMPLE)], cwd=REPO, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sku,title,item_type,price,currency\n")

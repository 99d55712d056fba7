"""Real order lines go through a real server into PostgreSQL, and the replay notices what does not arrive."""

import asyncio
import http.server
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.conftest import REPO, Database, StartTracker, clean_environ
from tests.support.order_lines import cents_of, read_lines
from tests.support.replay import (
    Cart,
    Comparison,
    Difference,
    ReplayError,
    compare,
    expected_carts,
    main,
    send,
)

SAMPLE = REPO / "tests" / "support" / "data" / "order-lines.csv"
REAL = REPO.parent / "shared" / "data" / "online-retail-2010-12-to-2011-06.csv.gz"


def replay_from_nothing(file: Path, *options: str, database_url: str) -> subprocess.CompletedProcess[str]:
    """Run the command as people do."""
    return subprocess.run(
        [sys.executable, "-m", "tests.support.replay", str(file), *options],
        env={**clean_environ(), "DATABASE_URL": database_url},
        cwd=REPO,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def replay(file: Path, *options: str, database_url: str) -> subprocess.CompletedProcess[str]:
    """Run the command in this process."""
    env = {**dict.fromkeys(os.environ.keys() - clean_environ().keys()), "DATABASE_URL": database_url}
    done = CliRunner().invoke(main, [str(file), *options], env=env, catch_exceptions=False)
    return subprocess.CompletedProcess(options, done.exit_code, done.stdout, done.stderr)


def figures(output: str) -> dict[str, int]:
    """Return the number that each line of a replay's report starts with."""
    found = re.findall(r"^(\w+(?: \w+)*) {2,}([\d,]+)", output, re.MULTILINE)
    return {name: int(number.replace(",", "")) for name, number in found}


def counted(database: Database) -> tuple[int, int]:
    """Return how many carts and items are stored, asked without the replay's code."""
    [row] = database.fetch("SELECT (SELECT count(*) FROM carts) AS carts, (SELECT count(*) FROM items) AS items")
    return row["carts"], row["items"]


def test_sample_arrives_unchanged(database: Database, start_tracker: StartTracker) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})

    done = replay_from_nothing(SAMPLE, "--url", tracker.url, database_url=database.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert figures(done.stdout) == {"rows sent": 60, "carts": 11, "items compared": 48, "differences": 0}
    assert counted(database) == (11, 48)


@pytest.mark.skipif(not REAL.exists(), reason="the order lines of the real shop are not beside this repository")
def test_real_order_lines_arrive_unchanged(database: Database, start_tracker: StartTracker) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})

    done = replay(REAL, "--rows", "20000", "--url", tracker.url, database_url=database.url)

    assert done.returncode == 0, done.stdout + done.stderr
    assert figures(done.stdout) == {"rows sent": 20_000, "carts": 938, "items compared": 19_425, "differences": 0}
    assert counted(database) == (938, 19_425)


def sent_sample(url: str) -> tuple[dict[str, str], dict[str, Cart]]:
    """Send the sample; return the invoices' cart ids and what the carts must hold."""
    lines = read_lines(SAMPLE)
    cart_ids = asyncio.run(send(lines, url)).cart_ids
    return cart_ids, expected_carts(lines, cart_ids)


def compared(database: Database, expected: dict[str, Cart]) -> Comparison:
    return asyncio.run(compare(database.url, expected))


@pytest.fixture
def sample(database: Database, start_tracker: StartTracker) -> tuple[dict[str, str], dict[str, Cart]]:
    """The sample, stored without a difference by a server that has stopped since."""
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    cart_ids, expected = sent_sample(tracker.url)
    assert tracker.stop() == 0
    assert compared(database, expected) == Comparison(48, [])
    return cart_ids, expected


def test_comparison_notices_changed_missing_and_extra_items(
    database: Database, sample: tuple[dict[str, str], dict[str, Cart]]
) -> None:
    cart_ids, expected = sample
    lamps, kettle, letters = cart_ids["900003"], cart_ids["900001"], cart_ids["900010"]
    item = "WHERE cart_id = $1 AND external_id = $2"
    database.fetch(f"UPDATE items SET quantity = 6 {item}", lamps, "LMP-1")
    database.fetch(f"DELETE FROM items {item}", kettle, "TK-102")
    database.fetch("INSERT INTO items (cart_id, external_id, added_stamp) VALUES ($1, 'mm-5', 1)", letters)

    comparison = compared(database, expected)

    assert comparison.items == 47
    assert set(comparison.differences) == {
        Difference(lamps, "LMP-1", "quantity is 6 instead of 5"),
        Difference(kettle, "TK-102", "is missing"),
        Difference(letters, "mm-5", "should not be there"),
    }
    assert len(comparison.differences) == 3


def test_comparison_notices_fields_order_and_carts(
    database: Database, sample: tuple[dict[str, str], dict[str, Cart]]
) -> None:
    cart_ids, expected = sample
    grinder, debt, letters = cart_ids["900002"], cart_ids["900007"], cart_ids["900010"]
    stray = "00000000-0000-4000-8000-000000000000"
    item = "WHERE cart_id = $1 AND external_id = $2"
    database.fetch(f"UPDATE items SET name = NULL, value = 950 {item}", grinder, "GR-7")
    database.fetch("DELETE FROM items WHERE cart_id = $1", debt)
    database.fetch("DELETE FROM carts WHERE id = $1", debt)
    database.fetch("INSERT INTO carts (id) VALUES ($1)", stray)
    database.fetch(f"UPDATE items SET added_stamp = 1 {item}", letters, "42")

    differences = compared(database, expected).differences

    should = "['ZZ-9', 'MM-5', 'AA-1', '0042', '42', '1E3']"
    found = "['42', 'ZZ-9', 'MM-5', 'AA-1', '0042', '1E3']"
    assert set(differences) == {
        Difference(grinder, "GR-7", "name is None instead of 'PEPPER GRINDER'"),
        Difference(grinder, "GR-7", "value is 950 instead of 949"),
        Difference(debt, None, "is missing, with 1 items"),
        Difference(stray, None, "belongs to no invoice"),
        Difference(letters, None, f"the order is {found} instead of {should}"),
    }
    assert len(differences) == 5


@contextmanager
def stub(*answers: tuple[int, dict[str, str]]) -> Iterator[str]:
    """Serve the answers one after the other, the last one for ever; yield the URL."""
    waiting = list(answers)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status, headers = waiting.pop(0) if len(waiting) > 1 else waiting[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "headers"),
    [(200, {}), (307, {"Location": "/"}), (400, {}), (500, {}), (503, {}), (503, {"Retry-After": "3600"})],
)
def test_any_other_answer_ends_the_replay(database: Database, status: int, headers: dict[str, str]) -> None:
    with stub((status, headers)) as url:
        done = replay(SAMPLE, "--url", url, database_url=database.url)

    assert done.returncode == 1
    assert done.stdout == ""
    assert re.fullmatch(rf"Error: invoice .*: the answer was {status}\b.* instead of 204.*\n", done.stderr), done.stderr


CART_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
SET_COOKIE = {"Set-Cookie": f"cart_id={CART_ID}; Path=/"}


@pytest.fixture
def two_lines(tmp_path: Path) -> Path:
    """The first two lines of the sample, both of one invoice."""
    file = tmp_path / "lines.csv"
    file.write_text("\n".join(SAMPLE.read_text(encoding="utf-8").splitlines()[:3]), encoding="utf-8")
    return file


def test_refused_line_is_sent_again(two_lines: Path) -> None:
    with stub((503, {"Retry-After": "1"}), (204, SET_COOKIE), (204, {})) as url:
        sent = asyncio.run(send(read_lines(two_lines), url))

    assert (sent.rows, sent.retries, sent.cart_ids) == (2, 1, {"900001": CART_ID})
    assert sent.seconds >= 1


def test_invoice_in_two_carts_ends_the_replay(two_lines: Path) -> None:
    other = {"Set-Cookie": f"cart_id={CART_ID.replace('0', '1')}; Path=/"}
    with stub((204, SET_COOKIE), (204, other)) as url, pytest.raises(ReplayError, match="2 carts instead of one"):
        asyncio.run(send(read_lines(two_lines), url))


def test_accepted_but_not_stored_is_exit_code_1(
    database: Database, two_lines: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.support.replay.FLUSH_TIMEOUT_S", 0)
    with stub((204, SET_COOKIE), (204, {})) as url:
        done = CliRunner().invoke(main, [str(two_lines), "--url", url], env={"DATABASE_URL": database.url})

    assert done.exit_code == 1
    assert figures(done.stdout) == {"rows sent": 2, "carts": 1, "items compared": 0, "differences": 1}
    assert f"cart {CART_ID}: is missing, with 2 items" in done.stdout


def test_database_without_tables_ends_the_replay(empty_database: str) -> None:
    done = replay(SAMPLE, database_url=empty_database)

    assert done.returncode == 1
    assert "the database has no table of carts" in done.stderr


def test_carts_from_before_the_replay_do_not_concern_it(database: Database, start_tracker: StartTracker) -> None:
    tracker = start_tracker(env={"DATABASE_URL": database.url})
    for _ in range(2):
        done = replay(SAMPLE, "--url", tracker.url, database_url=database.url)
        assert done.returncode == 0, done.stdout + done.stderr
    assert counted(database) == (22, 96)


def test_file_without_lines_is_exit_code_1(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "lines.csv"
    file.write_text(SAMPLE.read_text(encoding="utf-8").splitlines()[0], encoding="utf-8")

    done = replay(file, database_url=database.url)

    assert done.returncode == 1
    assert "there is no order line in it" in done.stderr


@pytest.mark.parametrize(
    ("pounds", "cents"),
    [
        ("2.55", 255), ("4.35", 435), ("0.29", 29), ("3.1", 310), ("7", 700), ("0.004", 0), ("0.005", 1),
        ("0.125", 13), ("41.665", 4167), ("-0.125", -13), ("-8250.06", -825006),
    ],
)  # fmt: skip
def test_pounds_are_cents_exactly(pounds: str, cents: int) -> None:
    assert cents_of(pounds) == cents

"""The rate table: what a warranty costs, how long it lasts, and which tables are refused at the start."""

from pathlib import Path

import pytest

from tests.conftest import run_tracker
from tracker.errors import ConfigurationError
from tracker.features.warranties.rates import load_rates

TABLE = """
version = "v1"
[default]
percent = 10
minimum = 500
months = [{ from = 0, months = 12 }, { from = 10000, months = 24 }]
[types.Furniture]
percent = 7.25
minimum = 0
months = [{ from = 0, months = 60 }]
"""

SAME_TYPE = """
[types.furniture]
percent = 1
minimum = 1
months = [{ from = 0, months = 1 }]
"""


def table(folder: Path, text: str = TABLE) -> Path:
    path = folder / "rates.toml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("item_type", "cost", "months", "price"),
    [
        ("book", 0, 12, 500),
        ("book", 5000, 12, 500),
        ("book", 5005, 12, 501),  # half up
        ("book", 5004, 12, 500),
        ("book", 9999, 12, 1000),
        ("book", 10000, 24, 1000),
        ("book", 10**15 - 1, 24, 10**14),
        ("Furniture", 100, 60, 7),
        ("furniture", 200, 60, 15),  # 14.5
        ("FURNITURE", 0, 60, 0),
    ],
)
def test_price_and_term_come_from_the_type_and_the_cost(
    tmp_path: Path, item_type: str, cost: int, months: int, price: int
) -> None:
    terms = load_rates(table(tmp_path)).terms_of(item_type, cost)
    assert (terms.months, terms.price) == (months, price)


def test_the_version_of_the_terms_changes_with_the_contents(tmp_path: Path) -> None:
    first = load_rates(table(tmp_path)).terms_of("book", 1).version
    assert first.startswith("v1-")
    assert load_rates(table(tmp_path, "# only a comment\n" + TABLE)).terms_of("book", 1).version == first
    assert load_rates(table(tmp_path, TABLE.replace("7.25", "7.26"))).terms_of("book", 1).version != first


def test_the_table_that_comes_with_tracker_serves_every_type() -> None:
    rates = load_rates(None)
    for item_type in ("furniture", "electronics", "something else"):
        terms = rates.terms_of(item_type, 15000)
        assert terms.months >= 12
        assert 0 < terms.price < 15000


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('version = "v1"', "", "version"),
        ('"v1"', '"v 1"', "version"),
        ("percent = 10\n", "percent = 0\n", "percent must be above 0"),
        ("percent = 10\n", "percent = 101\n", "percent must be above 0 and at most 100"),
        ("percent = 10\n", "percent = 1.005\n", "at most two digits"),
        ("percent = 10\n", 'percent = "ten"\n', "percent"),
        ("percent = 10\n", "percent = nan\n", "percent must be above 0"),
        ("[default]", f"deep = {'[' * 5000}", "cannot be used"),
        ("minimum = 500", "minimum = -1", "minimum"),
        ("minimum = 500", "minimum = 4.99", "minimum"),
        ("from = 0, months = 12", "from = 1, months = 12", "must begin with `from = 0`"),
        ("from = 10000", "from = 0", "must be greater than the one before"),
        ("months = 24", "months = 0", "months"),
        ("months = 24", "months = 601", "months"),
        ("[default]", "[fallback]", "fallback"),
        ("minimum = 0", "minimum = 0\nminimun = 1", "minimun"),
        ("[types.Furniture]", SAME_TYPE + "[types.Furniture]", "case"),
        ("[default]", "[default", "cannot be used"),
    ],
)
def test_a_table_that_is_not_valid_is_refused_with_the_reason(tmp_path: Path, old: str, new: str, reason: str) -> None:
    path = table(tmp_path, TABLE.replace(old, new, 1))
    with pytest.raises(ConfigurationError, match=reason) as caught:
        load_rates(path)
    assert f"TRACKER_WARRANTY_RATES={path} cannot be used" in str(caught.value)


def test_tracker_does_not_start_with_a_bad_table(tmp_path: Path) -> None:
    done = run_tracker("serve", env={"TRACKER_WARRANTY_RATES": "/nonexistent.toml", "TRACKER_DATA_DIR": str(tmp_path)})
    assert done.returncode == 1
    assert (
        done.stderr == "tracker: TRACKER_WARRANTY_RATES=/nonexistent.toml cannot be used: No such file or directory\n"
    )

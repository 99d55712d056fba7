"""What a sale must be: a cost to the cent, a store's id, ids in the order of creation."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracker.errors import InvalidInputError
from tracker.features.warranties.domain import (
    MAX_COST_CENTS,
    cents_of,
    check_store,
    new_warranty_id,
    parse_warranty_id,
)


@pytest.mark.parametrize(
    ("written", "cents"),
    [
        (b"150.0", 15000),
        (b"150", 15000),
        (b"0.01", 1),
        (b"1.5e2", 15000),
        (b"15E-1", 150),
        (b"150.00000", 15000),
        (b"0", 0),
        (b"-0.0", 0),
        (b"0e99999999999", 0),
        (b"9999999999999.99", MAX_COST_CENTS),
    ],
)
def test_a_cost_is_a_number_of_cents(written: bytes, cents: int) -> None:
    assert cents_of("item_cost", written) == cents


@pytest.mark.parametrize(
    "written",
    [
        *(b"0.001", b"150.005", b"1.0000000000000000000000001", b"1e-3", b"0.1000000000000000055511151231257827"),
        *(b"-1", b"-0.01", b"10000000000000", b"1e400000000", b"1e9999999999999999999999"),
        *(b"1e-999999999", b"9.99e-1000100", b"0.0099999999999999999999999"),
        *(b'"150"', b'"NaN"', b"null", b"true", b"[1]", b'{"cents":1}', b'"\xff"'),
    ],
)
def test_what_is_no_cost_to_the_cent_is_refused_by_name(written: bytes) -> None:
    with pytest.raises(InvalidInputError, match=r"^item_cost must be a number from 0 to") as caught:
        cents_of("item_cost", written)
    assert caught.value.field == "item_cost"


@given(st.integers(0, MAX_COST_CENTS))
def test_every_amount_of_cents_survives_being_written_as_a_float(cents: int) -> None:
    assert cents_of("item_cost", repr(cents / 100).encode()) == cents
    assert cents_of("item_cost", str(Decimal(cents) / 100).encode()) == cents


@pytest.mark.parametrize("text", ["b21ad0676f26439", "A", "-", "0" * 64])
def test_a_store_has_an_opaque_id(text: str) -> None:
    check_store("store_uuid", text)


@pytest.mark.parametrize("text", ["", "0" * 65, "a b", "a_b", "ä", "a\n", "a/b", "\u0661"])
def test_what_is_no_id_of_a_store_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidInputError, match=r"^store_uuid must be"):
        check_store("store_uuid", text)


@given(st.lists(st.integers(0, 2**48 * 1000 - 1), min_size=2, unique=True))
def test_ids_are_in_the_order_of_creation_to_the_microsecond(times_us: list[int]) -> None:
    ids = [new_warranty_id(time_us) for time_us in sorted(times_us)]
    assert ids == sorted(set(ids))
    for made in ids:
        assert parse_warranty_id(made) == made
        assert (made[14], made[19] in "89ab") == ("7", True)


@pytest.mark.parametrize("text", ["", "x", "../items", "01a1ff51-267f-72b0-b2c0", "0" * 400])
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_warranty_id(text) is None

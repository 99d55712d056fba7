import uuid
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import Write, fold, writes
from tracker.errors import InvalidInputError
from tracker.features.carts.domain import check_external_id, check_name, new_cart_id, parse_cart_id, without_erased
from tracker.ingest.items import Item


def merged(versions: list[Item]) -> Item:
    result = Item(versions[0].added_stamp)
    for version in versions:
        result.merge(version)
    return result


def items_of(some: list[Write]) -> list[Item]:
    return [Item.written(write.stamp, write.name, write.value, write.quantity) for write in some]


@given(writes(), st.randoms(use_true_random=False))
def test_any_order_and_duplication_of_writes_merges_to_one_item(some: list[Write], random: Random) -> None:
    versions = items_of(some)
    again = versions + [random.choice(versions) for _ in range(5)]
    random.shuffle(again)
    assert merged(again) == merged(versions)


@given(writes(), st.integers(0, 20))
def test_any_split_into_batches_merges_to_one_item(some: list[Write], at: int) -> None:
    versions = items_of(some)
    at = min(at, len(versions) - 1)
    one, two = merged(versions[: at + 1]), merged(versions[at:])
    two.merge(one)
    assert two == merged(versions)


@given(writes())
def test_each_field_is_that_of_the_last_write_that_mentions_it(some: list[Write]) -> None:
    item, expected = merged(items_of(some)), fold(some)
    assert (item.name, item.value, item.effective_quantity) == (expected.name, expected.value, expected.quantity)
    assert item.added_stamp == min(write.stamp for write in some)


def test_an_older_write_does_not_bring_a_removed_item_back() -> None:
    removed = Item.written(20, None, None, 0)
    removed.merge(Item.written(10, "Mug", None, 3))
    assert removed.effective_quantity == 0
    assert removed.name == "Mug"


def test_a_new_cart_id_is_a_version_4_uuid_in_canonical_form() -> None:
    cart_id = new_cart_id()
    assert uuid.UUID(cart_id).version == 4
    assert parse_cart_id(cart_id) == cart_id


@pytest.mark.parametrize(
    "text",
    ["7D9F5F0E-1111-1222-8333-444455556666", "00000000-0000-0000-0000-000000000000"],
)
def test_a_uuid_of_any_version_and_case_names_a_cart_in_lower_case(text: str) -> None:
    assert parse_cart_id(text) == text.lower()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "7d9f5f0e11111222833344445555666",
        "{7d9f5f0e-1111-1222-8333-444455556666}",
        "7d9f5f0e-1111-1222-8333-44445555666g",
        "7d9f5f0e-1111-1222-8333-444455556666\n",
        "\u0667d9f5f0e-1111-1222-8333-44445555666",
        None,
        5,
        ["7d9f5f0e-1111-1222-8333-444455556666"],
    ],
)
def test_what_is_no_uuid_names_no_cart(text: object) -> None:
    assert parse_cart_id(text) is None


@pytest.mark.parametrize("text", ["a", "a" * 255, "é" * 127, "\U0001f600" * 63, " ", "\x01"])
def test_an_external_id_of_1_to_255_bytes_is_accepted(text: str) -> None:
    check_external_id("external_id", text)


@pytest.mark.parametrize("text", ["", "a" * 256, "é" * 128, "\U0001f600" * 64, "a\0b"])
def test_an_external_id_of_another_length_or_with_nul_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_external_id("product_id", text)
    assert caught.value.field == "product_id"


@pytest.mark.parametrize("text", ["", "a" * 2048, "é" * 1024])
def test_a_name_of_up_to_2048_bytes_is_accepted(text: str) -> None:
    check_name("name", text)


@pytest.mark.parametrize("text", ["a" * 2049, "é" * 1025, "\0"])
def test_a_longer_name_or_one_with_nul_is_refused(text: str) -> None:
    with pytest.raises(InvalidInputError):
        check_name("name", text)


@given(writes(), st.integers(0, 2**62))
def test_what_was_written_since_a_stamp_is_what_the_later_writes_say(some: list[Write], stamp: int) -> None:
    some = [write for write in some if write[1:] != (None, None, None)] or [Write(1, "Mug", None, None)]
    later = [write for write in some if write.stamp > stamp]
    since = merged(items_of(some)).since(stamp)
    assert (since is None) == (later == [])
    if since is not None:
        expected = merged(items_of(later))
        expected.added_stamp = since.added_stamp
        assert since == expected
        assert stamp < since.added_stamp <= since.updated_stamp


def test_what_was_written_up_to_an_erasing_leaves_a_batch(  # the batch itself may be written again
) -> None:
    erased, other = new_cart_id(), new_cart_id()
    batch = {
        (erased, "old"): Item.written(10, "A", None, None),
        (erased, "both"): Item(10, "A", 10, 5, 11),
        (other, "old"): Item.written(10, "A", None, None),
    }
    assert without_erased(batch, {erased: 10}) == {
        (erased, "both"): Item(11, None, 0, 5, 11),
        (other, "old"): Item.written(10, "A", None, None),
    }
    assert batch[erased, "both"] == Item(10, "A", 10, 5, 11)

import tracemalloc
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.strategies import Write, fold, writes
from tracker.errors import BufferFullError
from tracker.ingest.aggregator import ENTRY_BYTES, Aggregator
from tracker.ingest.items import CartId, Item

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")
OTHER = CartId("00000000-0000-4000-8000-000000000000")


def item(stamp: int, name: str | None = None, quantity: int | None = None) -> Item:
    return Item.written(stamp, name, None, quantity)


def filled(count: int) -> Aggregator:
    aggregator = Aggregator(max_bytes=10**9)
    for number in range(count):
        aggregator.put((CART, f"sku-{number}"), item(number + 1))
    return aggregator


def test_writes_of_one_item_become_one() -> None:
    aggregator = Aggregator(max_bytes=10**9)
    for stamp in range(1, 101):
        aggregator.put((CART, "sku"), item(stamp, quantity=stamp))
    assert len(aggregator) == 1
    assert aggregator.drain(10)[CART, "sku"].quantity == 100


@given(writes(), st.lists(st.booleans(), min_size=20, max_size=20))
def test_what_is_drained_in_any_batches_comes_to_what_was_put(some: list[Write], drains: list[bool]) -> None:
    aggregator = Aggregator(max_bytes=10**9)
    stored = Item(some[0].stamp)
    for write, drain in zip(some, drains, strict=False):
        aggregator.put((CART, "sku"), Item.written(*write))
        if drain:
            for batch_item in aggregator.drain(10).values():
                stored.merge(batch_item)
            aggregator.release()
    for batch_item in aggregator.drain(10).values():
        stored.merge(batch_item)
    assert (stored.name, stored.value, stored.effective_quantity) == fold(some)


def test_drain_takes_the_oldest_first_and_no_more_than_asked() -> None:
    aggregator = filled(10)
    assert [key[1] for key in aggregator.drain(3)] == ["sku-0", "sku-1", "sku-2"]
    aggregator.release()
    assert [key[1] for key in aggregator.drain(100)] == [f"sku-{number}" for number in range(3, 10)]


def test_a_second_drain_before_the_release_is_a_mistake() -> None:
    aggregator = filled(10)
    aggregator.drain(3)
    with pytest.raises(RuntimeError, match="not released"):
        aggregator.drain(3)


def test_what_is_drained_stays_visible_until_it_is_released() -> None:
    aggregator = Aggregator(max_bytes=10**9)
    aggregator.put((CART, "one"), item(1, "old"))
    aggregator.drain(10)
    aggregator.put((CART, "one"), item(2, "new"))
    aggregator.put((OTHER, "two"), item(3))
    assert {key: found.name for key, found in aggregator.of_cart(CART).items()} == {"one": "new"}
    assert len(aggregator) == 3
    aggregator.release()
    assert len(aggregator) == 2
    assert aggregator.of_cart(CART)["one"].added_stamp == 2


def test_what_is_shown_of_a_cart_is_a_copy() -> None:
    aggregator = filled(1)
    aggregator.of_cart(CART)["sku-0"].merge(item(9, "changed"))
    assert aggregator.of_cart(CART)["sku-0"].name is None


def test_bytes_come_back_to_zero_after_any_changes() -> None:
    aggregator = filled(10)
    for number in range(10):
        aggregator.put((CART, f"sku-{number}"), item(100 + number, "a longer name " * number))
    assert aggregator.bytes > 10 * ENTRY_BYTES
    for _ in range(4):
        aggregator.drain(3)
        aggregator.release()
    assert (len(aggregator), aggregator.bytes) == (0, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [(None, None), ("Mug", 5), ("a much longer name of a product " * 10, 2**60), ("漢字" * 100, -1)],
)
def test_the_bytes_counted_are_near_those_allocated(name: str | None, value: int | None) -> None:
    aggregator = Aggregator(max_bytes=10**9)
    tracemalloc.start()
    for number in range(5000):
        cart_id = CartId(str(uuid.uuid4()))
        own_name = None if name is None else f"{name} {number}"
        aggregator.put((cart_id, f"sku-{number}"), Item.written(number + 2**60, own_name, value, number + 1000))
    allocated, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 0.9 < aggregator.bytes / allocated < 1.5


def test_a_put_over_the_budget_is_refused_until_something_is_released() -> None:
    aggregator = Aggregator(max_bytes=3 * ENTRY_BYTES)
    aggregator.put((CART, "one"), item(1))
    aggregator.put((CART, "two"), item(2))
    aggregator.put((CART, "three"), item(3))
    assert aggregator.full
    with pytest.raises(BufferFullError):
        aggregator.check_room()
    aggregator.drain(2)
    assert aggregator.full
    aggregator.release()
    aggregator.check_room()
    aggregator.put((CART, "four"), item(4))
    assert set(aggregator.of_cart(CART)) == {"three", "four"}


def test_the_oldest_stamp_is_that_of_the_first_write_not_yet_released() -> None:
    aggregator = filled(3)
    assert aggregator.oldest_stamp() == 1
    aggregator.drain(2)
    assert aggregator.oldest_stamp() == 1
    aggregator.release()
    assert aggregator.oldest_stamp() == 3
    aggregator.drain(2)
    aggregator.release()
    assert aggregator.oldest_stamp() is None


def test_items_that_are_being_written_count_against_the_budget() -> None:
    aggregator = Aggregator(max_bytes=3 * ENTRY_BYTES)
    for number in range(3):
        aggregator.put((CART, f"sku-{number}"), item(number + 1))
    aggregator.drain(10)
    with pytest.raises(BufferFullError):
        aggregator.check_room()
    aggregator.release()
    aggregator.put((CART, "one more"), item(9))

"""What bounds Tracker: the buffer, the settings, the bodies it reads."""

import pytest

from tests.support.settings import KINDS
from tracker.errors import BufferFullError
from tracker.features.carts.dto import ItemIn, ProductIn
from tracker.ingest.aggregator import ENTRY_BYTES, Aggregator
from tracker.ingest.items import CartId, Item
from tracker.settings import Group
from tracker.web.strict_json import decode

CART = CartId("7d9f5f0e-1111-4222-8333-444455556666")


def test_items_that_are_being_written_count_against_the_budget() -> None:
    aggregator = Aggregator(max_bytes=3 * ENTRY_BYTES)
    for number in range(3):
        aggregator.put((CART, f"sku-{number}"), Item.written(number + 1, None, None, None))
    aggregator.drain(10)
    with pytest.raises(BufferFullError):
        aggregator.check_room()
    aggregator.release()
    aggregator.put((CART, "one more"), Item.written(9, None, None, None))


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in KINDS for name in kind.__struct_fields__])
def test_no_setting_changes_after_the_start(kind: type[Group], name: str) -> None:
    group = kind()
    with pytest.raises(AttributeError):
        setattr(group, name, None)
    assert group == kind()


def test_a_field_that_tracker_does_not_know_is_passed_over() -> None:
    assert decode(ItemIn, b'{"external_id": "a", "color": "red"}') == ItemIn("a")
    assert decode(ProductIn, b'{"product_id": "a", "color": "red"}') == ProductIn("a")

"""Writes of items as hypothesis makes them, and what they must come to, computed another way."""

from typing import NamedTuple

from hypothesis import strategies as st


class Write(NamedTuple):
    """One write of one item."""

    stamp: int
    name: str | None
    value: int | None
    quantity: int | None


class Stored(NamedTuple):
    """What an item must look like after some writes."""

    name: str | None
    value: int | None
    quantity: int


names = st.none() | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)
values = st.none() | st.integers(-(2**63), 2**63 - 1)
quantities = st.none() | st.integers(0, 3) | st.integers(0, 2**31 - 1)


@st.composite
def writes(draw: st.DrawFn, max_size: int = 20) -> list[Write]:
    """Writes of one item, with stamps that are unique and in any order."""
    stamps = draw(st.lists(st.integers(1, 2**62), min_size=1, max_size=max_size, unique=True))
    return [Write(stamp, draw(names), draw(values), draw(quantities)) for stamp in stamps]


def fold(some: list[Write]) -> Stored:
    """Apply the writes in the order of their stamps: each field is what was last said of it."""
    name: str | None = None
    value: int | None = None
    quantity = 1
    for write in sorted(some):
        name = name if write.name is None else write.name
        value = value if write.value is None else write.value
        quantity = quantity if write.quantity is None else write.quantity
    return Stored(name, value, quantity)

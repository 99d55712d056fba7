"""What a comparison of two commits concludes from its turns."""

import pytest

from tests.benchmarks.verdicts import Comparison, Figure, Ratios, Turn, compare, verdict_of

CPU = Figure("cpu", "item", "CPU", "µs", 1)


def compared(*pairs: tuple[float, float, float], figure: Figure = CPU) -> Comparison:
    """Compare pairs of old, new, and old again."""
    turns = []
    for number, (old, new, again) in enumerate(pairs, 1):
        turns += [Turn(number, "old", {"cpu": old}), Turn(number, "new", {"cpu": new})]
        turns.append(Turn(number, "again", {"cpu": again}))
    return compare(turns, figure)


def test_ratios_are_those_of_the_turns_of_one_pair() -> None:
    found = compared((10, 20, 10), (100, 100, 100), (1000, 1500, 1100))
    assert found.new_to_old == Ratios(1.0, 1.25, 1.5, 1.75, 2.0)
    assert (found.again_to_old.least, found.again_to_old.median, found.again_to_old.most) == (1.0, 1.0, 1.1)


def test_the_order_of_the_turns_does_not_matter() -> None:
    turns = [Turn(1, "old", {"cpu": 10}), Turn(1, "new", {"cpu": 12}), Turn(1, "again", {"cpu": 11})]
    assert compare(turns, CPU) == compare(turns[::-1], CPU)


def test_both_turns_of_the_old_side_count_for_its_median() -> None:
    found = compared((10, 20, 30), (20, 40, 20))
    assert (found.old.median, found.old.least, found.old.most) == (20, 10, 30)
    assert (found.new.median, found.new.least, found.new.most) == (30, 20, 40)


@pytest.mark.parametrize("new", [8.9, 11.1, 20])
def test_a_median_beyond_all_of_old_against_old_is_outside(new: float) -> None:
    found = compared((10, new, 9), (10, new, 11), (10, 10, 10))
    assert found.outside
    assert verdict_of(found) == "outside the spread of old against old"


@pytest.mark.parametrize("new", [9, 10, 11])
def test_a_median_that_old_against_old_shows_as_well_is_within(new: float) -> None:
    found = compared((10, new, 9), (10, new, 11), (10, 100, 10))
    assert found.outside is False
    assert verdict_of(found) == "within the spread of old against old"


def test_one_pair_is_enough_for_ratios() -> None:
    assert compared((10, 11, 10)).new_to_old == Ratios(1.1, 1.1, 1.1, 1.1, 1.1)


def test_times_by_the_clock_are_not_judged() -> None:
    found = compared((10, 20, 10), figure=Figure("cpu", "start", "time", "ms", 0, judged=False))
    assert found.outside is None
    assert verdict_of(found).startswith("not judged")

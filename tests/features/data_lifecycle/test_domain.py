from datetime import timedelta

import pytest

from tracker.errors import InvalidInputError
from tracker.features.data_lifecycle.domain import Amount, amount_text, nothing_of, parse_age
from tracker.runtime.features import all_data


@pytest.mark.parametrize(
    ("text", "hours"), [("1h", 1), ("12h", 12), ("90d", 90 * 24), ("2w", 14 * 24), ("9999w", 9999 * 7 * 24)]
)
def test_an_age_is_a_number_of_hours_days_or_weeks(text: str, hours: int) -> None:
    assert parse_age("age", text) == timedelta(hours=hours)


@pytest.mark.parametrize(
    "text", ["", "90", "d", "0d", "-1d", "1.5d", "90 d", "90D", "90m", "90d ", "09d", "10000d", "1d12h", "\u0663d"]
)
def test_what_is_no_age_is_refused_with_the_rule(text: str) -> None:
    with pytest.raises(InvalidInputError, match="age must be a number of hours, days or weeks, such as 12h, 90d or 2w"):
        parse_age("age", text)


def test_no_two_features_count_things_by_the_same_name() -> None:
    kinds = [kind for feature in all_data() for kind in feature.kinds]
    listed = [kind for feature in all_data() for kind in feature.export_lists]
    assert len({"carts", "dead_letters", *kinds}) == 2 + len(kinds)
    assert len(set(listed)) == len(listed)
    assert set(listed) <= set(kinds)


def test_amounts_add_up_and_name_only_what_there_is() -> None:
    amount = nothing_of(["carts", "items", "orders", "dead_letters"])
    assert amount_text(amount) == "nothing"
    amount.update(Amount(dead_letters=1, items=1))
    amount.update(Amount(items=2, carts=1))
    assert amount_text(amount) == "1 cart, 3 items, 1 dead letter"

"""The list of the features."""

from tests.conftest import REPO
from tracker.runtime.features import NAMES


def test_every_folder_of_a_feature_is_in_the_list() -> None:
    assert sorted(NAMES) == sorted(one.parent.name for one in REPO.glob("tracker/features/*/wiring.py"))

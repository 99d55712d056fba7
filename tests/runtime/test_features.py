"""The list of the features."""

from tests.conftest import REPO
from tracker.runtime.features import NAMES

FOR_COMMANDS = {"data_lifecycle"}
"""Folders that hand nothing to a process that serves or runs jobs: commands alone use them."""


def test_every_folder_of_a_feature_is_in_the_list() -> None:
    folders = {path.parent.name for path in REPO.glob("tracker/features/*/*.py")}
    assert sorted(folders) == sorted([*NAMES, *FOR_COMMANDS])

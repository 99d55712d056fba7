"""The database that the settings choose, for the commands."""

import contextlib
import os

from tracker.postgres.location import database
from tracker.runtime.features import load_settings
from tracker.settings import DatabaseSettings, FolderSettings, Settings


def database_of(settings: Settings, *, join: bool = True) -> contextlib.AbstractContextManager[str]:
    """Return what yields the URL of the database; see `tracker.postgres.location.database`."""
    return database(settings[DatabaseSettings].database_url, settings[FolderSettings].data_dir, join=join)


def database_of_environment() -> contextlib.AbstractContextManager[str]:
    """Do what `database_of` does with the settings in the environment."""
    return database_of(load_settings(os.environ))

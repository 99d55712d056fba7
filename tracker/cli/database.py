"""The database that the settings choose, for the commands."""

import contextlib
import os
from collections.abc import Iterator

from tracker.postgres.location import database
from tracker.postgres.schema import check_schema, upgrade_schema
from tracker.runtime.features import load_settings
from tracker.settings import DatabaseSettings, FolderSettings, Settings


def database_of(settings: Settings, *, join: bool = True) -> contextlib.AbstractContextManager[str]:
    """Return what yields the URL of the database; see `tracker.postgres.location.database`."""
    return database(settings[DatabaseSettings].database_url, settings[FolderSettings].data_dir, join=join)


@contextlib.contextmanager
def migrated_database(settings: Settings, *, join: bool = True, upgrades_embedded: bool = False) -> Iterator[str]:
    """Yield the URL of the database, whose schema is that of this version.

    With `upgrades_embedded` an embedded one gets that schema first; a database of somebody's own is migrated by
    `tracker migrate` alone. Raises StaleSchemaError for another schema, ConfigurationError if it cannot be reached.
    """
    with database_of(settings, join=join) as url:
        if upgrades_embedded and settings[DatabaseSettings].database_url is None:
            upgrade_schema(url)
        check_schema(url)
        yield url


def database_of_environment() -> contextlib.AbstractContextManager[str]:
    """Do what `database_of` does with the settings in the environment."""
    return database_of(load_settings(os.environ))

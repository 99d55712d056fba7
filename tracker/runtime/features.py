"""The features of Tracker: the only list of them. What each hands out stands in its `wiring.py`."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from tracker.features.carts.wiring import FEATURE as CARTS
from tracker.features.catalog.wiring import FEATURE as CATALOG
from tracker.features.checkout.wiring import FEATURE as CHECKOUT
from tracker.features.customer_carts.wiring import FEATURE as CUSTOMER_CARTS
from tracker.features.feature import Feature
from tracker.features.identity.wiring import FEATURE as IDENTITY
from tracker.features.reservations.wiring import FEATURE as RESERVATIONS
from tracker.features.warranties.wiring import FEATURE as WARRANTIES
from tracker.settings import GROUPS, Settings, read_settings

if TYPE_CHECKING:
    from sqlalchemy import MetaData

FEATURES: Final[tuple[Feature, ...]] = (
    CATALOG,
    RESERVATIONS,
    WARRANTIES,
    CARTS,
    IDENTITY,
    CUSTOMER_CARTS,
    CHECKOUT,
)
"""All features; each may use what those before it have built."""


def metadata_of_all_tables() -> "MetaData":
    """Return the metadata that holds the tables of all features, for migrations."""
    from tracker.postgres.metadata import metadata  # noqa: PLC0415  # SQLAlchemy, for nothing where only settings are read

    for feature in FEATURES:
        if feature.tables is not None:
            feature.tables()
    return metadata


def check_serving(settings: Settings) -> None:
    """Raise ConfigurationError if a process could not serve with these settings."""
    for feature in FEATURES:
        if feature.check_serving is not None:
            feature.check_serving(settings)


def check_jobs(settings: Settings) -> None:
    """Raise ConfigurationError if the jobs could not run with these settings."""
    for feature in FEATURES:
        if feature.check_jobs is not None:
            feature.check_jobs(settings)


def load_settings(environ: Mapping[str, str]) -> Settings:
    """Read the settings of all features and of what they share; raise ConfigurationError as `read_settings` does."""
    return read_settings(environ, (*GROUPS, *(one.settings for one in FEATURES if one.settings is not None)))

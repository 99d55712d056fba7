"""The features of Tracker: the only list of them. What each hands out stands in its `wiring.py`."""

from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Final, TypeVar

from tracker.features.feature import Feature
from tracker.settings import GROUPS, Settings, read_settings

if TYPE_CHECKING:
    from sqlalchemy import MetaData

    from tracker.features.feature_data import FeatureData

K = TypeVar("K")
V = TypeVar("V")

NAMES: Final = ("catalog", "warranties", "carts", "reservations", "identity", "customer_carts", "checkout")
"""Folders of the features; each behind those whose services it uses, and behind those that its rows belong to."""

FEATURES: Final[tuple[Feature, ...]] = tuple(import_module(f"tracker.features.{name}.wiring").FEATURE for name in NAMES)


def by_name(what: str, parts: Iterable[tuple[K, V]]) -> dict[K, V]:
    """Return the parts that several features hand out, by name; raise ValueError if two have the same one.

    `what` says what the parts are, as the error is to name them.
    """
    found: dict[K, V] = {}
    for name, part in parts:
        if name in found:
            msg = f"a {what} named {name!r} is handed out twice"
            raise ValueError(msg)
        found[name] = part
    return found


def metadata_of_all_tables() -> "MetaData":
    """Return the metadata that holds the tables of all features, for migrations."""
    from tracker.postgres.metadata import metadata  # noqa: PLC0415  # SQLAlchemy, for nothing where only settings are read

    for feature in FEATURES:
        if feature.tables is not None:
            feature.tables()
    return metadata


def all_data() -> "list[FeatureData]":
    """Return what the features store of carts and customers, each behind what its rows belong to."""
    return [feature.data() for feature in FEATURES if feature.data is not None]


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

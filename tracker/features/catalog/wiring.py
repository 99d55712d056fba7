"""The catalog, as the rest of Tracker sees it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.features.feature import Feature, FeatureServing, ServingParts

if TYPE_CHECKING:
    from sqlalchemy import Table


def serve(parts: ServingParts) -> FeatureServing:
    """Build what serves the catalog."""
    from tracker.features.catalog import routes
    from tracker.features.catalog.examples import EXAMPLES
    from tracker.features.catalog.service import Catalog
    from tracker.web.dependencies import given

    catalog = Catalog(parts.database)
    return FeatureServing(routes=[routes.show_catalog], dependencies={"catalog": given(catalog)}, examples=EXAMPLES)


def tables() -> "Sequence[Table]":
    """Return the tables."""
    from tracker.features.catalog.tables import products

    return [products]


FEATURE = Feature(tables=tables, serve=serve)

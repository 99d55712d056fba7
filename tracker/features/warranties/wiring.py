"""The warranties, as the rest of Tracker sees them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tracker.features.feature import Feature, FeatureJobs, FeatureMetrics, FeatureServing, JobParts, ServingParts
from tracker.features.warranties.settings import WarrantySettings
from tracker.settings import FolderSettings, Settings

if TYPE_CHECKING:
    from sqlalchemy import Table

    from tracker.features.warranties.archive import Archive


def serve(parts: ServingParts) -> FeatureServing:
    """Build what serves the warranties; raise ConfigurationError if the rate table cannot be used."""
    from tracker.features.warranties import routes
    from tracker.features.warranties.examples import EXAMPLES
    from tracker.features.warranties.fast_lane import WarrantyFastLane
    from tracker.features.warranties.metrics import created_samples
    from tracker.features.warranties.rates import load_rates
    from tracker.features.warranties.service import Warranties
    from tracker.web.dependencies import given

    warranties = Warranties(
        writing=parts.write_database,
        reading=parts.database,
        timeouts=parts.timeouts,
        stamper=parts.pipeline.stamper,
        keep_stamp=parts.pipeline.keep_stamp,
        rates=load_rates(parts.settings[WarrantySettings].warranty_rates),
    )
    return FeatureServing(
        routes=[routes.create_warranty, routes.list_warranties, routes.show_warranty],
        dependencies={"warranties": given(warranties)},
        examples=EXAMPLES,
        lanes=WarrantyFastLane(warranties, parts.policy).by_path,
        samples=lambda: created_samples(warranties.created),
        finish=warranties.close,
    )


def jobs(parts: JobParts) -> FeatureJobs:
    """Build the job that archives warranties; raise ConfigurationError if the archive cannot be opened."""
    from tracker.features.warranties.jobs import CONCURRENCY, Archiver
    from tracker.features.warranties.metrics import archive_samples
    from tracker.features.warranties.queue import JOB

    archiver = Archiver(parts.engine, archive_of(parts.settings))
    return FeatureJobs(
        runners=[parts.runner(JOB, archiver.archive, concurrency=CONCURRENCY)],
        samples=lambda: archive_samples(archiver.counts, archive_is_down=archiver.is_waiting_for_archive),
    )


def metrics() -> FeatureMetrics:
    """Return the metrics of the warranties."""
    from tracker.features.warranties.metrics import FAMILIES, ArchiveCounts, archive_samples

    return FeatureMetrics(
        families=FAMILIES, idle_samples=lambda: archive_samples(ArchiveCounts(), archive_is_down=False)
    )


def check_serving(settings: Settings) -> None:
    """Raise ConfigurationError if the rate table cannot be used."""
    from tracker.features.warranties.rates import load_rates

    load_rates(settings[WarrantySettings].warranty_rates)


def check_jobs(settings: Settings) -> None:
    """Raise ConfigurationError if the archive cannot be opened."""
    archive_of(settings)


def archive_of(settings: Settings) -> "Archive":
    """Open the archive that the settings choose; raise ConfigurationError if it cannot be opened."""
    from tracker.features.warranties.archive import open_archive  # 5 MiB, without jobs for nothing

    return open_archive(settings[WarrantySettings].archive_url, settings[FolderSettings].data_dir)


def tables() -> "Sequence[Table]":
    """Return the tables."""
    from tracker.features.warranties.tables import stores, warranties, warranty_items

    return [stores, warranties, warranty_items]


FEATURE = Feature(
    settings=WarrantySettings,
    tables=tables,
    serve=serve,
    jobs=jobs,
    check_serving=check_serving,
    check_jobs=check_jobs,
    metrics=metrics,
)

"""All metrics of Tracker: each area's families, and what reads those of the database."""

from tracker.ingest import metrics as ingest
from tracker.jobs import metrics as jobs
from tracker.metrics import process_state
from tracker.runtime.features import FEATURES, by_name
from tracker.telemetry import request_metrics
from tracker.telemetry.families import DatabaseSource, Families, Family


def all_families() -> list[Family]:
    """Return every metric family."""
    of_features = [family for one in FEATURES if one.metrics is not None for family in one.metrics().families]
    return [
        *request_metrics.FAMILIES,
        *ingest.FAMILIES,
        *jobs.FAMILIES,
        *process_state.FAMILIES,
        *of_features,
    ]


def families_by_name() -> Families:
    """Return every metric family, by its name; raise ValueError if two have the same one."""
    return by_name("metric family", ((family.name, family) for family in all_families()))


def database_sources() -> list[DatabaseSource]:
    """Return functions that read what only PostgreSQL knows, for one scraped process."""
    of_features = [source for one in FEATURES if one.metrics is not None for source in one.metrics().stored_samples]
    return [jobs.QueueState().samples, *of_features]

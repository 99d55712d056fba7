"""The notes, as the rest of Tracker sees them."""

from tests.support.example_feature.settings import NoteSettings
from tracker.features.feature import Feature, FeatureJobs, FeatureMetrics, FeatureServing, JobParts, ServingParts


def serve(parts: ServingParts) -> FeatureServing:
    """Build what takes notes."""
    from tests.support.example_feature import routes
    from tests.support.example_feature.examples import EXAMPLES
    from tests.support.example_feature.service import Notes
    from tracker.web.dependencies import given

    notes = Notes(parts.database, max_bytes=parts.settings[NoteSettings].notes_max_bytes)
    return FeatureServing(routes=[routes.leave_note], dependencies={"notes": given(notes)}, examples=EXAMPLES)


def jobs(parts: JobParts) -> FeatureJobs:
    """Build the job that files notes."""
    from tests.support.example_feature.jobs import CONCURRENCY, Filer
    from tests.support.example_feature.metrics import filed_samples
    from tests.support.example_feature.service import JOB

    filer = Filer()
    return FeatureJobs(
        runners=[parts.runner(JOB, filer.file, concurrency=CONCURRENCY)],
        samples=lambda: filed_samples(filer.filed),
    )


def metrics() -> FeatureMetrics:
    """Return the metrics of the notes."""
    from tests.support.example_feature.metrics import FAMILIES, filed_samples

    return FeatureMetrics(families=FAMILIES, idle_samples=lambda: filed_samples(0))


FEATURE = Feature(settings=NoteSettings, serve=serve, jobs=jobs, metrics=metrics)

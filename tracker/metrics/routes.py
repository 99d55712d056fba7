"""The route that Prometheus asks."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from tracker.metrics.service import Metrics
from tracker.web.problems import AnyRequest


@get("/metrics", include_in_schema=False)
async def show_metrics(request: AnyRequest, metrics: NamedDependency[SkipValidation[Metrics]]) -> Response[bytes]:
    """Show what all workers of the data folder have counted."""
    shown = await metrics.show(request.headers.get("accept", ""))
    # Litestar says the charset of a text itself.
    is_text = shown.content_type.startswith("text/")
    media_type = shown.content_type.replace("; charset=utf-8", "") if is_text else shown.content_type
    return Response(shown.content, media_type=media_type)

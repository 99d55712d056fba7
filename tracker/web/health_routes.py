"""The health of the process, for load balancers and for what watches it."""

from collections.abc import Callable
from typing import Final

from litestar import get
from litestar.di import NamedDependency
from litestar.params import SkipValidation
from msgspec import Struct

from tracker.errors import UnavailableError
from tracker.web.openapi.examples import Examples
from tracker.web.problems import problem_spec

NOT_READY: Final = "no items are accepted now: buffer, journal or disk are full, or a task has ended; the log says more"


class Health(Struct):
    """How the process is."""

    status: str


EXAMPLES: Final = Examples(
    tags={"health": "For load balancers and those who watch."},
    tag_places={"health": 7},
    bodies=[Health("live")],
    answers={("ready", 200): Health("ready")},
    problems={("ready", 503): NOT_READY},
)
"""Examples for the API's document."""


@get("/health/live", summary="Ask whether the process lives", tags=["health"])
async def live() -> Health:
    """Answer 200 as long as the process answers at all."""
    return Health("live")


@get(
    "/health/ready",
    summary="Ask whether items are accepted",
    tags=["health"],
    responses={503: problem_spec("No items are accepted now")},
)
async def ready(accepts_items: NamedDependency[SkipValidation[Callable[[], bool]]]) -> Health:
    """Answer 200 while the next item would be accepted, else 503."""
    if not accepts_items():
        raise UnavailableError(NOT_READY)
    return Health("ready")

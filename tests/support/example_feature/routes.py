"""The route of the notes."""

from litestar import post
from litestar.di import NamedDependency
from litestar.params import JSONBody, SkipValidation

from tests.support.example_feature.dto import NoteIn, NoteOut
from tests.support.example_feature.service import Notes
from tracker.web.problems import BODY_PROBLEMS, problem_spec
from tracker.web.strict_json import JSONOperation, StrictJSON


@post(
    "/notes",
    dto=StrictJSON[NoteIn],
    return_dto=None,
    status_code=200,
    summary="Leave a note",
    responses={
        **BODY_PROBLEMS,
        403: problem_spec("A browser sent it, for a page whose origin is not listed"),
        503: problem_spec("The database does not answer; try again after Retry-After seconds"),
    },
    operation_class=JSONOperation,
    tags=["notes"],
)
async def leave_note(data: JSONBody[NoteIn], notes: NamedDependency[SkipValidation[Notes]]) -> NoteOut:
    """Leave a note for the store's staff; it is filed soon after."""
    return NoteOut(await notes.leave(data.text))

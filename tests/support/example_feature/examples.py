"""Examples of the notes for the API's document."""

from typing import Final

from tests.support.example_feature.dto import NoteIn, NoteOut
from tracker.web.openapi.examples import Examples

_TEXT: Final = "The lamp in the window is out"

EXAMPLES: Final = Examples(
    tags={"notes": "What the store's staff should know."},
    bodies=[NoteIn(_TEXT), NoteOut(len(_TEXT))],
    fields={"leaveNote": ("text", "is required")},
)

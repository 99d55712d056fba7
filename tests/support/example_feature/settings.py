"""Settings of the notes."""

from typing import Annotated

from msgspec import Meta

from tracker.settings import Group


class NoteSettings(Group, frozen=True, kw_only=True):
    """The notes."""

    notes_max_bytes: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """Longest note, in bytes of UTF-8."""

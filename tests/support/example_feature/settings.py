"""Settings of the notes."""

from typing import Annotated

from msgspec import Meta

from tracker.settings import SettingsGroup


class NoteSettings(SettingsGroup, frozen=True, kw_only=True):
    """The notes."""

    notes_max_bytes: Annotated[int, Meta(ge=1, le=10_000)] = 1000
    """Longest note, in bytes of UTF-8."""

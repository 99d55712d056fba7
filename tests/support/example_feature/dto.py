"""Structs that clients of the notes send and get."""

from typing import Annotated

from msgspec import Meta, Struct

from tracker.kit.text_rules import NO_NUL_PATTERN


class NoteIn(Struct):
    """A note for the store's staff."""

    text: Annotated[
        str,
        Meta(
            description="must be a string of at least 1 byte of UTF-8",
            extra_json_schema={"minLength": 1, "pattern": NO_NUL_PATTERN},
            examples=["The lamp in the window is out"],
        ),
    ]


class NoteOut(Struct):
    """A note that is about to be filed."""

    size: Annotated[int, Meta(description="Bytes of UTF-8.")]

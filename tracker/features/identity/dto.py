"""The Struct that shows a customer."""

from msgspec import Struct


class Me(Struct):
    """The customer who is logged in."""

    subject: str

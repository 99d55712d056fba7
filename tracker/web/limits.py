"""The limits of a request, which the connection and the application keep, and the answers and the document name."""

from typing import Final

MAX_BODY_BYTES: Final = 64 * 1024
"""Largest body of a request, in bytes: the most that sendBeacon can send."""

MAX_HEADER_BYTES: Final = 16 * 1024
"""Largest size in bytes of the request line and all headers together."""

REQUEST_TIMEOUT_S: Final = 10.0
"""Seconds within which a request must be here as a whole, from its first byte or from the start of the connection."""

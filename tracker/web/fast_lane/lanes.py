"""All fast lanes of a process, each found by the path of a request."""

from collections.abc import Mapping
from typing import Final

from tracker.web.fast_lane.interface import Answerer, Begin, Headers, Peer


class Lanes:
    """Hands a request to the lane of its path."""

    def __init__(self, by_path: Mapping[bytes, Begin]) -> None:
        self._by_path: Final = by_path

    def begin(self, url: bytes, headers: Headers, peer: Peer) -> Answerer | None:
        """Do what `tracker.web.fast_lane.interface.Lane` says."""
        begin = self._by_path.get(url)
        return None if begin is None else begin(headers, peer)

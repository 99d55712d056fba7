"""All fast lanes of a process, each found by the path of a request."""

from collections.abc import Mapping
from typing import Final

from tracker.web.fast_lane.interface import Answerer, FindAnswerer, Headers, Peer


class Lanes:
    """Hands a request to the lane of its path."""

    def __init__(self, by_path: Mapping[bytes, FindAnswerer]) -> None:
        self._by_path: Final = by_path

    def answerer_for(self, url: bytes, headers: Headers, peer: Peer) -> Answerer | None:
        """Do what `tracker.web.fast_lane.interface.FastLane` says."""
        find_answerer = self._by_path.get(url)
        return None if find_answerer is None else find_answerer(headers, peer)

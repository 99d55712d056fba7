"""The path of an accepted item, as one value."""

from typing import NamedTuple

from tracker.ingest.aggregator import Aggregator
from tracker.ingest.dead_letters import DeadLetters
from tracker.ingest.delivery import Delivery
from tracker.ingest.flusher import Flusher
from tracker.ingest.journal.protocol import Journal
from tracker.ingest.journal.recovery import Recovery


class Pipeline(NamedTuple):
    """Parts that an accepted item goes through until it is stored."""

    aggregator: Aggregator
    journal: Journal
    flusher: Flusher
    delivery: Delivery
    dead_letters: DeadLetters
    recovery: Recovery

"""Gives sampled requests a span around the fast lane; other requests pass straight through.

It stands around the other lanes only where tracing is on; where it is off, they do not know of it. An item that is put
takes a lane 4.6 µs then, and with this one around it 5.05, of which 0.3 are the tracer's decision whether to trace it;
7.2 with a `traceparent` that must be read, and 28 where it is traced, up to a hundred times a second. A second set of
lanes, for traced requests alone, would save the others no more than what is left of the half microsecond.
"""

from collections.abc import Callable
from functools import partial

from tracker.telemetry import tracing
from tracker.web.fast_lane.interface import Answerer, FastLane, Headers, Peer, PendingReply, Reply


class TracedFastLane:
    """A lane in which traced requests have a span."""

    def __init__(self, lane: FastLane, tracer: tracing.Tracer) -> None:
        self._lane = lane
        self._tracer = tracer

    def answerer_for(self, url: bytes, headers: Headers, peer: Peer) -> Answerer | None:
        """Do what `tracker.web.fast_lane.interface.FastLane` says."""
        span = self._tracer.request(headers)
        answerer = self._lane.answerer_for(url, headers, peer)
        return answerer if span is None or answerer is None else partial(_answer, span, url.decode(), answerer)


def _answer(span: tracing.Span, route: str, answerer: Answerer, body: bytes) -> Reply | PendingReply | None:
    with tracing.going_on(span):
        reply = answerer(body)
    if isinstance(reply, PendingReply):
        return PendingReply(reply.confirmation, partial(_answer_later, span, route, reply.reply))
    if reply is not None:  # else the application answers, and traces it or not
        tracing.answered(span, "POST", route, reply[0])
        span.end()
    return reply


def _answer_later(span: tracing.Span, route: str, answer: Callable[[str | None], Reply], reason: str | None) -> Reply:
    reply = answer(reason)
    tracing.answered(span, "POST", route, reply[0])
    span.end()
    return reply

"""The bytes of the answers that a connection writes by itself."""

import json

from tracker.web.server.answers import AnswerHeads, refusal


def test_a_head_is_the_status_line_and_the_headers_that_every_answer_has() -> None:
    heads = AnswerHeads()
    heads.renew([(b"date", b"Monday"), (b"a", b"b")])
    assert heads[204] == b"HTTP/1.1 204 No Content\r\ndate: Monday\r\na: b\r\n"
    assert heads[422].startswith(b"HTTP/1.1 422 ")
    assert heads[204] is heads[204], "it is made once"


def test_heads_change_with_the_headers() -> None:
    heads = AnswerHeads()
    heads.renew([(b"date", b"Monday")])
    assert b"Monday" in heads[204]
    heads.renew([(b"date", b"Tuesday")])
    assert heads[204].endswith(b"date: Tuesday\r\n")
    assert b"Monday" not in heads[204]


def test_a_refusal_is_a_whole_answer_that_ends_the_connection() -> None:
    head, _, body = refusal(408, "too late", secure=True).partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    assert status == "HTTP/1.1 408 Request Timeout"
    assert headers["connection"] == "close"
    assert headers["content-length"] == str(len(body))
    assert headers["content-type"] == "application/problem+json"
    assert "strict-transport-security" in headers
    assert "retry-after" not in headers
    assert json.loads(body)["detail"] == "too late"


def test_only_a_busy_service_says_when_to_come_again() -> None:
    assert b"\r\nretry-after: 1\r\n" in refusal(503, "busy", secure=False)
    assert b"strict-transport-security" not in refusal(503, "busy", secure=False).lower()

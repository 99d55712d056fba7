"""A page in a browser: sends what a browser would send for it, and shows it what a browser would (Fetch, CORS)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx

SIMPLE_METHODS: Final = {"GET", "HEAD", "POST"}
SIMPLE_CONTENT_TYPES: Final = {"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"}
READABLE: Final = {"cache-control", "content-language", "content-length", "content-type", "expires", "last-modified"}
"""Headers of an answer that a page may read without being told so."""


class BlockedError(Exception):
    """The browser tells the page nothing but that it failed."""


@dataclass
class Page:
    """A page of an origin, in a browser that keeps `cookies` for Tracker."""

    client: httpx.Client
    origin: str
    cookies: str = ""

    def fetch(
        self, method: str, path: str, *, headers: Mapping[str, str] = {}, content: str | None = None
    ) -> tuple[int, dict[str, str], str]:
        """Do what `fetch(…, {credentials: "include"})` does; raise BlockedError if the page may not see the answer."""
        named = {name.lower() for name in headers}
        content_type = {name.lower(): value for name, value in headers.items()}.get("content-type", "text/plain")
        if content_type.partition(";")[0] in SIMPLE_CONTENT_TYPES:
            named.discard("content-type")
        if method not in SIMPLE_METHODS or named:
            self._ask_first(method, path, named)
        answer = self._send(method, path, headers, content)
        self._check(answer)
        exposed = READABLE | _names(answer.headers.get("access-control-expose-headers", ""))
        return answer.status_code, {k: v for k, v in answer.headers.items() if k in exposed}, answer.text

    def send_beacon(self, path: str, content: str) -> httpx.Response:
        """Do what `navigator.sendBeacon` does; the page learns nothing, the test sees the answer."""
        return self._send("POST", path, {"Content-Type": "text/plain;charset=UTF-8"}, content)

    def _send(self, method: str, path: str, headers: Mapping[str, str], content: str | None) -> httpx.Response:
        own = {"Cookie": self.cookies} if self.cookies else {}
        if method != "GET" or not self._is_own:
            own["Origin"] = self.origin
        return self.client.request(method, path, headers={**own, **headers}, content=content)

    @property
    def _is_own(self) -> bool:
        return self.origin == str(self.client.base_url).rstrip("/")

    def _ask_first(self, method: str, path: str, named: set[str]) -> None:
        if self._is_own:
            return
        asked = {"Origin": self.origin, "Access-Control-Request-Method": method}
        if named:
            asked["Access-Control-Request-Headers"] = ",".join(sorted(named))
        answer = self.client.request("OPTIONS", path, headers=asked)
        self._check(answer)
        allowed = {name.strip() for name in answer.headers.get("access-control-allow-methods", "").split(",")}
        if not answer.is_success or method not in allowed | SIMPLE_METHODS:
            raise BlockedError(f"{method} is not allowed: {answer.headers}")
        if missing := named - _names(answer.headers.get("access-control-allow-headers", "")):
            raise BlockedError(f"{missing} are not allowed: {answer.headers}")

    def _check(self, answer: httpx.Response) -> None:
        if self._is_own:
            return
        if answer.headers.get_list("access-control-allow-origin") != [self.origin]:
            raise BlockedError(f"{self.origin} is not allowed: {answer.headers}")
        if answer.headers.get("access-control-allow-credentials") != "true":
            raise BlockedError(f"credentials are not allowed: {answer.headers}")


def _names(text: str) -> set[str]:
    return {name.strip().lower() for name in text.split(",")}

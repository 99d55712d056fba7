"""The certified identity provider from npm as a process of its own, and a browser to log in there."""

import contextlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookiejar import Cookie
from pathlib import Path
from typing import Any, Final
from urllib.parse import urljoin

import httpx
import pytest

from tests.conftest import REPO
from tests.support.oidc import AUDIENCE, CLIENT_ID

CLIENT_SECRET: Final = "a secret of the tests: +/%25"  # noqa: S105  # opens nothing

FOLDER: Final = Path(sys.prefix) / "oidc-provider"
"""Where `make` has installed it."""

MAX_REDIRECTS: Final = 10


@dataclass
class CertifiedProvider:
    """A running one."""

    issuer: str

    def env(self) -> dict[str, str]:
        """Return the settings of a Tracker that has its customers here."""
        return {
            "TRACKER_OIDC_ISSUER": self.issuer,
            "TRACKER_OIDC_AUDIENCE": AUDIENCE,
            "TRACKER_OIDC_CLIENT_ID": CLIENT_ID,
            "TRACKER_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }

    def change(self, **options: Any) -> None:  # noqa: ANN401  # those of server.mjs
        """Change what it does from now on."""
        httpx.post(f"{self.issuer}/test/options", json=options, timeout=30).raise_for_status()

    def token(self, algorithm: str) -> str:
        """Return an access token for Tracker, got as a machine gets one."""
        form = {"grant_type": "client_credentials", "scope": "api", "resource": f"urn:tracker:{algorithm}"}
        auth = httpx.BasicAuth(CLIENT_ID, "a%20secret%20of%20the%20tests%3A%20%2B%2F%2525")
        answer = httpx.post(f"{self.issuer}/token", data=form, auth=auth, timeout=30)
        assert answer.status_code == 200, answer.text
        token: str = answer.json()["access_token"]
        return token


@contextlib.contextmanager
def certified_provider() -> Iterator[CertifiedProvider]:
    """Run it until the end of the block; skip the test if it is not installed."""
    node = shutil.which("node")
    if node is None or not (FOLDER / "node_modules/oidc-provider").is_dir():
        pytest.skip("needs the identity provider from npm: install Node.js with npm, then `make test`")
    command = [node, str(REPO / "tests/support/oidc_provider/server.mjs"), str(FOLDER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            issuer = process.stdout.readline().strip()
            assert issuer, "the identity provider has not started"
            yield CertifiedProvider(issuer)
        finally:
            process.kill()


class Browser:
    """Keeps cookies, follows redirects, and fills in the provider's form."""

    def __init__(self, tracker_url: str) -> None:
        self.url = tracker_url
        self.client = httpx.Client(base_url=tracker_url, timeout=30)

    def get(self, path: str) -> httpx.Response:
        """Open a page of Tracker's."""
        return self.client.get(path)

    def post(self, path: str, *, origin: str | None = None) -> httpx.Response:
        """Press a button on a page of Tracker's, or of the site `origin`."""
        return self.client.post(path, headers={"Origin": origin or self.url})

    def start_login(self, return_to: str = "/me", *, subject: str = "anna") -> str:
        """Log in at the provider, and return the address of ours that it sends the browser to."""
        answer = self.get(f"/login?return_to={return_to}")
        for _ in range(MAX_REDIRECTS):
            if answer.is_redirect:
                location = urljoin(str(answer.request.url), answer.headers["location"])
                if location.startswith(f"{self.url}/login/callback"):
                    return location
                answer = self.client.get(location)
            else:
                assert "form" in answer.text, answer.text
                answer = self.client.post(answer.request.url, data={"login": subject})
        pytest.fail("the provider does not send the browser back")

    def log_in(self, return_to: str = "/me", *, subject: str = "anna") -> httpx.Response:
        """Log in, and return Tracker's answer to the way back."""
        return self.get(self.start_login(return_to, subject=subject))

    def cookies(self) -> dict[str, str]:
        """Return what it keeps of Tracker's cookies and the provider's."""
        return {cookie.name: cookie.value or "" for cookie in self.client.cookies.jar}

    def set_cookie(self, name: str, value: str) -> None:
        """Change a cookie that it keeps."""
        for cookie in self.client.cookies.jar:
            if cookie.name == name:
                cookie.value = value

    def close(self) -> None:
        """Let go of the connections."""
        self.client.close()


def cookie_named(browser: Browser, name: str) -> Cookie:
    """Return a cookie that a browser keeps."""
    return next(cookie for cookie in browser.client.cookies.jar if cookie.name == name)

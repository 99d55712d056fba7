"""A real server of S3's protocol (moto) as a process of its own, and the buckets that tests archive into."""

import contextlib
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree as ET

import httpx
import msgspec
import obstore
from obstore.store import S3Store

from tests.conftest import REPO, clean_environ
from tests.support.ports import free_port
from tests.support.waiting import wait_until

START_TIMEOUT_S: Final = 60.0

_KEYS: Final = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_REGION": "us-east-1"}

_VERSIONED: Final = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"


ANSWER_TIMEOUT_S: Final = 60.0


@dataclass
class Bucket:
    """A bucket that keeps every version, so that an object which was written twice shows."""

    name: str
    endpoint: str

    def create(self) -> None:
        httpx.put(f"{self.endpoint}/{self.name}", timeout=ANSWER_TIMEOUT_S).raise_for_status()
        httpx.put(
            f"{self.endpoint}/{self.name}?versioning", content=_VERSIONED, timeout=ANSWER_TIMEOUT_S
        ).raise_for_status()

    def env(self, prefix: str = "", *, port: int | None = None) -> dict[str, str]:
        """Return the settings that archive into it, by way of another port if one is given."""
        endpoint = self.endpoint if port is None else f"http://127.0.0.1:{port}"
        return {**_KEYS, "AWS_ENDPOINT_URL": endpoint, "TRACKER_ARCHIVE_URL": f"s3://{self.name}{prefix}"}

    def paths(self) -> set[str]:
        return {entry["path"] for page in obstore.list(self._store) for entry in page}

    def objects(self, paths: Iterable[str] | None = None) -> dict[str, dict[str, Any]]:
        """Return what each object, or each of these, says, by its path."""
        wanted = self.paths() if paths is None else paths
        store = self._store
        return {path: msgspec.json.decode(bytes(obstore.get(store, path).bytes())) for path in wanted}

    def content_type_of(self, path: str) -> str:
        return obstore.get(self._store, path).attributes["Content-Type"]

    def versions(self) -> list[str]:
        """Return the path of everything that was ever written, once for each time."""
        found: list[str] = []
        behind: dict[str, str] = {}
        while True:
            answer = httpx.get(
                f"{self.endpoint}/{self.name}", params={"versions": "", **behind}, timeout=ANSWER_TIMEOUT_S
            ).raise_for_status()
            page = ET.fromstring(answer.text)  # noqa: S314  # of a server of the tests
            found += [key.text or "" for key in page.iterfind("{*}Version/{*}Key")]
            if page.findtext("{*}IsTruncated") != "true":
                return found
            names = {"key-marker": "NextKeyMarker", "version-id-marker": "NextVersionIdMarker"}
            behind = {name: page.findtext(f"{{*}}{tag}") or "" for name, tag in names.items()}

    def delete(self, paths: Sequence[str]) -> None:
        """Delete objects; what was written before still counts as a version."""
        obstore.delete(self._store, paths)

    @property
    def _store(self) -> S3Store:
        return S3Store(
            self.name,
            endpoint=self.endpoint,
            access_key_id="testing",
            secret_access_key="testing",  # noqa: S106  # of a test
            client_options={"allow_http": True},
        )


@dataclass
class S3:
    """A running server."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def bucket(self, name: str) -> Bucket:
        """Return a bucket that exists."""
        bucket = Bucket(name, self.url)
        bucket.create()
        return bucket

    def refuse_everybody(self, *, refuse: bool = True) -> None:
        """Take nobody's credentials any more, or everybody's again."""
        allowed = b"0" if refuse else b"inf"
        httpx.post(f"{self.url}/moto-api/reset-auth", content=allowed, timeout=ANSWER_TIMEOUT_S).raise_for_status()


@contextlib.contextmanager
def s3_server() -> Iterator[S3]:
    """Run a server; it is killed at the end of the block, with all that it holds."""
    s3 = S3(free_port())
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(s3.port)],
        env=clean_environ(),
        cwd=REPO,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: _answers(s3))
        yield s3
    finally:
        process.kill()
        process.wait()


def _answers(s3: S3) -> bool:
    try:
        return httpx.get(f"{s3.url}/moto-api/", timeout=ANSWER_TIMEOUT_S).is_success
    except httpx.TransportError:
        return False

"""A stand-in for an identity provider: real HTTP on a thread, tokens of every kind, and switches for bad days.

`tests/support/oidc_provider` has a real one; this one can also do what no real provider would.

    python -m tests.support.oidc --port 9200

runs it for trying Tracker out: whoever comes to log in is Anna. `--settings` prints the settings of a Tracker that
has its customers there, as a shell takes them; `GET /token-for?subject=anna` is a bearer token for an hour.
"""

import argparse
import base64
import contextlib
import functools
import hashlib
import secrets
import shlex
import threading
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import msgspec
from joserfc import jws
from joserfc.errors import SecurityWarning
from joserfc.jwk import ECKey, Key, OctKey, OKPKey, RSAKey

AUDIENCE: Final = "tracker-api"
CLIENT_ID: Final = "tracker"
CLIENT_SECRET: Final = "a secret of the tests: ü/+%"  # noqa: S105  # opens nothing

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")

Answer = tuple[int, dict[str, str], bytes]


@functools.cache
def rsa_key() -> RSAKey:
    """Return one private key: making them takes long."""
    return RSAKey.generate_key(2048)


def new_keys() -> dict[str, Key]:
    """Return private keys by algorithm, each with an id of its own."""
    made: dict[str, Key] = {"RS256": rsa_key(), "ES256": ECKey.generate_key("P-256"), "EdDSA": OKPKey.generate_key()}
    return {alg: _named(key) for alg, key in made.items()}


def _named(key: Key) -> Key:
    kind: type[Any] = type(key)
    named: Key = kind(key.raw_value, key.as_dict(private=True), {"kid": f"key-{uuid.uuid4()}"})
    return named  # not by `import_key`, which checks an RSA key for 30 ms


def sign(claims: object, key: Key, header: dict[str, Any]) -> str:
    """Return a token with exactly this header and these claims (or bytes), whatever they are."""
    payload = claims if isinstance(claims, bytes) else msgspec.json.encode(claims)
    registry = jws.JWSRegistry(algorithms=[header["alg"]], strict_check_header=False)
    registry.max_header_length = 100_000
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SecurityWarning)  # EdDSA goes by a newer name now; none is what it is
        return jws.serialize_compact(header, payload, key, registry=registry)


@dataclass
class _Grant:
    redirect_uri: str
    challenge: str
    nonce: str
    subject: str


@dataclass
class Provider:
    """A running stand-in; its fields may be changed at any time."""

    url: str
    keys: dict[str, Key] = field(default_factory=new_keys)
    fetches: Counter[str] = field(default_factory=Counter)
    """How often each path was asked for."""

    is_down: bool = False
    """Whether it hangs up without an answer."""

    delay_s: float = 0.0
    answers: dict[str, Answer] = field(default_factory=dict)
    """What it answers by path, in the place of the right answer."""

    discovery: dict[str, Any] = field(default_factory=dict)
    id_claims: dict[str, Any] = field(default_factory=dict)
    """What it says otherwise than it should, about itself and in ID tokens."""

    _grants: dict[str, _Grant] = field(default_factory=dict)

    def env(self) -> dict[str, str]:
        """Return the settings of a Tracker that has its customers here."""
        return {
            "TRACKER_OIDC_ISSUER": self.url,
            "TRACKER_OIDC_AUDIENCE": AUDIENCE,
            "TRACKER_OIDC_CLIENT_ID": CLIENT_ID,
            "TRACKER_OIDC_CLIENT_SECRET": CLIENT_SECRET,
        }

    def claims(self, subject: str = "anna", **claims: Any) -> dict[str, Any]:  # noqa: ANN401  # anything goes
        """Return the claims of an access token; None leaves one out."""
        now = int(time.time())
        made = {"iss": self.url, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300, **claims}
        return {name: value for name, value in made.items() if value is not None}

    def token(self, subject: str = "anna", *, algorithm: str = "RS256", **claims: Any) -> str:  # noqa: ANN401
        """Return an access token for Tracker."""
        return self.sign(self.claims(subject, **claims), algorithm)

    def bearer(self, subject: str = "anna") -> dict[str, str]:
        """Return the headers of a request of a customer."""
        return {"Authorization": f"Bearer {self.token(subject)}"}

    def sign(self, claims: object, algorithm: str = "RS256", *, key: Key | None = None, **header: Any) -> str:  # noqa: ANN401
        """Return a token signed with our key for the algorithm, or with `key`."""
        signing = key or self.keys[algorithm]
        return sign(claims, signing, {"alg": algorithm, "kid": signing.kid or "", **header})

    def rotate(self) -> None:
        """Replace the keys by others."""
        self.keys = new_keys()

    def key_set(self) -> dict[str, Any]:
        """Return the public keys."""
        return {"keys": [{**key.as_dict(), "use": "sig", "alg": alg} for alg, key in self.keys.items()]}

    def answer(self, path: str, query: dict[str, str], form: dict[str, str], authorization: str) -> Answer:
        """Answer a request."""
        if path in self.answers:
            return self.answers[path]
        answer: Answer = 404, {}, b""
        match path:
            case "/.well-known/openid-configuration":
                answer = _json({**self._description(), **self.discovery})
            case "/keys":
                answer = _json(self.key_set())
            case "/authorize":
                answer = self._authorize(query)
            case "/token":
                answer = self._token(form, authorization)
            case "/token-for":
                token = self.token(query["subject"], exp=int(time.time()) + 3600)
                answer = 200, {"Content-Type": "text/plain"}, token.encode()
        return answer

    def _description(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
        }

    def _authorize(self, query: dict[str, str]) -> Answer:
        if query["response_type"] != "code" or query["code_challenge_method"] != "S256":
            return 400, {}, b""
        code = secrets.token_urlsafe(16)
        self._grants[code] = _Grant(query["redirect_uri"], query["code_challenge"], query["nonce"], "anna")
        back = urlencode({"code": code, "state": query["state"]})
        return 302, {"Location": f"{query['redirect_uri']}?{back}"}, b""

    def _token(self, form: dict[str, str], authorization: str) -> Answer:
        known = base64.b64encode(f"{CLIENT_ID}:{_quoted(CLIENT_SECRET)}".encode()).decode()
        if authorization != f"Basic {known}" and (form.get("client_id"), form.get("client_secret")) != (
            CLIENT_ID,
            CLIENT_SECRET,
        ):
            return _json({"error": "invalid_client"}, 401)
        grant = self._grants.pop(form["code"], None)
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        if grant is None or (grant.challenge, grant.redirect_uri) != (challenge, form["redirect_uri"]):
            return _json({"error": "invalid_grant"}, 400)
        claims = self.claims(grant.subject, **{"aud": CLIENT_ID, "nonce": grant.nonce, **self.id_claims})
        return _json({"id_token": self.sign(claims), "token_type": "Bearer", "access_token": "opaque"})


def _quoted(text: str) -> str:
    return urlencode({"": text})[1:].replace("+", "%20")


def _json(content: object, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, msgspec.json.encode(content)


@contextlib.contextmanager
def running_provider(port: int = 0) -> Iterator[Provider]:
    """Run a stand-in until the end of the block; port 0 is a free one."""
    lock = threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            form = _flat(self.rfile.read(length).decode())
            with lock:
                provider.fetches[url.path] += 1
            time.sleep(provider.delay_s)
            if provider.is_down:
                self.close_connection = True
                return
            query = _flat(url.query)
            status, headers, body = provider.answer(url.path, query, form, self.headers.get("Authorization", ""))
            self.send_response(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            with contextlib.suppress(ConnectionError):
                self.wfile.write(body)

        do_POST = do_GET  # noqa: N815  # its name there

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name there
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    provider = Provider(f"http://127.0.0.1:{server.server_address[1]}")
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield provider
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _flat(query: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}


def oct_key(secret: bytes) -> OctKey:
    """Return a symmetric key, even one made of what should be public."""
    return OctKey(secret, secret)


def main() -> None:
    """Serve on 127.0.0.1 until Ctrl-C, or print the settings."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=9200)
    parser.add_argument("--settings", action="store_true", help="print the settings of Tracker, and end")
    arguments = parser.parse_args()
    if arguments.settings:
        for name, value in Provider(f"http://127.0.0.1:{arguments.port}", keys={}).env().items():
            print(f"export {name}={shlex.quote(value)}")  # noqa: T201  # for the shell
        return
    with running_provider(arguments.port), contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


if __name__ == "__main__":
    main()

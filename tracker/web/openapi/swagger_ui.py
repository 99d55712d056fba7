"""Swagger UI at `/docs`, out of this package: a browser loads nothing from anywhere else.

Litestar's own page can load it from here too (`js_url` and the like), but starts it by an inline script that holds the
whole document. Tried in Chromium: under this page's policy that script is blocked, and the page stays empty. It runs
once its hash stands in `script-src`; but that hash changes with the document, while a render plugin sets no headers,
and each load would bring the document once more inside of a page that nobody can cache. Its second page
(`oauth2-redirect.html`) would need another hash. This page has its script in a file of 8 lines, so that its policy can
forbid inline scripts and every other host.

The large files are kept compressed, which is how browsers take them: 0.5 MB instead of 1.9.
"""

import functools
import gzip
import hashlib
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

from litestar import Request, Response, Router, get
from litestar.enums import MediaType
from litestar.exceptions import NotFoundException
from litestar.openapi.plugins import OpenAPIRenderPlugin
from litestar.params import FromPath

FOLDER: Final = Path(__file__).parents[2] / "docs" / "swagger-ui"

MEDIA_TYPES: Final = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "start.js": "text/javascript",
    "favicon-32x32.png": "image/png",
}
"""Media types of the files that are served, by name; no other file is."""

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy of the page: what it may load and do. Swagger UI sets styles of its elements, and its CSS has
images as data."""

_TAKES_GZIP: Final = re.compile(r"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", re.IGNORECASE)


class _File(NamedTuple):
    content: bytes
    compressed: bool
    tag: str


def docs_router() -> Router:
    """Return the router that Litestar adds the page and the document to."""
    return Router(
        "/docs",
        route_handlers=[show_file],
        include_in_schema=False,
        response_headers={"Content-Security-Policy": PAGE_POLICY},
    )


class SwaggerUI(OpenAPIRenderPlugin):
    """Serves the page."""

    def __init__(self) -> None:
        super().__init__(path="/", media_type=MediaType.HTML)

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        """Return the page, which fetches the document by itself."""
        del request, openapi_schema
        return (FOLDER / "index.html").read_bytes()


@get("/swagger-ui/{name:str}", sync_to_thread=False)
def show_file(name: FromPath[str], request: Request[Any, Any, Any]) -> Response[bytes]:
    """Answer a file of the page, or 304 if the browser has it; every load asks, as a new version has the same names."""
    if name not in MEDIA_TYPES:
        raise NotFoundException
    file = _file(name)
    headers = {"ETag": file.tag, "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if file.tag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    content = file.content
    if file.compressed:
        if _TAKES_GZIP.search(request.headers.get("accept-encoding", "")):
            headers["Content-Encoding"] = "gzip"
        else:
            content = _unpacked(name)
    return Response(content, media_type=MEDIA_TYPES[name], headers=headers)


@functools.cache
def _file(name: str) -> _File:
    packed = FOLDER / f"{name}.gz"
    compressed = packed.exists()
    content = (packed if compressed else FOLDER / name).read_bytes()
    # Weak, as it stands for the file both compressed and not.
    return _File(content, compressed, f'W/"{hashlib.sha256(content).hexdigest()[:16]}"')


@functools.cache
def _unpacked(name: str) -> bytes:
    """Decompress a file once and keep it.

    It takes 9 ms of the event loop, and clients without gzip could cause that with every request.
    """
    return gzip.decompress(_file(name).content)

"""The answer to `OPTIONS`: every method that a path takes.

Litestar's own answer, where several handlers share a path, names the method of one of them.
"""

from collections import defaultdict

from litestar import Response
from litestar.config.app import AppConfig
from litestar.enums import HttpMethod
from litestar.handlers import HTTPRouteHandler


def answer_options(config: AppConfig) -> AppConfig:
    """Give each path of an application a handler for `OPTIONS`; first of all, so that Litestar adds none."""
    methods: defaultdict[str, set[str]] = defaultdict(set)
    for handler in config.route_handlers:
        if isinstance(handler, HTTPRouteHandler):
            for path in handler.paths:
                methods[path] |= handler.http_methods
    config.route_handlers = [*(_options(path, taken) for path, taken in methods.items()), *config.route_handlers]
    return config


def _options(path: str, taken: set[str]) -> HTTPRouteHandler:
    allow = ", ".join(sorted({*taken, "OPTIONS"}))

    def say_methods() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": allow})

    handler = HTTPRouteHandler(path, http_method=HttpMethod.OPTIONS, include_in_schema=False, sync_to_thread=False)
    return handler(say_methods)

"""What Tracker uses of its libraries without their promise: each is there in the form in which it is used, and listed.

uvicorn and httptools, of which most is used, are capped in pyproject.toml. Whoever raises a cap runs this first; a case
that fails says which code of ours to read beside the library's new one.
"""

import ast
import asyncio
import contextlib
import importlib
import inspect
import logging
import re
import sys
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import asyncpg
import httptools
import pytest
import uvicorn
from litestar import Litestar
from litestar._openapi.schema_generation import SchemaCreator
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

TRACKER: Final = Path(__file__).parent.parent / "tracker"
SERVER: Final = TRACKER / "web" / "server"


class Private(NamedTuple):
    """Something that a library may change with any version."""

    owner: str
    name: str
    form: str
    """Parameters of a function, or the type of a value while the first request comes."""
    look_at: str
    """Code of ours to read when it has changed, and what that expects."""
    called_by: tuple[str, ...] = ()
    """Methods of the library that must call it, where ours stands in its place."""


def _connection(look_at: str, *rows: tuple[str, str] | tuple[str, str, str]) -> Iterator[Private]:
    for name, form, *callers in rows:
        called_by = tuple(callers[0].split()) if callers else ()
        yield Private("HttpToolsProtocol", name, form, f"connection.Protocol.{look_at}", called_by)


PRIVATE: Final = [
    *_connection(
        "__init__ and connection_made: what a connection is made with",
        ("loop", "_UnixSelectorEventLoop"),
        ("transport", "_Transport"),
        ("flow", "FlowControl"),
        ("app", "(scope, receive, send)"),
        ("client", "tuple"),
        ("scheme", "str"),
        ("connections", "set"),
        ("server_state", "ServerState"),
        ("connection_made", "(transport)"),
        ("connection_lost", "(exc)"),
    ),
    *_connection(
        "_feed and _read_without_upgrade: how bytes become a request",
        ("parser", "HttpRequestParser"),
        ("data_received", "(data)"),
    ),
    *_connection(
        "on_message_begin and _hand_on, which begins uvicorn's own work late: it must set these three and the scope",
        ("url", "bytes"),
        ("headers", "list"),
        ("expect_100_continue", "bool"),
        ("on_message_begin", "()"),
        ("on_headers_complete", "()"),
        ("on_body", "(body)"),
        ("on_message_complete", "()"),
    ),
    *_connection(
        "_is_free, refuse and on_response_complete: which request is answered, and which wait (the newest on the left)",
        ("cycle", "NoneType"),
        ("pipeline", "deque"),
        ("_start_asgi_task", "(cycle, app)", "on_headers_complete on_response_complete"),
        ("on_response_complete", "()", "on_headers_complete"),
    ),
    *_connection(
        "data_received and timeout_keep_alive_handler: an idle connection is uvicorn's to close",
        ("timeout_keep_alive_task", "NoneType"),
        ("timeout_keep_alive_handler", "()", "on_response_complete"),
        ("_unset_keepalive_if_required", "()"),
    ),
    *_connection("shutdown: each connection is told of the stop", ("shutdown", "()")),
    *(
        Private(
            "RequestResponseCycle", name, form, "connection._PendingAnswer, which stands in for a cycle, and refuse"
        )
        for name, form in {
            "keep_alive": "bool",
            "disconnected": "bool",
            "response_started": "bool",
            "response_complete": "bool",
            "more_body": "bool",
            "message_event": "Event",
        }.items()
    ),
    Private("FlowControl", "write_paused", "bool", "connection.Protocol._is_free and close_if_overdue"),
    Private("ServerState", "default_headers", "list", "answers.AnswerHeads: another list each time they change"),
    Private("ServerState", "connections", "set", "server.close_overdue and abort_stuck"),
    *(
        Private("HttpRequestParser", name, form, "connection.Protocol.on_headers_complete, _is_free and _feed")
        for name, form in {
            "feed_data": "(data)",
            "get_method": "()",
            "get_http_version": "()",
            "should_keep_alive": "()",
            "should_upgrade": "()",
        }.items()
    ),
    Private(
        "HttpRequestParser",
        "set_dangerous_leniencies",
        "(lenient_headers, lenient_chunked_length, lenient_keep_alive, lenient_transfer_encoding, lenient_version, "
        "lenient_data_after_close, lenient_optional_lf_after_cr, lenient_optional_cr_before_lf, "
        "lenient_optional_crlf_after_chunk, lenient_spaces_after_chunk_size)",
        "connection.Protocol._read_without_upgrade, whose parser is set up as uvicorn sets up its own",
    ),
    Private("ProxyHeadersMiddleware", "trusted_hosts", "_TrustedHosts", "connection.Protocol.connection_made"),
    Private("_TrustedHosts", "get_trusted_client_address", "(x_forwarded_for)", "fast_lane.interface.Proxies"),
    Private("_TrustedHosts", "__contains__", "(host)", "connection.Protocol.connection_made"),
    Private("Server", "server_state", "ServerState", "server.Server: whose connections are told"),
    Private("Server", "run", "(sockets)", "serving_process.run_worker"),
    Private("Server", "should_exit", "bool", "server.Server.handle_exit"),
    Private("Server", "shutdown", "(sockets)", "server.Server.shutdown", ("_serve",)),
    Private("Server", "on_tick", "(counter)", "server.Server.on_tick: ten times a second", ("main_loop",)),
    Private("Server", "handle_exit", "(sig, frame)", "server.Server.handle_exit", ("capture_signals",)),
    Private("Litestar", "_get_default_plugins", "(plugins)", "runtime.application._Application", ("__init__",)),
    Private("Connection", "_transport", "member_descriptor", "postgres.connection.Connection.keep_alive: its socket"),
    Private("SchemaCreator", "for_field_definition", "(field_definition)", "strict_json.StrictJSON"),
]

IMPORTED: Final = {
    "litestar._openapi.schema_generation.SchemaCreator": "strict_json.StrictJSON.create_openapi_schema",
    "uvicorn._types.ASGI3Application": "connection.Protocol._start_asgi_task",
    "uvicorn.middleware.proxy_headers.ProxyHeadersMiddleware": "connection.Protocol.connection_made",
    "uvicorn.protocols.http.httptools_impl.HttpToolsProtocol": "connection.Protocol",
    "uvicorn.protocols.http.httptools_impl.RequestResponseCycle": "connection._PendingAnswer",
    "uvicorn.protocols.http.httptools_impl.STATUS_LINE": "answers: a line of bytes for each status",
    "uvicorn.server.ServerState": "server.close_overdue and abort_stuck",
}
"""What is imported although its library does not offer it, and the code of ours that does so."""


async def _app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401  # an ASGI application's
    pass


class _Transport(asyncio.Transport):
    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ANN401  # as asyncio has it
        return ("127.0.0.1", 80) if name in {"peername", "sockname"} else default


@cache
def owners() -> dict[str, Any]:
    """Return one of each thing whose insides are used, made as the library makes it."""
    config = uvicorn.Config(_app, http="httptools", log_config=None, proxy_headers=False)
    config.load()
    loop = asyncio.new_event_loop()
    loop.close()
    state = ServerState()
    connection = HttpToolsProtocol(config, state, {}, loop)
    connection.connection_made(_Transport())
    connection.data_received(b"GET / HTTP/1.1\r\nHost: ")
    cycle = RequestResponseCycle(
        scope={},  # type: ignore[typeddict-item]  # nothing is asked of these
        transport=connection.transport,
        flow=connection.flow,
        logger=logging.getLogger(),
        access_logger=logging.getLogger(),
        access_log=False,
        default_headers=[],
        message_event=asyncio.Event(),
        expect_100_continue=False,
        keep_alive=True,
        on_response=lambda: None,
    )
    middleware = ProxyHeadersMiddleware(_app)
    return {
        "HttpToolsProtocol": connection,
        "RequestResponseCycle": cycle,
        "FlowControl": connection.flow,
        "ServerState": state,
        "HttpRequestParser": httptools.HttpRequestParser(object()),
        "ProxyHeadersMiddleware": middleware,
        "_TrustedHosts": middleware.trusted_hosts,
        "Server": uvicorn.Server(config),
        "Litestar": Litestar,
        "SchemaCreator": SchemaCreator,
        "Connection": asyncpg.Connection,
    }


LISTED: Final = {(private.owner, private.name) for private in PRIVATE}


def _insides(owner: str) -> frozenset[str]:
    """Return the names of an owner that count as private; some libraries document all that have no underscore."""
    names = frozenset(name for name in dir(owners()[owner]) if not name.startswith("__"))
    return frozenset(name for name in names if name.startswith("_")) if owner in {"Litestar", "Connection"} else names


def _form(value: object) -> str:
    if not inspect.isroutine(value):
        return type(value).__name__
    return f"({', '.join(name for name in inspect.signature(value).parameters if name != 'self')})"


@pytest.mark.parametrize("private", PRIVATE, ids=lambda private: f"{private.owner}.{private.name}")
def test_a_private_name_of_a_library_is_what_tracker_takes_it_for(private: Private) -> None:
    owner = owners()[private.owner]
    advice = f"{private.owner}.{private.name} has changed; read the library's new code beside {private.look_at}"
    assert hasattr(owner, private.name), f"{advice}: it is gone"
    assert _form(getattr(owner, private.name)) == private.form, advice
    for caller in private.called_by:
        source = ast.parse(textwrap.dedent(inspect.getsource(getattr(owner, caller))))
        named = {node.attr for node in ast.walk(source) if isinstance(node, ast.Attribute)}
        assert private.name in named, f"{advice}: {caller} does not call it"


@pytest.mark.parametrize("path", IMPORTED)
def test_a_private_import_is_there(path: str) -> None:
    module, _, name = path.rpartition(".")
    assert hasattr(importlib.import_module(module), name), f"{path} is gone: it is used by {IMPORTED[path]}"


def test_uvicorn_takes_a_function_that_makes_connections() -> None:
    def make_connection() -> None:
        pass

    config = uvicorn.Config(_app, http=make_connection, log_config=None)  # type: ignore[arg-type]  # what is tested
    config.load()
    taken: object = config.http_protocol_class
    assert taken is make_connection, "read serving_process.run_worker and connection.protocol"


def test_an_upgrade_says_where_the_head_ends() -> None:
    head = b"POST / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 4\r\n\r\n"
    with pytest.raises(httptools.HttpParserUpgrade) as caught:
        httptools.HttpRequestParser(object()).feed_data(head + b"body")
    assert caught.value.args == (len(head),), "read connection.Protocol._feed"


class Use(NamedTuple):
    """A place in the code that uses a name which may be private."""

    place: str
    name: str
    owners: frozenset[str]
    """Those whose name it may be."""


def _imports(tree: ast.AST) -> Iterator[str]:
    """Yield what a module imports from other packages than Python's and Tracker's, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (n for n in names if n.partition(".")[0] not in {*sys.stdlib_module_names, "tracker"})


def _is_private_import(path: str) -> bool:
    """Return whether a library does not offer this; of uvicorn's, it offers what `uvicorn` itself has."""
    return path.startswith("uvicorn.") or any(part.startswith("_") for part in path.split("."))


def _is_self(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


def _bases(node: ast.ClassDef) -> set[str]:
    """Return those of the `owners` that a class derives from."""
    return {ast.unparse(base).rpartition(".")[2] for base in node.bases} & owners().keys()


def _uses(tree: ast.AST, file: str, owner: str | None = None) -> Iterator[Use]:
    """Yield the uses of names of the `owners` in a module; `owner` is the one that the class around derives from."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef):
            yield from _uses(node, file, next(iter(_bases(node)), ""))
            continue
        name: str | None = None
        candidates = set(owners())
        if isinstance(node, ast.Attribute):
            name = node.attr
            if _is_self(node.value):
                candidates = {owner or ""} & set(owners())
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and isinstance(tree, ast.ClassDef):
            name = node.name
            candidates = {owner or ""} & set(owners())
        if name is not None and (found := frozenset(one for one in candidates if name in _insides(one))):
            yield Use(f"{file}:{getattr(node, 'lineno', 0)}", name, found)
        yield from _uses(node, file, owner)


@cache
def _code() -> dict[Path, ast.Module]:
    return {path: ast.parse(path.read_text()) for path in sorted(TRACKER.rglob("*.py"))}


def _uses_in_code() -> list[Use]:
    """Return the uses in all modules that can have a library's object: those that import it, or are handed it."""
    return [
        use
        for path, tree in _code().items()
        if path.parent == SERVER
        or path.parts[-2:] == ("fast_lane", "interface.py")
        or any(found == "uvicorn" or _is_private_import(found) for found in _imports(tree))
        or any(isinstance(node, ast.ClassDef) and _bases(node) for node in tree.body)
        for use in _uses(tree, str(path.relative_to(TRACKER)))
    ]


def _unlisted(uses: list[Use]) -> list[str]:
    return [
        f"{use.place} uses {use.name} of {' or '.join(sorted(use.owners))}"
        for use in uses
        if not any((owner, use.name) in LISTED for owner in use.owners)
    ]


def test_every_private_name_that_is_used_is_listed() -> None:
    assert _unlisted(_uses_in_code()) == [], "list it in PRIVATE, with the code that relies on it"


def test_every_private_import_is_listed() -> None:
    imported = {found for tree in _code().values() for found in _imports(tree) if _is_private_import(found)}
    assert imported == set(IMPORTED), "list it in IMPORTED, with the code that uses it, or take it out"


def test_every_listed_name_is_used() -> None:
    used = {(owner, use.name) for use in _uses_in_code() for owner in use.owners}
    unused = {(owner, name) for owner, name in LISTED if not name.startswith("__")} - used
    assert unused == set(), "take it out of PRIVATE"


def _classes() -> dict[type, ast.ClassDef]:
    """Return the classes of Tracker that derive from others, with their code."""
    return {
        getattr(importlib.import_module(_module_name(path)), node.name): node
        for path, tree in _code().items()
        for node in tree.body
        if isinstance(node, ast.ClassDef) and node.bases
    }


def _module_name(path: Path) -> str:
    return ".".join(path.relative_to(TRACKER.parent).with_suffix("").parts).removesuffix(".__init__")


def _own_underscores(code: ast.ClassDef) -> set[str]:
    """Return the names with an underscore that a class defines, overrides or uses on itself."""
    names = {node.name for node in code.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    names |= {node.attr for node in ast.walk(code) if isinstance(node, ast.Attribute) and _is_self(node.value)}
    return {name for name in names if name.startswith("_") and not name.startswith("__")}


def _underscores_of_libraries(cls: type) -> dict[str, type]:
    """Return the names with an underscore that the bases of a class have, or set, where these are of a library."""
    ours_or_pythons = {*sys.stdlib_module_names, "tracker"}
    bases = [base for base in cls.__mro__ if base.__module__.partition(".")[0] not in ours_or_pythons]
    found: dict[str, type] = {}
    for base in bases:
        with contextlib.suppress(OSError, TypeError):  # made of C
            found |= dict.fromkeys(re.findall(r"self\.(_[a-z]\w*)", inspect.getsource(base)), base)
        found |= dict.fromkeys((name for name in vars(base) if name.startswith("_")), base)
    return found


def test_no_class_uses_what_its_library_has_for_itself_unlisted() -> None:
    """Of other objects than `self`, ruff sees to that (SLF001)."""
    found = {
        (base.__name__, name)
        for cls, code in _classes().items()
        for name, base in _underscores_of_libraries(cls).items()
        if name in _own_underscores(code)
    }
    assert ("Litestar", "_get_default_plugins") in found
    assert found - LISTED == set(), "list it in PRIVATE, with the code that relies on it"


@pytest.mark.parametrize(
    "line", ["self.root_path", "super().eof_received()", "self.cycle.chunked_encoding", "self.flow.read_paused"]
)
def test_a_name_that_is_not_listed_is_found(line: str) -> None:
    tree = ast.parse(f"class Connection(HttpToolsProtocol):\n    def use(self):\n        return {line}")
    assert len(_unlisted(list(_uses(tree, "connection.py")))) == 1


def test_an_override_that_is_not_listed_is_found() -> None:
    tree = ast.parse("class Connection(HttpToolsProtocol):\n    def send_400_response(self, msg): ...")
    assert len(_unlisted(list(_uses(tree, "connection.py")))) == 1

"""Prints what the version of Tracker that is found declares: its settings and metric families, as JSON.

`surface.py` runs it with the modules of any commit, so that it imports nothing of this checkout. A version has its
settings in groups, those of no feature listed in `GROUPS`, or all in one Struct; families may stand in any module.
"""

import enum
import importlib
import json
import pkgutil
import sys
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

import msgspec

import tracker
from tracker import settings

RULES: Final = ("gt", "ge", "lt", "le", "multiple_of", "pattern", "min_length", "max_length")
"""Names of the rules that a type may carry."""


def _load_all() -> None:
    for module in pkgutil.walk_packages(tracker.__path__, "tracker."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _settings() -> list[str]:
    groups = getattr(settings, "GROUPS", None)
    if groups is None:
        kinds: list[Any] = [settings.Settings]
    else:
        features = importlib.import_module("tracker.runtime.features").FEATURES
        kinds = [*groups, *(one.settings for one in features if one.settings is not None)]
    return [
        f"{settings.variable_of(field.name)}: {_shown_type(field.type)} = {_shown_default(field)}"
        for kind in kinds
        for field in msgspec.structs.fields(kind)
    ]


def _shown_type(kind: Any) -> str:  # noqa: ANN401  # any annotation
    if get_origin(kind) is Annotated:
        base, *notes = get_args(kind)
        rules = [
            f"{name}={getattr(note, name)!r}" for note in notes for name in RULES if getattr(note, name) is not None
        ]
        return f"{_shown_type(base)} ({', '.join(rules)})"
    if get_origin(kind) in {Union, UnionType}:
        return " | ".join(map(_shown_type, get_args(kind)))
    if kind is NoneType:
        return "None"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return " | ".join(repr(member.value) for member in kind)
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _shown_default(field: msgspec.structs.FieldInfo) -> str:
    default = field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()
    return repr(default.value) if isinstance(default, enum.Enum) else str(default)


def _families() -> dict[str, str]:
    """Return the labels and bounds of each family that stands in a module, alone or in a list, by its name."""
    modules = [module for name, module in list(sys.modules.items()) if name.partition(".")[0] == "tracker"]
    values = [value for module in modules for value in vars(module).values()]
    ones = [one for value in values for one in (value if type(value) in {list, tuple} else [value])]
    return {one.name: _shown_family(one) for one in ones if type(one).__name__ == "Family"}


def _shown_family(family: Any) -> str:  # noqa: ANN401  # each version has a class of its own
    parts = [("by", family.labels), ("up to", family.bounds)]
    return "".join(f", {word} {' '.join(map(str, found))}" for word, found in parts if found)


if __name__ == "__main__":
    _load_all()
    json.dump({"settings": _settings(), "families": _families()}, sys.stdout)

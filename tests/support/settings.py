"""Settings by the names of their fields, whichever group they are in."""

from typing import Any

from tracker.runtime.features import FEATURES
from tracker.settings import GROUPS, Settings, SettingsGroup

KINDS: tuple[type[SettingsGroup], ...] = (*GROUPS, *(one.settings for one in FEATURES if one.settings is not None))


def settings_of(**values: Any) -> Settings:  # noqa: ANN401  # each has the type of its field
    """Return settings that differ from the defaults by these values."""
    known = {name for kind in KINDS for name in kind.__struct_fields__}
    assert values.keys() <= known, values.keys() - known
    return Settings(
        *(kind(**{name: values[name] for name in kind.__struct_fields__ if name in values}) for kind in KINDS)
    )

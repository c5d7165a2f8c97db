"""A JSON Schema (draft 2020-12) for each view that has JSON output.

The files refer to ``common.json`` for what they share; `load_schema` puts it into what it returns.
"""

from __future__ import annotations

from typing import cast

from nsctl.errors import UsageError

VIEWS = (
    "ls",
    "matrix",
    "show",
    "tree",
    "containers",
    "ps",
    "mounts",
    "changes",
    "path",
    "storage",
    "net",
    "idmap",
    "uts",
    "time",
    "ipc",
    "cgroup",
    "pid",
    "diff",
    "doctor",
    "doctor-userns",
    "netns",
    "inspect",
    "images",
)
"""The views that have a schema."""


def load_schema(view: str) -> dict[str, object]:
    """Load the schema of a view's JSON.

    Args:
        view: one of `VIEWS`.

    Returns:
        The schema, complete in itself: common.json is embedded under ``$defs``, where its
        ``$id`` resolves the references to it.

    Raises:
        UsageError: the view has no schema.
    """
    if view not in VIEWS:
        raise UsageError(f"no schema for {view!r}", f"there is one for {', '.join(VIEWS)}")
    schema = _read(view)
    return schema | {
        "$defs": {**cast("dict[str, object]", schema["$defs"]), "common": _read("common")}
    }


def _read(name: str) -> dict[str, object]:
    import json
    from importlib import resources

    text = resources.files(__name__).joinpath(f"{name}.json").read_text("utf-8")
    loaded: dict[str, object] = json.loads(text)
    return loaded

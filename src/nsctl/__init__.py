"""nsctl: see, enter, share, build and prove Linux container isolation.

The package root exports names and nothing else, and loads them when they are first used, so
that a command pays only for what it touches.
"""

from __future__ import annotations

__version__ = "0.1.0"

_EXPORTS = {
    "NsctlError": "nsctl.errors",
    "Snapshot": "nsctl.model.snapshot",
    "NamespaceType": "nsctl.model.namespace",
    "Namespace": "nsctl.model.namespace",
    "Task": "nsctl.model.task",
    "Part": "nsctl.model.part",
    "take_snapshot": "nsctl.host",
    "load_snapshot": "nsctl.host",
    "save_snapshot": "nsctl.host",
}

__all__ = ["__version__", *sorted(_EXPORTS)]  # noqa: PLE0604  (names are added from the table)


def __getattr__(name: str) -> object:
    """Load a public name from the module that defines it (PEP 562)."""
    module = _EXPORTS.get(name)
    if module is None:
        raise AttributeError(f"module 'nsctl' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(module), name)

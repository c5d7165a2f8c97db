"""Where namespaces are bind-mounted, in the reader's own mount namespace.

A namespace that only such a mount keeps alive becomes a row of its own here.
"""

from __future__ import annotations

from nsctl.discovery.draft import Draft
from nsctl.kernel.mountinfo import nsfs_mounts
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_MNT = TYPES.index(NamespaceType.MNT)
_KINDS = {str(kind): kind for kind in NamespaceType}


def run(draft: Draft) -> None:
    """Find bind mounts of namespaces."""
    try:
        raw = draft.proc.read("self/mountinfo", limit=1 << 28)
    except FileNotFoundError:
        draft.gaps.append(
            Gap(
                Part.NSFS_PATHS,
                draft.proc.root,
                "bind mounts of namespaces",
                PartState.UNREADABLE,
                "nsctl itself is not in this procfs",
            )
        )
        return
    for name, ino, path, _ in nsfs_mounts(raw):
        kind = _KINDS.get(name)
        if kind is None:  # a type that nsctl does not know
            continue
        draft.hold(kind, ino, Holder("bind", path=path, mntns=draft.reader.ns[_MNT]))
        namespace = draft.namespaces[kind, ino]
        if path not in namespace.nsfs_paths:
            draft.namespaces[kind, ino] = namespace._replace(
                nsfs_paths=(*namespace.nsfs_paths, path)
            )

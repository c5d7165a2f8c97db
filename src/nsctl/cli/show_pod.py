"""The card of a pod, for `nsctl show pod/NAME`: what its containers share, and with whom besides."""

from __future__ import annotations

from collections.abc import Iterator

from nsctl.cli import common
from nsctl.model.container import Container
from nsctl.model.namespace import ABSENT, TYPES, UNREADABLE, NamespaceType
from nsctl.model.owner import Owner
from nsctl.relate.groups import owner_of
from nsctl.relate.pods import Pod, Sharing
from nsctl.report.escape import escape
from nsctl.report.jsonout import whose
from nsctl.report.style import Role
from nsctl.report.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

Line = tuple[str, str, str, Role | None]
"""Label, escaped text, the word in its beginning that is coloured, and by what it means."""

_NAMES = 8


def heading(pod: Pod) -> tuple[str, str]:
    """The first line: the pod's name, and what stands behind it; escaped."""
    running = sum(1 for each in pod.containers if each.pid)
    count = counted(len(pod.containers), "container")
    text = count if running == len(pod.containers) else f"{count}, {running} running"
    return escape(pod.name), f"pod ({escape(pod.engine)})  {text}"


def lines(pod: Pod) -> Iterator[Line]:
    """The lines below it."""
    for container in pod.containers:
        yield "with", _container(pod, container), "", None
    for kind in TYPES:
        yield _sharing(kind, pod.namespaces[kind])
    name = f"pod/{escape(pod.name)}"
    # The newest that runs: what runs comes first, in the order of creation.
    newest = max(pod.containers, key=lambda each: (bool(each.pid), each.created, each.start))
    yield (
        "next",
        f"nsctl show {name}/{escape(newest.name)} | nsctl ps {name} | nsctl matrix",
        "",
        None,
    )


def _container(pod: Pod, container: Container) -> str:
    words = [escape(container.name)]
    if container.engine != pod.engine:
        words.append(f"({escape(container.engine)}, injected)")
    words.append(f"pid {container.pid}" if container.pid else escape(container.state))
    if container.pid and container.state != "running":
        words.append(escape(container.state))
    words.append(escape(container.image))
    return "  ".join(filter(None, words))


def _sharing(kind: NamespaceType, rows: tuple[Sharing, ...]) -> Line:
    """Say in words who of the pod shares one type of namespace."""
    if not rows:
        return str(kind), "no process runs", "", None
    if len(rows) == 1:
        return _alike(kind, rows[0])
    alone = [row.inside[0] for row in rows if len(row.inside) == 1 and _is_private(row)]
    parts = []
    if len(alone) == len(rows):
        return str(kind), "each its own", "each its own", "own"
    for row in rows:
        if row.inside[0] in alone and len(row.inside) == 1:
            continue
        parts.append(f"{_named(row.inside)} {_meaning(row)}")
    if alone:
        parts.append(f"{_named(alone)} {'each its own' if len(alone) > 1 else 'its own'}")
    return str(kind), "; ".join(parts), "", None


def _alike(kind: NamespaceType, row: Sharing) -> Line:
    """All are in the same one."""
    if row.is_host:
        return str(kind), "the HOST's", "the HOST's", "host"
    if row.ino == ABSENT:
        return str(kind), "none: this kernel has no such type", "", None
    if row.ino == UNREADABLE:
        return str(kind), "not readable", "", None
    if len(row.inside) == 1 and not row.outside:
        return str(kind), "own", "own", "own"
    if row.outside:
        return str(kind), f"all one, {_with(row)}", "all one", "shared"
    return str(kind), "all one, the pod's own", "all one", "shared"


def _is_private(row: Sharing) -> bool:
    return row.ino > 0 and not row.is_host and not row.outside


def _meaning(row: Sharing) -> str:
    if row.is_host:
        return "the HOST's"
    if row.ino <= 0:
        return "not readable" if row.ino == UNREADABLE else "none"
    word = "share one" if len(row.inside) > 1 else "in one"
    return f"{word}, {_with(row)}" if row.outside else word


def _with(row: Sharing) -> str:
    """Whoever is in it from outside of the pod."""
    return f"with {', '.join(map(common.owner_text, row.outside))} from outside the pod"


def _named(owners: tuple[Owner, ...] | list[Owner]) -> str:
    names = [escape(owner.name) for owner in owners[:_NAMES]]
    more = f" and {len(owners) - _NAMES} more" if len(owners) > _NAMES else ""
    return ", ".join(names) + more


def as_json(pod: Pod) -> dict[str, Any]:
    """The pod for JSON."""
    return {
        "name": pod.name,
        "engine": pod.engine,
        "containers": [
            {"whose": whose(owner_of(each)), "pid": each.pid or None, "state": each.state}
            for each in pod.containers
        ],
        "namespaces": {
            str(kind): [
                {
                    "ns": row.ino if row.ino > 0 else None,
                    "is": _word(row),
                    "inside": [owner.name for owner in row.inside],
                    "outside": [whose(owner) for owner in row.outside],
                }
                for row in rows
            ]
            for kind, rows in pod.namespaces.items()
        },
    }


def _word(row: Sharing) -> str:
    """What a namespace is to the pod."""
    if row.is_host:
        return "host"
    if row.ino <= 0:
        return "absent" if row.ino == ABSENT else "unreadable"
    if row.outside:
        return "shared"
    return "pod" if len(row.inside) > 1 else "own"

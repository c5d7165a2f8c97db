"""Whose a namespace was that no process is in any more.

What tells: the state of a container that remembers the id of its mount namespace, which is never
used again in a boot, and with it the user namespace that owns that one and all else it owns; and
the names that programs give to namespaces by bind mounts, at paths which are theirs by custom.
"""

from __future__ import annotations

from nsctl.model.namespace import Namespace, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.snapshot import Snapshot
from nsctl.relate.groups import owner_of

_Key = tuple[NamespaceType, int]
# Directories of bind mounts: who puts them there, and what the name below is.
_NAMED: tuple[tuple[bytes, Owner], ...] = (
    (b"/run/docker/netns/", Owner("container", "sandbox {}", engine="docker")),
    (b"/var/run/docker/netns/", Owner("container", "sandbox {}", engine="docker")),
    (b"/run/netns/", Owner("service", "{}", engine="netns")),
    (b"/var/run/netns/", Owner("service", "{}", engine="netns")),
)


def former_owners(snapshot: Snapshot, without: list[Namespace]) -> dict[_Key, Owner]:
    """Tell whose namespaces without a process were.

    Args:
        snapshot: with namespaces, relations and holders; with containers, those are named.
        without: those of its namespaces that no process is in.

    Returns:
        For each namespace without a process of which it is known, the last owner.
    """
    empty = {(namespace.id.type, namespace.id.ino): namespace for namespace in without}
    found = _by_state(snapshot, empty)
    for key, namespace in empty.items():
        owner = None if key in found else _by_path(namespace)
        if owner is not None:
            found[key] = owner
    return found


def _by_state(snapshot: Snapshot, empty: dict[_Key, Namespace]) -> dict[_Key, Owner]:
    """Those of containers that remember their mount namespace."""
    ids = {each.mnt_ns_id: owner_of(each) for each in snapshot.containers if each.mnt_ns_id}
    found: dict[_Key, Owner] = {}
    owners: dict[int, Owner] = {}
    if not ids:
        return found
    for key, namespace in empty.items():
        owner = None if namespace.ns_id is None else ids.get(namespace.ns_id)
        if owner is not None and namespace.id.type is NamespaceType.MNT:
            found[key] = owner
            if (NamespaceType.USER, namespace.owner) in empty:
                owners[namespace.owner] = owner
    for key, namespace in empty.items():
        ino = key[1] if key[0] is NamespaceType.USER else namespace.owner
        if ino in owners:
            found.setdefault(key, owners[ino])
    return found


def _by_path(namespace: Namespace) -> Owner | None:
    """What the paths of its bind mounts say."""
    for holder in namespace.holders:
        for directory, owner in _NAMED:
            name = holder.path[len(directory) :]
            if holder.kind == "bind" and holder.path.startswith(directory) and b"/" not in name:
                text = name.decode("utf-8", "surrogateescape")
                return owner._replace(name=owner.name.format(text))
    return None

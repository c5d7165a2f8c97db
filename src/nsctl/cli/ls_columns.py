"""The columns of `nsctl ls`: lsns's, and what else is known of a namespace."""

from __future__ import annotations

import os
from collections.abc import Callable

from nsctl.cli import common
from nsctl.model.part import Part
from nsctl.model.record import NamedTuple
from nsctl.model.remember import once
from nsctl.model.snapshot import Snapshot
from nsctl.relate.listing import Row
from nsctl.report.escape import command_bytes
from nsctl.report.jsonout import whose
from nsctl.report.table import Column


class Facts:
    """What cells look up in a snapshot; each index is made once, and only if a cell wants it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.users = snapshot.users
        self._snapshot = snapshot

    @once
    def creators(self) -> dict[int, int | None]:
        """By its inode, the uid of whoever made a user namespace."""
        return {each.id.ino: each.owner_uid for each in self._snapshot.namespaces}

    @once
    def above(self) -> frozenset[int]:
        """Inodes of all that are the parent or the owner of another."""
        pairs = [(each.parent, each.owner) for each in self._snapshot.namespaces]
        return frozenset(ino for pair in pairs for ino in pair)

    @once
    def comms(self) -> dict[int, bytes]:
        """Command names, by process id."""
        return {task.pid: task.comm for task in self._snapshot.tasks}


class Output(NamedTuple):
    """One column that can be asked for.

    Attributes:
        column: how it is laid out.
        help: one line.
        value: its JSON value, as lsns writes it; text rows print it, None as nothing. A tuple
            has a text for each line of a cell.
        parts: what it needs besides what finds namespaces.
    """

    column: Column
    help: str
    value: Callable[[Facts, Row], object]
    parts: tuple[Part, ...] = ()


def _command(_: Facts, row: Row) -> bytes | None:
    if row.task is None:
        return None
    return command_bytes(row.task.command or b"") or row.task.comm


def _uid(facts: Facts, row: Row) -> int | None:
    if row.task is not None:
        return row.task.owner
    namespace = row.member.namespace
    if namespace.owner_uid is not None:
        return namespace.owner_uid
    return facts.creators.get(namespace.owner)


def _user(facts: Facts, row: Row) -> str | None:
    uid = _uid(facts, row)
    return None if uid is None else facts.users.get(uid, str(uid))


def _path(_: Facts, row: Row) -> str | None:
    return row.task and f"/proc/{row.task.pid}/ns/{row.member.namespace.id.type}"


def _netnsid(_: Facts, row: Row) -> str | None:
    number = row.member.namespace.netnsid
    if number is None:
        return None
    return str(number) if number >= 0 else "unassigned"


def _nsfs(_: Facts, row: Row) -> tuple[bytes, ...] | None:
    return row.member.namespace.nsfs_paths or None


def _held(facts: Facts, row: Row) -> bytes:
    """Say where to go and look: "proc", and without a process the holder itself."""
    if row.member.tasks and not row.member.holders:
        return b"proc"  # as nearly all
    holders = [holder for holder in row.member.holders if holder.kind != "kernel"]
    if row.member.tasks:
        return ",".join(dict.fromkeys(["proc", *(holder.kind for holder in holders)])).encode()
    if not holders:
        return b"namespaces" if row.member.namespace.id.ino in facts.above else b"?"
    first = holders[0]
    more = b" +%d" % (len(holders) - 1) if len(holders) > 1 else b""
    if first.kind == "bind":
        return b"bind " + first.path + more
    comm = facts.comms.get(first.pid, b"?")
    place = b"/%d" % first.fd if first.fd >= 0 else b""
    return b"%s %s[%d]%s" % (first.kind.encode(), comm, first.pid, place) + more


def _dev(_: Facts, row: Row) -> str:
    dev = row.member.namespace.id.dev
    return f"{os.major(dev)}:{os.minor(dev)}"


_OWNERS = (Part.CGROUPS, Part.CONTAINERS)

OUTPUTS: dict[str, Output] = {
    "NS": Output(
        Column("NS", right=True, hint=10),
        "namespace identifier (inode number)",
        lambda _, row: row.member.namespace.id.ino,
    ),
    "TYPE": Output(
        Column("TYPE", hint=5),
        "kind of namespace",
        lambda _, row: str(row.member.namespace.id.type),
    ),
    "PATH": Output(Column("PATH"), "path to the namespace", _path),
    "NPROCS": Output(
        Column("NPROCS", right=True, hint=5),
        "number of processes in the namespace",
        lambda _, row: row.nprocs,
    ),
    "PID": Output(
        Column("PID", right=True, hint=5),
        "lowest PID in the namespace",
        lambda _, row: row.task and row.task.pid,
    ),
    "PPID": Output(
        Column("PPID", right=True, hint=5),
        "PPID of the PID",
        lambda _, row: row.task and row.task.ppid,
    ),
    "COMMAND": Output(
        Column("COMMAND", shrink=True), "command line of the PID", _command, (Part.LEADERS,)
    ),
    "UID": Output(Column("UID", right=True), "UID of the PID", _uid),
    "USER": Output(Column("USER"), "username of the PID", _user),
    "NETNSID": Output(
        Column("NETNSID", right=True),
        "namespace ID as used by network subsystem",
        _netnsid,
        (Part.NETNSIDS,),
    ),
    "NSFS": Output(
        Column("NSFS", wrap=True),
        "nsfs mountpoint (usually used network subsystem)",
        _nsfs,
    ),
    "PNS": Output(
        Column("PNS", right=True, hint=10),
        "parent namespace identifier (inode number)",
        lambda _, row: row.member.namespace.parent,
    ),
    "ONS": Output(
        Column("ONS", right=True, hint=10),
        "owner namespace identifier (inode number)",
        lambda _, row: row.member.namespace.owner,
    ),
    "WHOSE": Output(
        Column("WHOSE", shrink=True),
        "container, service or process that the namespace belongs to",
        lambda _, row: common.whose_row(row.member),
        _OWNERS,
    ),
    "MEMBERS": Output(
        Column("MEMBERS", shrink=True),
        "everyone in the namespace",
        lambda _, row: [whose(owner) for owner in row.member.owners],
        _OWNERS,
    ),
    "HELD": Output(
        Column("HELD", shrink=True), "what keeps the namespace alive (? unknown)", _held
    ),
    "DEV": Output(Column("DEV"), "device of nsfs, major:minor", _dev),
    "NS_ID": Output(
        Column("NS_ID", right=True),
        "64-bit id of the namespace, never used again in a boot",
        lambda _, row: row.member.namespace.ns_id,
    ),
}
TEXT: dict[str, Callable[[Row], str]] = {
    "WHOSE": lambda row: (
        common.owners_text(row.member.owners)
        if row.member.owners or row.member.was is None
        else f"- was {common.owner_text(row.member.was)}"
    ),
    "MEMBERS": lambda row: ",".join(map(common.owner_text, row.member.owners)),
}
INTEGERS = frozenset({"NS", "NPROCS", "PID", "PPID", "UID", "PNS", "ONS", "NS_ID"})
LSNS = tuple(OUTPUTS)[: tuple(OUTPUTS).index("WHOSE")]
JSON_ONLY: dict[str, Output] = {
    "NETNSID_NUM": Output(
        Column("NETNSID_NUM"), "", lambda _, row: row.member.namespace.netnsid, (Part.NETNSIDS,)
    ),
    "NSFS_PATHS": Output(
        Column("NSFS_PATHS"),
        "",
        lambda _, row: [
            path.decode("utf-8", "surrogateescape") for path in row.member.namespace.nsfs_paths
        ],
    ),
    "PROCESSES": Output(
        Column("PROCESSES"), "", lambda _, row: [task.pid for task in row.member.tasks]
    ),
    "HOLDERS": Output(Column("HOLDERS"), "", lambda _, row: common.holder_rows(row.member.holders)),
}

"""`nsctl show TARGET`: the isolation card of one container, group, process or namespace."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping

from nsctl.cli import common, pick, show_json, show_pod
from nsctl.errors import UsageError
from nsctl.model import capabilities as capability
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, Holder, Namespace, NamespaceType
from nsctl.model.owner import Owner
from nsctl.model.part import CONTENTS, Part
from nsctl.model.snapshot import Snapshot
from nsctl.model.task import Credentials, Task
from nsctl.relate.find import Found, alone, find
from nsctl.relate.groups import Group
from nsctl.relate.host_files import HostFiles, host_files
from nsctl.relate.matrix import Cell, cells_of
from nsctl.relate.members import Membership
from nsctl.relate.pods import Pod, pod_of
from nsctl.relate.sees import Sight, sees
from nsctl.report.escape import clip, command_line, escape, escape_bytes
from nsctl.report.jsonout import document, envelope
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.units import counted, duration, extents, shift

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

PARTS = tuple(part for part in Part if part not in {Part.NETNSIDS, *CONTENTS})
# What keeps a namespace alive; it is no matter of a process's own card.
_HOLDING = frozenset(
    {
        Part.NSFS_PATHS,
        Part.DESCRIPTORS,
        Part.THREADS,
        Part.CHILDREN,
        Part.MOUNTED,
        Part.RINGS,
        Part.SOCKETS,
        Part.INFLIGHT,
    }
)

_SECCOMP = {0: "no seccomp filter", 1: "seccomp strict", 2: "seccomp filter"}
_ROLES: dict[str, Role] = {"own": "own", "host": "host", "shared": "shared"}
_LABEL = 8
_LEAST_ROOM = 20
_HOLDERS = 20
# A process may make its command line as long as it likes; on a terminal it is cut.
_COMMAND_LINES = 3


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "show",
        "Show how isolated one container, process or group is, or who is in one namespace.",
        "TARGET: a name or id, pod/NAME, a PID, PID:INODE, net:[INODE], the path of a namespace, "
        "@host.",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?")
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    if args.target is None:
        args.target = _pick(args.file, args.host_proc)
    target = common.target_of(args.target, args.file)
    parts = [part for part in PARTS if target.kind == "namespace" or part not in _HOLDING]
    snapshot = common.snapshot_of(args.file, args.host_proc, parts)
    found = alone(snapshot, find(snapshot, target))
    if args.json:
        sys.stdout.write(document("targets", [show_json.row(snapshot, found)], envelope(snapshot)))
    else:
        style = common.style(args.color)
        common.put(_text(snapshot, found, style))
        common.put(note(snapshot, style=style, parts=_concerned(snapshot, found)))
    return common.status(snapshot, strict=args.strict, parts=_concerned(snapshot, found))


def _pick(file: str | None, host_proc: str) -> str:
    """Let a person at a terminal choose a TARGET."""
    lacking = UsageError("show what? a TARGET is missing", "`nsctl` lists what there is")
    if not pick.possible():
        raise lacking
    chosen = pick.target(common.snapshot_of(file, host_proc, pick.PARTS))
    if chosen is None:
        raise lacking
    return chosen


def _concerned(snapshot: Snapshot, found: Found) -> frozenset[Part]:
    """The parts whose gaps can hide something of this card."""
    parts = set(PARTS)
    if found.namespace is not None:
        known = [found.namespace.namespace]
    else:
        parts -= _HOLDING
        inside = found.group.isolation if found.group else ()
        known = [ns for ns in snapshot.namespaces if ns.id.ino in inside]
    if not any(ns.id.type is NamespaceType.USER and ns.maps is None for ns in known):
        parts.discard(Part.ID_MAPS)
    if not any(ns.id.type is NamespaceType.TIME and ns.offsets is None for ns in known):
        parts.discard(Part.TIME_OFFSETS)
    return frozenset(parts)


def _text(snapshot: Snapshot, found: Found, style: Style) -> Iterator[str]:
    if found.namespace is not None:
        return _namespace(snapshot, found.namespace, style)
    if found.pod:
        return _pod(pod_of(snapshot, found.pod), style)
    if found.group is None:
        return _without_group(found, style)
    return _group(snapshot, found, found.group, style)


def _line(
    label: str, text: str, style: Style, word: str = "", role: Role | None = None
) -> Iterator[str]:
    """A line under a label, wrapped below itself where the terminal is narrow.

    Args:
        label: what stands in front of it.
        text: escaped text.
        style: its width is the terminal's.
        word: the beginning of the text, which is coloured.
        role: by what it means.
    """
    room = None if style.width is None else max(style.width - _LABEL - 1, _LEAST_ROOM)
    first, *others = wrap(style.text(text), room)
    if word and first.startswith(word):
        first = style.paint(word, role) + first[len(word) :]
    yield f" {label.ljust(_LABEL)}{first}"
    for line in others:
        yield " " * (_LABEL + 1) + line


def _pod(pod: Pod, style: Style) -> Iterator[str]:
    yield from _heading(*show_pod.heading(pod), style)
    for label, text, word, role in show_pod.lines(pod):
        yield from _line(label, text, style, word, role)


def _without_group(found: Found, style: Style) -> Iterator[str]:
    if found.container is not None:
        container = found.container
        yield from _heading(escape(container.name), _origin(container), style)
        yield from _line("state", f"{escape(container.state)}: no process runs in it", style)
        return
    task = found.task
    if task is not None:
        yield from _heading(_process(task), "", style)
        text = "a zombie: it has ended and holds nothing but its number"
        yield from _line("state", text, style)


def _heading(name: str, text: str, style: Style) -> Iterator[str]:
    """The first line: whom the card is about, and what else is said at once; wrapped too."""
    name = style.text(name)
    first, *others = wrap(f"{name}  {style.text(text)}".rstrip(" "), style.width)
    if first.startswith(name):
        first = style.paint(name, "heading") + first[len(name) :]
    yield from (first, *others)


def _origin(container: Container) -> str:
    image = f"  {escape(container.image)}" if container.image else ""
    return f"{escape(container.engine)}://{escape(container.id[:12])}{image}"


def _process(task: Task) -> str:
    return f"{escape_bytes(task.comm)}[{task.pid}]"


def _group(snapshot: Snapshot, found: Found, group: Group, style: Style) -> Iterator[str]:
    tasks = {task.pid: task for task in snapshot.tasks}
    leader = found.task or tasks[group.leader]
    age = duration(max(int(snapshot.uptime - leader.start / 100), 0))
    count = counted(len(group.pids), "process", "processes")
    owner = common.owner_text(group.owner)
    name = owner
    text = f"pid {leader.pid}  {count}"
    if found.container is not None:
        state = found.container.state
        told = "" if state == "running" else f"{escape(state).upper()}  "
        name, text = escape(found.container.name), f"{_origin(found.container)}  {told}{text}"
    elif found.task is not None and leader.pid != group.owner.pid:
        name = _process(leader)
        text = f"one of {count} of {owner}" if len(group.pids) > 1 else f"of {owner}"
    yield from _heading(name, f"{text}  up {age}", style)
    command = command_line(leader.command or b"") or escape_bytes(leader.comm)
    if style.width is not None:
        command = clip(command, _COMMAND_LINES * style.width)
    yield from _line("command", command, style)
    declared = dict(found.container.declared) if found.container else {}
    by_inode = {(ns.id.type, ns.id.ino): ns for ns in snapshot.namespaces}
    cells = dict(zip(TYPES, cells_of(snapshot, group), strict=True))
    for kind, cell in cells.items():
        meaning, rest = _meaning(cell, group.owner)
        detail = _detail(by_inode.get((kind, cell.ino)), cell)
        said = declared.get(kind)
        wish = f"declared {escape(said)}" if said else ""
        text = ", ".join(filter(None, (meaning + rest, detail, wish)))
        yield from _line(kind, text, style, meaning, _ROLES.get(cell.meaning))
    if leader.credentials is not None:
        users = cells[NamespaceType.USER]
        inner = None if users.meaning == "host" else by_inode.get((NamespaceType.USER, users.ino))
        who = _who(leader.credentials.uids[1], snapshot.users, inner)
        yield from _line("powers", _powers(leader.credentials, who), style)
    if group.owner.kind != "host":
        seen = _sight(sees(snapshot, group), host_files(snapshot, group))
        yield from _line("sees", seen, style)
    hints = f"nsctl ls -p {leader.pid} | nsctl tree -t user | nsctl matrix"
    yield from _line("next", hints, style)


def _meaning(cell: Cell, owner: Owner) -> tuple[str, str]:
    """The word that says what a namespace is, and what belongs to it.

    Whom a container of a pod shares it with in the pod stands apart from everybody else.
    """
    if cell.meaning == "shared":
        mates = [each for each in cell.shared_with if owner.pod and each.pod == owner.pod]
        others = [each for each in cell.shared_with if each not in mates]
        said = []
        if mates:
            names = ", ".join(
                escape(each.name) if each.engine == owner.engine else common.owner_text(each)
                for each in mates
            )
            said.append(f" within its pod, with {names}")
        if others:
            said.append(f" with {', '.join(map(common.owner_text, others))}")
        return "shared", "; and".join(said)
    words = {"own": "own", "host": "the HOST's", "unreadable": "not readable", "absent": "none"}
    return words[cell.meaning], ""


def _who(uid: int, users: Mapping[int, str], inner: Namespace | None) -> str:
    """Name a user: outside, and in a user namespace that is not the host's inside too."""
    name = escape(users.get(uid, f"uid {uid}"))
    if inner is None or inner.maps is None:
        return name
    for extent in inner.maps.uids:
        if 0 <= uid - extent.outside < extent.length:
            return f"uid {uid - extent.outside + extent.inside} inside, {name} outside"
    return f"no uid inside, {name} outside"


def _detail(namespace: Namespace | None, cell: Cell) -> str:
    """What a namespace adds to "own" or "shared": its map or its clocks."""
    if namespace is None or cell.meaning == "host":
        return ""
    if namespace.maps is not None:
        root = next((e.outside for e in namespace.maps.uids if e.inside == 0), None)
        inside = "root inside is nobody outside" if root is None else f"root inside is uid {root}"
        return f"{inside} (uids {extents(namespace.maps.uids)})"
    if cell.offsets is not None:
        boot, mono = shift(cell.offsets.boottime), shift(cell.offsets.monotonic)
        return f"boot time {boot}, monotonic {mono}"
    return ""


def _powers(credentials: Credentials, who: str) -> str:
    nnp = {None: "no_new_privs unknown", False: "no_new_privs off", True: "no_new_privs on"}
    seccomp = credentials.seccomp
    filters = credentials.seccomp_filters
    said = "seccomp unknown" if seccomp is None else _SECCOMP.get(seccomp, f"seccomp {seccomp}")
    if seccomp == 2 and filters is not None:
        said = counted(filters, "seccomp filter")
    caps = f"{capability.describe(credentials.caps.effective)} (effective)"
    if credentials.caps.bounding != credentials.caps.effective:
        caps += f", {capability.describe(credentials.caps.bounding)} (bounding)"
    return "; ".join((who, caps, nnp[credentials.no_new_privs], said))


_SEEN = {
    NamespaceType.MNT: "all of the host's mounts",
    NamespaceType.NET: "the host's interfaces and sockets",
    NamespaceType.IPC: "the host's System V and POSIX queues",
    NamespaceType.UTS: "the host's name",
    NamespaceType.CGROUP: "the host's cgroup tree",
    NamespaceType.TIME: "the host's clocks",
}


def _sight(sight: Sight, files: tuple[HostFiles, ...] | None) -> str:
    if sight.host_processes is None:
        return "unknown: its namespaces are not readable"
    words = [counted(sight.host_processes, "host process", "host processes")]
    if sight.other_processes:
        words.append(f"{sight.other_processes} of others")
    if NamespaceType.MNT not in sight.host_parts:
        words.append(_files(files))
    words += [_SEEN[kind] for kind in sight.host_parts if kind in _SEEN]
    return ", ".join(words)


def _files(files: tuple[HostFiles, ...] | None) -> str:
    """Say which of the host's directories are seen, the first few by name."""
    if files is None:
        return "unknown files of the host"
    if not files:
        return "no files of the host"
    if any(seen.path == b"/" for seen in files):
        return "the host's root file system"
    named = [f"{escape_bytes(f.path)} {'ro' if f.read_only else 'rw'}" for f in files[:3]]
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    count = counted(len(files), "host directory", "host directories")
    return f"{count} ({', '.join(named)}{more})"


def _namespace(snapshot: Snapshot, row: Membership, style: Style) -> Iterator[str]:
    namespace = row.namespace
    identity = namespace.id
    name = f"{identity.type}:[{identity.ino}]"
    yield from _heading(name, f"{identity.type.word} namespace", style)
    was = f"; it was {common.owner_text(row.was)}'s" if row.was else ""
    owners = ", ".join(map(common.owner_text, row.owners))
    yield from _line("whose", owners or f"no process is in it{was}", style)
    pids = " ".join(str(task.pid) for task in row.tasks[:20])
    more = f" and {len(row.tasks) - 20} more" if len(row.tasks) > 20 else ""
    yield from _line("nprocs", f"{len(row.tasks)}  {pids}{more}".rstrip(), style)
    for holder in row.holders[:_HOLDERS]:
        yield from _line("held", _held(holder, row.below), style)
    if len(row.holders) > _HOLDERS:
        yield from _line("", f"and by {len(row.holders) - _HOLDERS} more", style)
    if namespace.parent:
        yield from _line("parent", f"{identity.type}:[{namespace.parent}]", style)
    if namespace.owner:
        yield from _line("owner", f"user:[{namespace.owner}]", style)
    if namespace.owner_uid is not None:
        name = snapshot.users.get(namespace.owner_uid, "")
        known = f" ({escape(name)})" if name else ""
        yield from _line("creator", f"uid {namespace.owner_uid}{known}", style)
    if namespace.maps is not None:
        yield from _line("uids", extents(namespace.maps.uids), style)
        yield from _line("gids", extents(namespace.maps.gids), style)
    if namespace.offsets is not None:
        boot, mono = shift(namespace.offsets.boottime), shift(namespace.offsets.monotonic)
        yield from _line("clocks", f"boot time {boot}, monotonic {mono}", style)
    if namespace.ns_id is not None:
        yield from _line("id", f"{namespace.ns_id}, never used again in this boot", style)


def _held(holder: Holder, below: int) -> str:
    """Say what keeps a namespace alive, and where to find it.

    Args:
        holder: what keeps it.
        below: how many namespaces have it for their parent or owner.
    """
    process = f"process {holder.pid}"
    if holder.tid:
        process = f"thread {holder.tid} of {process}"
    descriptor = f"descriptor {holder.fd} of {process}"
    words = {
        "thread": f"{process} is in it",
        "child": f"waits for the next child of {process}",
        "fd": descriptor,
        "socket": f"a socket, {descriptor}",
        "tun": f"a network device of it, {descriptor}",
        "inflight": f"an unread message for {descriptor}",
        "ioring": f"registered with an io_uring, {descriptor}",
        "bind": f"bind mount {escape_bytes(holder.path)}",
        "kernel": f"{counted(below, 'namespace')} below it"
        if below
        else "nothing that was found; only the kernel's own lists lead to it",
    }
    return words[holder.kind]

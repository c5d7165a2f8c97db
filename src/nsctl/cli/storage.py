"""`nsctl storage [TARGET]`: where containers' files lie, who may reach them, who has them open."""

from __future__ import annotations

import stat
import sys
from collections.abc import Iterator

from nsctl import host
from nsctl.cli import common
from nsctl.errors import EXIT_INCOMPLETE, EXIT_OK, TargetError, UsageError
from nsctl.model.container import Container
from nsctl.model.owner import Owner
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Snapshot
from nsctl.model.storage import AuditRule
from nsctl.model.task import Task
from nsctl.paths.storage import Root, Storage, look
from nsctl.relate.find import find
from nsctl.relate.groups import owner_of
from nsctl.relate.storage import (
    Finding,
    Layer,
    Opened,
    Step,
    closed_at,
    findings,
    watched_by,
    writers,
)
from nsctl.report.escape import escape, escape_bytes
from nsctl.report.jsonout import Row, document, envelope, put_text, whose
from nsctl.report.note import note, wrap
from nsctl.report.style import Role, Style
from nsctl.report.table import Column, table
from nsctl.report.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_PARTS = (Part.TASKS, Part.CGROUPS, Part.COMMANDS, Part.NAMESPACES, Part.CONTAINERS)
_ROLES: dict[str, Role] = {"high": "bad", "medium": "bad", "low": "note"}
_SHOWN = 3


def arguments() -> argparse.ArgumentParser:
    """Make the command's parser."""
    parser = common.parser(
        "storage",
        "Show where engines keep what containers are made of, modes and owners of all that leads "
        "there and of the layers, who outside has files of a container open, and which audit "
        "rules watch it.",
    )
    parser.add_argument("target", metavar="TARGET", nargs="?", help="only this container")
    parser.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        help="list the engines' own processes and all layers",
    )
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    if args.file is not None or args.host_proc != "/proc":
        raise UsageError("files are those of the live host: neither --from nor --host-proc can be")
    target = None if args.target is None else common.target_of(args.target, None)
    snapshot = common.snapshot_of(None, "/proc", _PARTS)
    containers = [each for each in snapshot.containers if each.pid]
    owners = [owner_of(each) for each in containers]
    if target is not None:
        container, owner = _chosen(snapshot, args.target)
        containers, owners = [container], [owner]
    roots, gaps = host.find_storage(snapshot)
    if target is not None:
        roots = [root for root in roots if root.engine == containers[0].engine]
    found = look(snapshot, roots, containers, owners)
    if target is not None:
        # One whose layers lie in none of them is still its engine's.
        holding = tuple(root for root in found.roots if root.holds)
        found = found._replace(roots=holding or found.roots)
    kept = tuple(gap for gap in (*snapshot.gaps, *gaps) if gap.part is Part.CONTAINERS)
    closed = tuple(_closed(found))
    unique = tuple(dict.fromkeys((*kept, *found.gaps, *closed)))
    snapshot = snapshot._replace(gaps=unique, remarks=())
    if args.json:
        sys.stdout.write(_document(found, snapshot))
    else:
        style = common.style(args.color)
        common.put(_text(found, snapshot, style, verbose=args.verbose))
        common.put(note(snapshot, None, style))
    return EXIT_INCOMPLETE if args.strict and snapshot.gaps else EXIT_OK


def _owner_of_process(task: Task | None, owner: Owner) -> Owner:
    """Whose a process is: nobody's in particular, it is named itself, not who leads its group."""
    if task is None or owner.kind != "process":
        return owner
    return owner._replace(name=task.comm.decode("utf-8", "surrogateescape"), pid=task.pid)


def _closed(found: Storage) -> Iterator[Gap]:
    for index, cause in found.closed.items():
        what = f"files of {found.owners[index].name}"
        yield Gap(Part.MOUNTS, "storage", what, PartState.UNREADABLE, cause, "CAP_SYS_PTRACE")


def _chosen(snapshot: Snapshot, text: str) -> tuple[Container, Owner]:
    """The container that a TARGET leads to, or what stands for a process that is in none."""
    found = find(snapshot, common.target_of(text, None))
    container, group = found.container, found.group
    if container is None and group is not None:
        own = [each for each in snapshot.containers if owner_of(each) == group.owner]
        pid = found.task.pid if found.task is not None else group.leader
        container = own[0] if own else Container(group.owner.name, "", "", pid=pid)
        if not own:
            return container, _owner_of_process(found.task, group.owner)
    if container is None:
        raise TargetError("use", f"TARGET {text}", "no process of it has files to look at")
    if not container.pid:
        state = container.state or "stopped"
        raise TargetError("use", f"TARGET {text}", f"it does not run ({state})")
    return container, owner_of(container)


# --- Text ----------------------------------------------------------------------------------------


def _text(found: Storage, snapshot: Snapshot, style: Style, *, verbose: bool) -> Iterator[str]:
    if not found.roots and not found.containers:
        yield "No engine's storage was found."
    for root in found.roots:
        yield from _root(root, found, style, verbose=verbose)
        yield ""
    for index in range(len(found.containers)):
        yield from _container(index, found, style, verbose=verbose)
    if found.containers:
        yield ""
        yield from _opened(found, snapshot, style, verbose=verbose)
    yield from _audit(found, style)


def _root(root: Root, found: Storage, style: Style, *, verbose: bool) -> Iterator[str]:
    data = root.root
    by = f", daemon {data.daemon}" if data.daemon else ""
    of = f", of uid {data.user}" if data.user else ""
    seen = f", as process {data.pid} sees it" if data.pid else ""
    yield style.paint(style.text(f"{data.engine} {escape(data.path)}{by}{of}{seen}"), "heading")
    # What only one container's layers lie in is told with these.
    inner = [each for each in root.inner if verbose or _is_shared(each, root)]
    rows = []
    for step in (*root.steps, *inner):
        link = f" -> {escape_bytes(step.link)}" if step.link else ""
        mode = stat.filemode(step.mode) + ("+" if step.acl else "")
        rows.append([mode, f"{step.uid}:{step.gid}", escape_bytes(step.path) + link])
    columns = [Column("MODE"), Column("OWNER"), Column("PATH")]
    yield from table(columns, rows, style._replace(width=None), headings=False)
    for finding in _findings(root):
        word = style.paint(finding.severity.upper(), _ROLES[finding.severity])
        said = style.text(f"{escape_bytes(finding.path)}: {finding.text}")
        room = None if style.width is None else max(style.width - len(finding.severity) - 1, 20)
        first, *more = wrap(said, room)
        yield f"{word} {first}"
        yield from (f"{'':{len(finding.severity)}} {line}" for line in more)
    closed = closed_at(root.steps)
    if closed is not None:
        at = escape_bytes(closed.path)
        text = f"Others stop at {at} ({stat.S_IMODE(closed.mode):04o})."
        yield from wrap(style.text(text), style.width)
    rules = watched_by(_end(root), found.audit.rules) if not data.pid else []
    for rule in rules:
        yield style.text(f"Watched: {_rule(rule)}")


def _findings(root: Root) -> list[Finding]:
    found = findings(root.steps, _owners(root))
    for step in root.inner:
        found += writers(step, last=True)
    return found


def _is_shared(step: Step, root: Root) -> bool:
    """A directory right below the root."""
    return step.path.count(b"/") == _end(root).count(b"/") + 1


def _owners(root: Root) -> tuple[int, ...]:
    """Who may own what leads to a data root: an ordinary user what is his engine's."""
    return (0, root.root.user) if root.root.user else (0,)


def _end(root: Root) -> bytes:
    """Where a data root really lies, behind all links."""
    return root.steps[-1].path if root.steps else b""


def _container(index: int, found: Storage, style: Style, *, verbose: bool) -> Iterator[str]:
    layers = [layer for layer in found.layers if layer.container == index]
    name = common.owner_text(found.owners[index])
    if not layers:
        kind = found.kinds.get(index, "?")
        why = "its layers were not found" if kind == "overlay" else f"no layers, its root is {kind}"
        if cause := found.closed.get(index):
            why = f"its root may not be looked at ({cause})"
        yield style.text(f"{name}: {escape(why)}.")
        return
    lower = len([layer for layer in layers if layer.name != "upper"])
    upper = "" if layers[0].name == "upper" else "no upper layer and "
    yield style.text(f"{name}: {upper}{counted(lower, 'lower layer')}")
    shown = layers if verbose else layers[:_SHOWN]
    rows = [
        [
            f"  {layer.name}",
            stat.filemode(layer.mode),
            f"{layer.uid}:{layer.gid}",
            escape_bytes(layer.path) + _seen(layer),
        ]
        for layer in shown
    ]
    columns = [Column("LAYER"), Column("MODE"), Column("OWNER"), Column("PATH")]
    yield from table(columns, rows, style._replace(width=None), headings=False)
    if len(shown) < len(layers):
        yield f"  and {counted(len(layers) - len(shown), 'more layer')} (-v)"


def _seen(layer: Layer) -> str:
    return f" (as process {layer.pid} sees it)" if layer.pid else ""


def _opened(found: Storage, snapshot: Snapshot, style: Style, *, verbose: bool) -> Iterator[str]:
    names = {task.pid: (task.comm, task.owner) for task in snapshot.tasks}
    listed = [*found.opened, *(found.engines if verbose else ())]
    if listed:
        yield style.paint("Open from outside", "heading")
        rows = []
        for each in listed:
            comm, uid = names.get(each.pid, (b"?", -1))
            rows.append(
                [
                    common.owner_text(found.owners[each.container]),
                    f"{escape_bytes(comm)}[{each.pid}]",
                    str(uid),
                    each.how,
                    "rw" if each.writable else "r",
                    each.layer,
                    escape_bytes(each.path),
                ]
            )
        names_of = ("CONTAINER", "PROCESS", "UID", "HOW", "", "LAYER", "PATH")
        columns = [Column(name, right=name == "UID") for name in names_of]
        yield from table(columns, rows, style._replace(width=None))
    else:
        who = "Nobody outside" if not _some_unread(found) else "Nobody of those that could be read"
        text = f"{who} has a file or a working directory open in these containers' layers."
        yield from wrap(text, style.width)
    if found.engines and not verbose:
        pids = {each.pid for each in found.engines}
        yield f"{counted(len(pids), 'process', 'processes')} of the engines' own not listed (-v)."


def _some_unread(found: Storage) -> bool:
    return bool(found.gaps or found.closed)


def _audit(found: Storage, style: Style) -> Iterator[str]:
    rules, cause, is_known = found.audit
    if not rules:
        text = f"{'No audit rules' if is_known else 'Audit rules unknown'}: {escape(cause)}."
    else:
        watched = {rule for root in found.roots for rule in watched_by(_end(root), rules)}
        text = (
            f"{counted(len(watched), 'audit rule')} of {len(rules)} on paths concern these places."
        )
        if cause:
            text += f" Note: {escape(cause)}."
    yield from wrap(style.text(text), style.width)


def _rule(rule: AuditRule) -> str:
    where = "" if rule.source == "kernel" else f" (in {escape(rule.source)})"
    return f"{escape(rule.text)}{where}"


# --- JSON ----------------------------------------------------------------------------------------


def _document(found: Storage, snapshot: Snapshot) -> str:
    rows = [_root_row(root, found) for root in found.roots]
    about = envelope(snapshot)
    about["containers"] = [
        _container_row(index, container, found) for index, container in enumerate(found.containers)
    ]
    about["opened"] = [
        _opened_row(each, found, snapshot, engine=engine)
        for engine, many in ((False, found.opened), (True, found.engines))
        for each in many
    ]
    about["audit"] = {
        "known": found.audit.is_known,
        "rules": [_rule_row(rule) for rule in found.audit.rules],
        "cause": found.audit.cause or None,
    }
    return document("storage", rows, about)


def _root_row(root: Root, found: Storage) -> Row:
    data = root.root
    row: Row = {"engine": data.engine}
    put_text(row, "path", data.path.encode("utf-8", "surrogateescape"))
    row["seen_from"] = data.pid or None
    row["daemon"] = data.daemon or None
    row["user"] = data.user
    row["steps"] = [_step_row(step) for step in root.steps]
    row["inner"] = [_step_row(step) for step in root.inner]
    row["containers"] = [whose(found.owners[index]) for index in root.holds]
    closed = closed_at(root.steps)
    put_text(row, "closed_at", closed.path if closed is not None else None)
    row["findings"] = [_finding_row(each) for each in _findings(root)]
    rules = watched_by(_end(root), found.audit.rules) if not data.pid else []
    row["audit"] = [rule.text for rule in rules]
    return row


def _step_row(step: Step) -> Row:
    made: Row = {}
    put_text(made, "path", step.path)
    made["mode"] = f"{stat.S_IMODE(step.mode):04o}"
    made["uid"], made["gid"] = step.uid, step.gid
    put_text(made, "link", step.link or None)
    made["acl"] = step.acl
    return made


def _finding_row(finding: Finding) -> Row:
    row: Row = {"severity": finding.severity}
    put_text(row, "path", finding.path)
    row["text"] = finding.text
    return row


def _container_row(index: int, container: Container, found: Storage) -> Row:
    row: Row = {"whose": whose(found.owners[index]), "pid": container.pid}
    layers: list[Row] = []
    for layer in found.layers:
        if layer.container == index:
            made: Row = {"name": layer.name}
            put_text(made, "path", layer.path)
            made["mode"] = f"{stat.S_IMODE(layer.mode):04o}"
            made["uid"], made["gid"] = layer.uid, layer.gid
            made["seen_from"] = layer.pid or None
            layers.append(made)
    row["layers"] = layers
    row["root"] = "overlay" if layers else found.kinds.get(index)
    return row


def _opened_row(each: Opened, found: Storage, snapshot: Snapshot, *, engine: bool) -> Row:
    task = next((row for row in snapshot.tasks if row.pid == each.pid), None)
    row: Row = {"whose": whose(found.owners[each.container]), "pid": each.pid}
    put_text(row, "comm", None if task is None else task.comm)
    row["uid"] = None if task is None else task.owner
    row["how"], row["layer"], row["writable"] = each.how, each.layer, each.writable
    put_text(row, "path", each.path)
    row["engine"] = engine
    return row


def _rule_row(rule: AuditRule) -> Row:
    row: Row = {"source": rule.source, "text": rule.text}
    put_text(row, "path", rule.path)
    row["tree"], row["perm"], row["key"] = rule.tree, rule.perm or None, rule.key or None
    return row

"""`nsctl mounts [TARGET]`: a mount namespace's tree, and findmnt.

Without any option of findmnt's it is a view of our own. With one it prints what findmnt prints, of
TARGET's mounts. Called by the name of findmnt it is findmnt.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import partial

from nsctl import __version__
from nsctl.cli import common, findmnt
from nsctl.cli.findmnt_options import ABOUT, SEARCH, check
from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import EXIT_FAILED, EXIT_OK, NsctlError, TargetError, UsageError, translate
from nsctl.model.mount import Looked, Mount
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.mounts import wait
from nsctl.mounts.facts import OWN as OWN_ROOT
from nsctl.mounts.facts import Facts, layers
from nsctl.mounts.table import OWN, Table, own_list, read_table, with_unique_ids
from nsctl.relate.find import find
from nsctl.relate.members import memberships
from nsctl.relate.of_target import inodes_of
from nsctl.report.jsonout import document, envelope, ndjson
from nsctl.report.note import note

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.model.snapshot import Snapshot
    from nsctl.model.target import Target
    from nsctl.relate.mount_search import Found
    from nsctl.relate.mounts import Told
    from nsctl.report.jsonout import Row

_OWN_OPTIONS = (
    Option("changes", "", "no", "", "what TARGET changed in its upper layer"),
    Option("hidden", "", "no", "", "only what something lies over"),
    Option("layers", "", "no", "", "the directories of every overlay"),
    Option("view", "", "no", "", "the view of nsctl, whatever options of findmnt choose rows"),
    Option("ndjson", "", "no", "", "print one JSON object a line"),
    Option("from", "", "required", "file", "a saved snapshot in place of the live host"),
    Option("host-proc", "", "required", "dir", "the host's procfs, mounted here"),
    Option("strict", "", "no", "", "exit with 3 when something could not be read"),
    Option("color", "", "required", "when", "auto, always or never"),
)
OPTIONS = (*_OWN_OPTIONS, *SEARCH, *ABOUT)
OPERANDS = ("TARGET", "FILE")

_USAGE = """\
Usage:
 nsctl mounts [TARGET]
 nsctl mounts [options of findmnt] [TARGET [<device> | <mountpoint>] [<mountpoint>]]
 nsctl mounts --changes TARGET

The mounts of a mount namespace, also of one without a process: the tree, what is hidden and by
what, whose mounts appear where, detached and locked mounts, layers of overlays. Without TARGET,
those that nsctl sees itself. With an option of findmnt's but -J it prints what findmnt prints.

Options:
{own}

Options of findmnt:
{options}

Available output columns:
{columns}
"""
_PARTS = (
    *(Part.TASKS, Part.CGROUPS, Part.NAMESPACES, Part.RELATIONS, Part.CHILDREN, Part.THREADS),
    *(Part.NSFS_PATHS, Part.MOUNTED, Part.DESCRIPTORS, Part.MOUNTS, Part.CONTAINERS),
)
# What the view says nothing of when it could not be read.
_CONCERN = frozenset({Part.TASKS, Part.NAMESPACES, Part.MOUNTS, Part.CONTAINERS})
_MNT = TYPES.index(NamespaceType.MNT)
_OURS = frozenset(option.name for option in _OWN_OPTIONS)
# What choose rows: these say nothing of how they are printed.
_CHOOSE = frozenset(
    {"types", "options", "source", "target", "mountpoint", "submounts", "invert", "all", "real",
     "pseudo", "shadowed", "id", "uniq-id", "uniq", "direction", "first-only", "filter",
     "nocanonicalize", "task"}
)  # fmt: skip


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    given = parse(OPTIONS, words)
    _exclude(given)
    if given.has("help"):
        sys.stdout.write(
            _USAGE.format(
                own="\n".join(describe(_OWN_OPTIONS)),
                options="\n".join(describe((*SEARCH, *ABOUT))),
                columns=findmnt.column_help(),
            )
        )
    elif given.has("version"):
        sys.stdout.write(f"nsctl {__version__}\n")
    elif given.has("list-columns"):
        findmnt.list_columns(given)
    elif given.has("changes"):
        return _changes(given)
    else:
        return _run(given, words)
    return EXIT_OK


def drop_in(words: list[str]) -> int:
    """Be findmnt.

    Args:
        words: its command line.

    Returns:
        The exit status.
    """
    given = parse((*SEARCH, *ABOUT), words)
    check(given)
    if given.has("help"):
        sys.stdout.write(findmnt.help_text())
    elif given.has("version"):
        sys.stdout.write(findmnt.version_text())
    elif given.has("list-columns"):
        findmnt.list_columns(given)
    else:
        _hand_over(given, words)
        task = given.last("task")
        if task is not None and not _is_number(task):
            raise UsageError(f"--task takes the number of a process, not {task!r}")
        return _serve(given, words)
    return EXIT_OK


def _serve(given: Parsed, words: Sequence[str]) -> int:
    """Print what findmnt prints of the table that its own options name."""
    with Facts(OWN_ROOT) as facts:
        return findmnt.serve(given, _source(given, words, facts), given.operands)


def _exclude(given: Parsed) -> None:
    for one, other in (("from", "host-proc"), ("changes", "from"), ("json", "ndjson")):
        if given.has(one) and given.has(other):
            raise UsageError(f"only one of --{one}, --{other} can be given")
    check(given)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def _changes(given: Parsed) -> int:
    """What a container changed; another command's work under this one's name."""
    if len(given.operands) != 1:
        raise UsageError("--changes needs one TARGET", "nsctl mounts --changes web")
    run = importlib.import_module("nsctl.cli.changes").run
    status: int = run(
        given.operands[0],
        as_json=given.has("json"),
        strict=given.has("strict"),
        color=given.last("color") or "auto",
    )
    return status


def _hand_over(given: Parsed, words: Sequence[str]) -> None:
    """Become the installed findmnt, where fstab is wanted, or verified."""
    for name in ("fstab", "mtab", "verify"):
        if given.has(name):
            from nsctl.mounts import handover

            sys.stdout.flush()
            handover.exec_findmnt(words, f"--{name}")


def _source(given: Parsed, words: Sequence[str], facts: Facts) -> findmnt.Source:
    """Read the table that findmnt's own options name."""
    if given.last("kernel") == "listmount":
        return findmnt.Source(own_list(), facts)
    task = given.last("task")
    paths = given.all("tab-file")
    if task is not None:
        paths = [f"/proc/{int(task)}/mountinfo"]
    tables = [_read(path, words) for path in paths or [OWN]]
    mounts = [mount for table in tables for mount in table.mounts]
    wants_ids = given.has("uniq-id") or "UNIQ-ID" in (given.last("output") or "").upper()
    if wants_ids and len(tables) == 1 and tables[0].tid:
        mounts = with_unique_ids(mounts, tables[0].tid)
    path = (paths or [OWN])[0]
    later = partial(wait.tables, path)
    return findmnt.Source(mounts, facts, tables[0].tid, later, several=len(tables) > 1)


def _read(path: str, words: Sequence[str]) -> Table:
    try:
        table = read_table(path)
    except OSError as error:
        raise translate(error, "read", path) from error
    if table.other:
        from nsctl.mounts import handover

        sys.stdout.flush()
        handover.exec_findmnt(words, f"--tab-file {path}")
    for line in table.bad:
        common.say(NsctlError("read", f"{path}, line {line}", "it is no line of mountinfo"))
    return table


class _Chosen(NamedTuple):
    """What a command line leads to.

    Attributes:
        ns: inode of the mount namespace.
        mounts: its mounts, or those that one process sees.
        tid: the process that was named, 0 where none was.
    """

    ns: int
    mounts: tuple[Mount, ...]
    tid: int


def _run(given: Parsed, words: Sequence[str]) -> int:
    named = {name for name, _ in given.given} - _OURS
    as_json = given.has("json") or given.has("ndjson")
    own_view = as_json or given.has("view") or given.has("hidden") or not named - {"task"}
    task = given.last("task")
    if (not given.operands and not given.has("from") and not own_view) or (
        given.has("tab-file") or given.has("fstab") or given.has("mtab") or given.has("verify")
    ):
        stripped = _without_ours(words)
        _hand_over(given, stripped)
        if task is None or _is_number(task):
            return _serve(given, stripped)
    return _shown(given, own_view=own_view, as_json=as_json)


def _without_ours(words: Sequence[str]) -> list[str]:
    """Leave out the words that findmnt does not know."""
    left: list[str] = []
    queue = list(words)
    takes = {f"--{option.name}" for option in _OWN_OPTIONS if option.argument == "required"}
    while queue:
        word = queue.pop(0)
        if word in takes:
            queue = queue[1:]
        elif word.split("=")[0].removeprefix("--") not in _OURS or not word.startswith("--"):
            left.append(word)
    return left


def _shown(given: Parsed, *, own_view: bool, as_json: bool) -> int:
    """Show mounts out of a snapshot."""
    from nsctl.relate.mounts import tell

    file, proc_root = given.last("from"), given.last("host-proc") or "/proc"
    task = given.last("task")
    text = task if task is not None else next(iter(given.operands), None)
    operands = given.operands if task is not None else given.operands[1:]
    target = None if text is None else _target(text, file)
    snapshot = common.snapshot_of(file, proc_root, _PARTS)
    live = file is None
    chosen = _choose(snapshot, target)
    if task is not None and live and chosen.tid:
        chosen = chosen._replace(mounts=_as_seen(proc_root, chosen))
    known = {mount.id: layers(mount) for mount in chosen.mounts}
    overlays = {number: each for number, each in known.items() if each is not None}
    told = tell(snapshot, chosen.ns, chosen.mounts, overlays)
    looked = None
    if live and own_view:
        snapshot, looked = _look(snapshot, chosen, proc_root)
    pid = chosen.tid or next(iter(_pids(snapshot, chosen.ns)), 0)
    later = partial(wait.tables, f"{proc_root}/{pid}/mountinfo") if live and pid else None
    with Facts(_root(snapshot, chosen, proc_root) if live else "") as facts:
        source = findmnt.Source(chosen.mounts, facts, chosen.tid, later)
        if as_json:
            status = _print_json(given, snapshot, told, looked, source, operands)
        elif own_view:
            status = _print_view(given, snapshot, told, looked, source, operands)
        else:
            status = findmnt.serve(given, source, operands)
            sys.stdout.flush()
            lines = note(snapshot, parts=_CONCERN)
            sys.stderr.write("".join(f"{line}\n" for line in lines))
    return status or common.status(snapshot, strict=given.has("strict"), parts=_CONCERN)


def _target(text: str, file: str | None) -> Target:
    """Take a TARGET apart; what is a path here is most likely meant as findmnt takes one."""
    try:
        return common.target_of(text, file)
    except TargetError as error:
        if text.startswith("/") and not error.hint:
            error.hint = f"a mount point stands behind a TARGET: nsctl mounts @host {text}"
        raise


def _choose(snapshot: Snapshot, target: Target | None) -> _Chosen:
    """Find the mount namespace that is meant, and its table."""
    tid = 0
    if target is None:
        ns = snapshot.reader.ns[_MNT]
    else:
        found = find(snapshot, target)
        inodes = inodes_of(found, NamespaceType.MNT, memberships(snapshot))
        if not inodes:
            raise TargetError("show", f"mounts of {target.text}", "it does not run")
        # A container may have processes in several: its own first process's is meant.
        ns = found.group.isolation[_MNT] if found.group and not found.task else min(inodes)
        if found.task is not None:
            tid = found.task.pid
        elif found.container is not None:
            tid = found.container.pid
    if ns <= 0:
        raise NsctlError(
            "read",
            f"mounts of {target.text if target else 'this process'}",
            "the kernel does not tell which mount namespace it is in",
            "CAP_SYS_PTRACE would help",
        )
    mounts = snapshot.mounts.get(ns)
    if mounts is None:
        why = "no process there could be asked, and the kernel does not list them to us"
        raise NsctlError("read", f"mounts of mnt:[{ns}]", why, "CAP_SYS_ADMIN would help")
    return _Chosen(ns, mounts, tid)


def _as_seen(proc_root: str, chosen: _Chosen) -> tuple[Mount, ...]:
    """The table as one process sees it from its root directory."""
    path = f"{proc_root}/{chosen.tid}/mountinfo"
    try:
        seen = read_table(path).mounts
    except OSError as error:
        raise translate(error, "read", path) from error
    known = {mount.id: mount for mount in chosen.mounts}
    return tuple(
        known[mount.id]._replace(point=mount.point, fields=mount.fields)
        if mount.id in known
        else mount
        for mount in seen
    )


def _pids(snapshot: Snapshot, ns: int) -> list[int]:
    return [
        task.pid
        for task in snapshot.tasks
        if task.ns[_MNT] == ns and not task.kernel and task.state not in "ZX"
    ]


def _look(snapshot: Snapshot, chosen: _Chosen, proc_root: str) -> tuple[Snapshot, Looked]:
    """Ask the processes of the namespace what its table does not tell."""
    from nsctl.mounts.members import look

    every = [mount for table in snapshot.mounts.values() for mount in table]
    types = {mount.dev: mount.fs_type for mount in every}
    found = look(_pids(snapshot, chosen.ns), {mount.id for mount in every}, types, proc_root)
    gaps = list(snapshot.gaps)
    if any(gap.part is Part.MOUNTS for gap in snapshot.gaps):
        # What is in no table that was read may be in one that was not.
        found = found._replace(detached=())
        why = "not all mount tables could be read"
        gaps.append(Gap(Part.MOUNTS, proc_root, "detached mounts", PartState.UNREADABLE, why))
    if found.unread:
        count = len(found.unread)
        what = f"root directories and descriptors of {count} process{'es' if count > 1 else ''}"
        why, needs = "they belong to other users or have more powers", "CAP_SYS_PTRACE"
        gaps.append(Gap(Part.MOUNTS, proc_root, what, PartState.PARTIAL, why, needs, found.unread))
    return snapshot._replace(gaps=tuple(gaps)), found


def _root(snapshot: Snapshot, chosen: _Chosen, proc_root: str) -> str:
    """Whose root directory the table's paths are of."""
    if chosen.ns == snapshot.reader.ns[_MNT] and proc_root == "/proc" and not chosen.tid:
        return OWN_ROOT
    from nsctl.mounts.members import rooted_at_top

    pids = [chosen.tid] if chosen.tid else []
    pid = rooted_at_top([*pids, *_pids(snapshot, chosen.ns)], proc_root)
    return f"{proc_root}/{pid}/root" if pid else ""


def _found(
    given: Parsed,
    told: Told,
    source: findmnt.Source,
    operands: Sequence[str],
    *,
    tree: bool,
) -> Found:
    """The rows that are shown, in the order of the tree."""
    asked = findmnt.wanted(given, operands)
    chosen = findmnt.filter_of(given)
    context = findmnt.context_of(given, source)
    keeps = findmnt.keeper(chosen, context) if chosen is not None else None
    keep = keeps
    if given.has("hidden"):
        asked = asked._replace(tree=False)

        def keep(mount: Mount) -> bool:
            return mount.id in told.hidden and (keeps is None or keeps(mount))

    if not tree:
        asked = asked._replace(tree=False)
    return findmnt.find(given, source, asked, keep)


def _print_view(
    given: Parsed,
    snapshot: Snapshot,
    told: Told,
    looked: Looked | None,
    source: findmnt.Source,
    operands: Sequence[str],
) -> int:
    from nsctl.cli.mounts_view import view

    style = common.style(given.last("color") or "auto")
    found = _found(given, told, source, operands, tree=True)
    all_layers = given.has("layers")
    common.put(view(snapshot, told, found, looked, style, all_layers=all_layers))
    common.put(note(snapshot, None, style, parts=_CONCERN))
    return EXIT_FAILED if found.failed else EXIT_OK


def _print_json(
    given: Parsed,
    snapshot: Snapshot,
    told: Told,
    looked: Looked | None,
    source: findmnt.Source,
    operands: Sequence[str],
) -> int:
    from nsctl.cli import mounts_json

    names, ours = _json_names(given)
    tree = "TARGET" in names and not given.has("ndjson")
    context = findmnt.context_of(given, source)
    found = _found(given, told, source, operands, tree=tree)
    rows = [mounts_json.row(told, each, names, ours, context) for each in found.mounts]
    if given.has("ndjson"):
        sys.stdout.write(ndjson(rows))
        return EXIT_FAILED if found.failed else EXIT_OK
    roots: list[Row] = []
    children: dict[int, list[Row]] = {}
    for row, parent in zip(rows, found.parents, strict=True):
        if parent < 0:
            roots.append(row)
        else:
            children.setdefault(parent, []).append(row)
    for parent, below in children.items():
        rows[parent]["children"] = below
    member = told.members.get(told.ns)
    about: Row = {
        "ns": told.ns,
        "whose": None if member is None else common.whose_row(member),
        **mounts_json.looked(looked),
        **envelope(snapshot),
    }
    sys.stdout.write(document("filesystems", roots, about))
    return EXIT_FAILED if found.failed else EXIT_OK


def _json_names(given: Parsed) -> tuple[list[str], tuple[str, ...]]:
    """Columns of findmnt that are wanted, and keys of our own."""
    from nsctl.cli import mounts_json

    text = given.last("output")
    if text is None and not given.has("output-all"):
        sized = given.has("df") or given.has("dfi")
        names = findmnt.column_names(given) if sized else mounts_json.default_names()
        return names, mounts_json.OURS
    if text is None:
        return list(mounts_json.ORIGINAL), mounts_json.OURS
    words = text.removeprefix("+").split(",")
    ours = tuple(key for key in mounts_json.OURS if key in map(str.lower, words))
    theirs = [word for word in words if word.lower() not in ours]
    if text.startswith("+"):
        more = given._replace(given=(*given.given, ("output", "+" + ",".join(theirs))))
        if not theirs:
            return mounts_json.default_names(), mounts_json.OURS
        added = findmnt.column_names(more)
        return list(dict.fromkeys([*mounts_json.default_names(), *added])), mounts_json.OURS
    if not theirs:
        return [], ours
    return findmnt.column_names(given._replace(given=(("output", ",".join(theirs)),))), ours

"""What every view shares: options, where its snapshot comes from, how it ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Collection, Iterable, Sequence

from nsctl.errors import (
    EXIT_INCOMPLETE,
    EXIT_OK,
    NsctlError,
    Suppressed,
    TargetError,
    UsageError,
)
from nsctl.model.remember import remembered
from nsctl.report.escape import escape

TYPE_CHECKING = False
if TYPE_CHECKING:
    # Commands that take no snapshot, `enter` first of all, do not pay for these.
    import argparse
    from typing import NoReturn

    from nsctl.model.namespace import Holder, IdExtent, NamespaceType
    from nsctl.model.owner import Owner
    from nsctl.model.part import Part
    from nsctl.model.snapshot import Snapshot
    from nsctl.model.target import Target
    from nsctl.relate.find import Found
    from nsctl.relate.members import Membership
    from nsctl.report.style import Style


def parser(name: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """Make the parser of one command.

    Args:
        name: the command's name.
        description: what it does, a sentence.
        epilog: what stands under the options.

    Returns:
        A parser with --help, which raises `UsageError` on a mistake: what was typed is escaped
        and the exit status chosen where all other errors are.
    """
    import argparse

    class Parser(argparse.ArgumentParser):
        def error(self, message: str) -> NoReturn:
            raise UsageError(message, f"`{self.prog} --help` lists the options")

    return Parser(
        prog=f"nsctl {name}".strip(),
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def add_view_options(to: argparse.ArgumentParser) -> None:
    """Add what all views take."""
    output = to.add_argument_group("output")
    output.add_argument("-J", "--json", action="store_true", help="print JSON")
    output.add_argument(
        "--color", choices=("auto", "always", "never"), default="auto", help="colour the output"
    )
    source = to.add_argument_group("source")
    source.add_argument(
        "--from", dest="file", metavar="FILE", help="a saved snapshot in place of the live host"
    )
    source.add_argument(
        "--host-proc", metavar="DIR", help="the host's procfs, mounted here", default="/proc"
    )
    source.add_argument(
        "--strict", action="store_true", help="exit with 3 when something could not be read"
    )


def snapshot_of(
    file: str | None, host_proc: str, parts: Iterable[Part], *, ask_daemons: bool = False
) -> Snapshot:
    """Load the snapshot that was named, or take one.

    Args:
        file: a saved snapshot, or None for the live host.
        host_proc: where procfs is mounted.
        parts: what the view reads.
        ask_daemons: ask the engines' daemons too (see `nsctl.host.take_snapshot`).

    Returns:
        The snapshot; a part that was not asked for when it was saved is one of its gaps.

    Raises:
        NsctlError: it cannot be had.
        UsageError: both a file and a procfs were named.
    """
    from nsctl import host

    if file is None:
        return host.take_snapshot(parts, proc_root=host_proc, ask_daemons=ask_daemons)
    if host_proc != "/proc":
        raise UsageError("--from and --host-proc exclude each other")
    from nsctl.model.part import Gap, Part, PartState

    saved = host.load_snapshot(file)
    had = {part for part, state in saved.parts.items() if state is not PartState.NOT_ASKED}
    if Part.COMMANDS in had:
        had.add(Part.LEADERS)
    lacking = [
        Gap(part, file, str(part), PartState.UNREADABLE, "not asked for when it was saved")
        for part in parts
        if part not in had
    ]
    # What was not read of other parts is none of this view's business.
    concerned = {*parts, Part.TASKS, Part.NAMESPACES}
    gaps = [gap for gap in saved.gaps if gap.part in concerned]
    return saved._replace(gaps=(*gaps, *lacking))


def target_of(text: str, file: str | None) -> Target:
    """Take a TARGET apart, asking the kernel where it is a path or a pinned process.

    Args:
        text: as typed.
        file: the saved snapshot that is looked at, None for the live host.

    Raises:
        TargetError: it is none, or a path while a saved snapshot is looked at.
    """
    from nsctl.targets import syntax

    target = syntax.parse(text)
    if target.kind == "pid" and target.ino and file is None:
        from nsctl.targets import live

        return live.pin(target)
    if target.kind != "path":
        return target
    if file is not None:
        raise TargetError("use", f"TARGET {text}", "a saved snapshot has no paths of this host")
    from nsctl.targets import namespace_file

    return namespace_file.resolve(target)


def found_in(
    snapshot: Snapshot, target: Target | None, kind: NamespaceType
) -> tuple[Snapshot, Found | None]:
    """Find what a TARGET leads to, for a view of namespaces of one type.

    Args:
        snapshot: where it is looked for.
        target: the TARGET; None for everything.
        kind: the type that the view shows.

    Returns:
        The snapshot, whose first gap says where it may not be told which of these namespaces the
        TARGET is in; and what was found, None for everything.

    Raises:
        TargetError: it leads to nothing, or to several things.
    """
    from nsctl.relate.find import find
    from nsctl.relate.of_target import unread

    if target is None:
        return snapshot, None
    found = find(snapshot, target)
    gap = unread(found, kind, target.text)
    if gap is not None:
        snapshot = snapshot._replace(gaps=(gap, *snapshot.gaps))
    return snapshot, found


def style(colour: str = "auto") -> Style:
    """How standard output wants to be written to."""
    from nsctl.report.style import Style

    terminal, columns = sys.stdout.isatty(), 0
    if terminal:
        with Suppressed(OSError):
            columns = os.get_terminal_size(sys.stdout.fileno()).columns
    return Style.for_stream(
        isatty=terminal,
        environ=_environ(),
        columns=columns,
        colour_option=colour,
        encoding=sys.stdout.encoding,
    )


def _environ() -> dict[str, str]:
    """The environment as it was when the interpreter started.

    Where the locale is C, Python sets LC_CTYPE to C.UTF-8 (PEP 538); who chose C wants ASCII.
    """
    environ = dict(os.environ)
    chosen = environ.get("LC_ALL") or environ.get("LANG") or "C"
    coerced = {"C.UTF-8", "C.utf8", "UTF-8"}
    if chosen in {"C", "POSIX"} and environ.get("LC_CTYPE") in coerced:
        del environ["LC_CTYPE"]
    return environ


def put(lines: Iterable[str]) -> None:
    """Write lines to standard output."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))


def status(snapshot: Snapshot, *, strict: bool, parts: Collection[Part] | None = None) -> int:
    """The exit status of a view: incomplete counts only with ``--strict``.

    Args:
        snapshot: what the view was made from.
        strict: the option was given.
        parts: the parts that concern the view, None for all.
    """
    missing = any(parts is None or gap.part in parts for gap in snapshot.gaps)
    return EXIT_INCOMPLETE if strict and missing else EXIT_OK


def map_rows(ranges: Iterable[IdExtent]) -> list[dict[str, int]]:
    """A uid_map or gid_map for JSON."""
    return [{"inside": e.inside, "outside": e.outside, "count": e.length} for e in ranges]


def whose_row(row: Membership) -> dict[str, object] | None:
    """Whose a namespace is, or was before it had no process, for JSON."""
    from nsctl.report.jsonout import whose

    if row.owners:
        return whose(row.owners[0])
    return whose(row.was, was=row.was is not None)


def holder_rows(holders: Iterable[Holder]) -> list[dict[str, object]]:
    """What keeps a namespace alive, for JSON: the keys that apply."""
    from nsctl.report.jsonout import put_text

    rows: list[dict[str, object]] = []
    for holder in holders:
        row: dict[str, object] = {"kind": holder.kind}
        if holder.pid:
            row["pid"] = holder.pid
        if holder.tid:
            row["tid"] = holder.tid
        if holder.fd >= 0:
            row["fd"] = holder.fd
        if holder.path:
            put_text(row, "path", holder.path)
        if holder.mntns > 0:
            row["mntns"] = holder.mntns
        rows.append(row)
    return rows


def say(error: NsctlError, program: str = "nsctl") -> None:
    """Tell a person of an error: one sentence, and a hint where there is one."""
    indent = " " * len(f"{program}: ")
    hint = f"{indent}{escape(error.hint)}\n" if error.hint else ""
    with Suppressed(OSError):  # standard error itself may be closed, or full
        sys.stderr.write(f"{program}: {escape(error.sentence)}\n{hint}")


def for_each(names: Sequence[str], work: Callable[[str], object]) -> int:
    """Do the same to several things; what fails is told and does not stop the others.

    Args:
        names: what to do it to; each name is printed once it is done.
        work: does it, or raises.

    Returns:
        The exit status: that of the last failure, or 0.
    """
    status = EXIT_OK
    for name in names:
        try:
            work(name)
        except NsctlError as error:
            say(error)
            status = error.exit_status
        else:
            put([escape(name)])
    return status


def member_text(row: Membership) -> str:
    """Say whose a namespace is, escaped: its owners, or whose it was, or what keeps it.

    "web (docker)", "- was web (docker)", "- for children of sh[33]", "- held by bind, fd".
    """
    if row.owners:
        return owners_text(row.owners)
    if row.was is not None:
        return f"- was {owner_text(row.was)}"
    waiting = [holder.pid for holder in row.holders if holder.kind == "child"]
    if waiting:
        return f"- for children of process {waiting[0]}"
    kinds = sorted({holder.kind for holder in row.holders if holder.kind != "kernel"})
    if kinds:
        return f"- held by {', '.join(kinds)}"
    return "- kept by what it owns" if row.below else "- nobody is in it"


def owner_text(owner: Owner) -> str:
    """Name an owner for people, escaped: "web (docker)", "nginx.service", "sleep[4560]".

    A container in a pod is "app (cri, pod default:shop)", a process in a sandbox of bubblewrap is "sleep[4560] (bwrap)".
    """
    return "".join(_owner_words(owner))


@remembered(4096)
def _owner_words(owner: Owner) -> tuple[str, str]:
    """The name, and what stands behind it."""
    name = escape(owner.name)
    if owner.kind == "process":
        name = f"{name}[{owner.pid}]"
    pod = f", pod {escape(owner.pod)}" if owner.pod else ""
    return name, f" ({escape(owner.engine)}{pod})" if owner.engine else ""


def owners_text(owners: Sequence[Owner]) -> str:
    """Name the first of several owners and count the others: "web +1 (docker)".

    What only containers of one pod are in is the pod's: "pod default:shop (cri, 3 containers)".
    """
    if not owners:
        return "-"
    first = owners[0]
    if len(owners) > 1 and first.pod and len({(each.engine, each.pod) for each in owners}) == 1:
        return f"pod {escape(first.pod)} ({escape(first.engine)}, {len(owners)} containers)"
    name, place = _owner_words(first)
    more = f" +{len(owners) - 1}" if len(owners) > 1 else ""
    return f"{name}{more}{place}"

"""What every view shares: options, where its snapshot comes from, how it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Sequence

from nsctl import host
from nsctl.errors import EXIT_INCOMPLETE, EXIT_OK, NsctlError, TargetError, UsageError
from nsctl.model.owner import Owner
from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.model.target import Target
from nsctl.report.escape import escape
from nsctl.report.style import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def parser(name: str, description: str, epilog: str = "") -> argparse.ArgumentParser:
    """Make the parser of one command.

    Args:
        name: the command's name.
        description: what it does, a sentence.
        epilog: what stands under the options.

    Returns:
        A parser with --help; prints usage and exits with 2 on a mistake, as argparse does.
    """
    import argparse

    return argparse.ArgumentParser(
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


def snapshot_of(file: str | None, host_proc: str, parts: Iterable[Part]) -> Snapshot:
    """Load the snapshot that was named, or take one.

    Args:
        file: a saved snapshot, or None for the live host.
        host_proc: where procfs is mounted.
        parts: what the view reads.

    Returns:
        The snapshot.

    Raises:
        NsctlError: it cannot be had.
        UsageError: the saved snapshot lacks a part that the view reads.
    """
    if file is None:
        return host.take_snapshot(parts, proc_root=host_proc)
    if host_proc != "/proc":
        raise UsageError("--from and --host-proc exclude each other")
    return host.load_snapshot(file)


def target_of(text: str, file: str | None) -> Target:
    """Take a TARGET apart, asking the kernel where it is a path.

    Args:
        text: as typed.
        file: the saved snapshot that is looked at, None for the live host.

    Raises:
        TargetError: it is none, or a path while a saved snapshot is looked at.
    """
    from nsctl.targets import syntax

    target = syntax.parse(text)
    if target.kind != "path":
        return target
    if file is not None:
        raise TargetError("use", f"TARGET {text}", "a saved snapshot has no paths of this host")
    from nsctl.targets import namespace_file

    return namespace_file.resolve(target)


def style(colour: str = "auto") -> Style:
    """How standard output wants to be written to."""
    terminal, columns = sys.stdout.isatty(), 0
    if terminal:
        with contextlib.suppress(OSError):
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


def status(snapshot: Snapshot, *, strict: bool) -> int:
    """The exit status of a view: incomplete counts only with ``--strict``."""
    return EXIT_INCOMPLETE if strict and snapshot.gaps else EXIT_OK


def say(error: NsctlError) -> None:
    """Tell a person of an error: one sentence, and a hint where there is one."""
    sys.stderr.write(f"nsctl: {escape(error.sentence)}\n")
    if error.hint:
        sys.stderr.write(f"       {escape(error.hint)}\n")


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


def owner_text(owner: Owner) -> str:
    """Name an owner for people, escaped: "web (docker)", "nginx.service", "sleep[4560]"."""
    name = escape(owner.name)
    if owner.kind == "process":
        return f"{name}[{owner.pid}]"
    return f"{name} ({owner.engine})" if owner.engine else name


def owners_text(owners: Sequence[Owner]) -> str:
    """Name the first of several owners and count the others: "web +1 (docker)"."""
    if not owners:
        return "-"
    first = owner_text(owners[0])
    if len(owners) == 1:
        return first
    more = f" +{len(owners) - 1}"
    if not owners[0].engine:
        return first + more
    name, _, engine = first.rpartition(" ")
    return f"{name}{more} {engine}"

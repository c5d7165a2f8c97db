"""`nsctl snapshot FILE`: save this moment."""

from __future__ import annotations

import os

from nsctl import host
from nsctl.cli import common
from nsctl.errors import NsctlError
from nsctl.report.escape import escape
from nsctl.report.note import note
from nsctl.report.units import counted

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse


def arguments() -> argparse.ArgumentParser:
    """Make the parser of the command's options and operands."""
    parser = common.parser(
        "snapshot",
        "Save everything nsctl reads of this host to FILE, which views take with --from.",
        "The file has mode 0600: command lines can hold secrets.",
    )
    parser.add_argument("file", metavar="FILE")
    parser.add_argument("--host-proc", metavar="DIR", default="/proc", help="the host's procfs")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 3 when something could not be read"
    )
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status.
    """
    args = arguments().parse_args(words)
    # It is put in place by a rename, which would take the place of a device or a FIFO too.
    if os.path.lexists(args.file) and not os.path.isfile(args.file):
        raise NsctlError("save a snapshot to", args.file, "it is there and is no regular file")
    snapshot = host.take_snapshot(proc_root=args.host_proc)
    host.save_snapshot(snapshot, args.file)
    style = common.style()
    saved = counted(len(snapshot.tasks), "process", "processes")
    spaces = counted(len(snapshot.namespaces), "namespace")
    common.put([f"{escape(args.file)}: {saved}, {spaces}", *note(snapshot, style=style)])
    return common.status(snapshot, strict=args.strict)

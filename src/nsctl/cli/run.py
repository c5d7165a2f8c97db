"""`nsctl run ROOTFS [CMD]`: a container of our own, in all eight namespaces."""

from __future__ import annotations

import re
import sys

from nsctl.cli import common
from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import UsageError
from nsctl.model import capabilities as capability
from nsctl.model.container import Container
from nsctl.model.namespace import NamespaceType
from nsctl.report.escape import escape
from nsctl.run import lifecycle
from nsctl.run.spec import Spec

_TYPE_OPTIONS = {
    "mnt": NamespaceType.MNT,
    "pid": NamespaceType.PID,
    "network": NamespaceType.NET,
    "ipc": NamespaceType.IPC,
    "uts": NamespaceType.UTS,
    "userns": NamespaceType.USER,
    "cgroupns": NamespaceType.CGROUP,
    "time": NamespaceType.TIME,
}

OPTIONS = (
    Option("detach", "d", "no", "", "run in the background and print the name"),
    Option("name", "", "required", "name", "the container's name"),
    Option("rm", "", "no", "", "remove it when it has ended"),
    Option("env", "e", "required", "key=value", "set an environment variable"),
    Option("workdir", "w", "required", "dir", "where the command starts"),
    Option("hostname", "", "required", "name", "its host name; by default its name"),
    Option("read-only", "", "no", "", "a root that cannot be written"),
    Option("boottime", "", "required", "offset", "set the boot-time clock off (seconds, 2d, -3h)"),
    Option("monotonic", "", "required", "offset", "set the monotonic clock off"),
    *(
        Option(name, "", "required", "mode", f"{kind.word} namespace")
        for name, kind in _TYPE_OPTIONS.items()
    ),
    Option("cap-add", "", "required", "cap", "add a capability to the default 14"),
    Option("cap-drop", "", "required", "cap", "drop a capability, or ALL"),
    Option("dry-run", "", "no", "", "print the steps, do nothing"),
    Option("help", "h", "no", "", "display this help"),
)
OPERANDS = ("ROOTFS", "CMD")

_USAGE = """\
Usage:
 nsctl run [options] ROOTFS [CMD [ARG..]]

Run CMD (by default /bin/sh) in a container whose root is the directory ROOTFS, which is only
read: what the container changes goes to an OverlayFS layer of its own. Each of the eight
namespaces has a mode: private (the default), host, or container:NAME.

Options:
{options}

Exit status: the command's own once it started; 125 refused before, 126 not executable,
127 not found.
"""

_DURATION = re.compile(r"([+-]?)([0-9]{1,12})(?:\.([0-9]{1,9}))?([smhd]?)")
_FACTORS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The container's exit status, or 0 for a detached one.
    """
    given = parse(OPTIONS, words, stop_at_operand=True)
    if given.has("help"):
        sys.stdout.write(_USAGE.format(options="\n".join(describe(OPTIONS))))
        return 0
    spec = _spec(given)
    if given.has("dry-run"):
        common.put(_numbered(lifecycle.describe(spec)))
        return 0
    sys.stdout.flush()
    made = lifecycle.run(spec)
    if isinstance(made, Container):
        common.put([escape(made.name)])
        return 0
    return made


def _numbered(steps: list[str]) -> list[str]:
    lines = []
    for number, step in enumerate(steps, 1):
        first, *rest = step.split("\n")
        lines.append(f"{number:3}  {escape(first)}")
        lines += [f"     {escape(line)}" for line in rest]
    return lines


def _spec(given: Parsed) -> Spec:
    if not given.operands:
        raise UsageError("run what? a ROOTFS is missing", "`nsctl run --help` shows how")
    rootfs, *argv = given.operands
    namespaces = {
        str(kind): mode
        for name, kind in _TYPE_OPTIONS.items()
        if (mode := given.last(name)) is not None
    }
    return Spec(
        rootfs=rootfs,
        argv=tuple(argv or ["/bin/sh"]),
        name=given.last("name") or "",
        env=tuple(_pair(text) for text in given.all("env")),
        cwd=given.last("workdir") or "/",
        hostname=given.last("hostname") or "",
        namespaces=namespaces,
        boottime=_offset(given.last("boottime")),
        monotonic=_offset(given.last("monotonic")),
        detach=given.has("detach"),
        remove=given.has("rm"),
        read_only=given.has("read-only"),
        capabilities=_capabilities(given),
    )


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise UsageError(f"--env takes KEY=VALUE, not {text!r}")
    return key, value


def _offset(text: str | None) -> int:
    """Turn "2d", "-3h" or seconds with a fraction into nanoseconds."""
    if text is None:
        return 0
    match = _DURATION.fullmatch(text)
    if match is None:
        raise UsageError(f"a clock's offset is seconds, or 90m, 3h, 2d, not {text!r}")
    sign, whole, fraction, unit = match.groups()
    nanoseconds = int(whole) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    return (-1 if sign == "-" else 1) * nanoseconds * _FACTORS[unit]


def _capabilities(given: Parsed) -> int:
    held = capability.DEFAULT
    for name, word in given.given:
        if word is not None and name == "cap-add":
            held |= capability.mask([word])
        elif word is not None and name == "cap-drop":
            held &= ~capability.mask([word])
    return held

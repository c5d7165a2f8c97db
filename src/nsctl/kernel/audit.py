"""Rules of the kernel's audit that watch files, from the kernel and from files of rules.

Sources: linux/audit.h (struct audit_rule_data, struct audit_status), audit.rules(7), auditctl(8).
"""

from __future__ import annotations

import errno
import os
import shlex
import struct
from collections.abc import Iterator, Sequence

from nsctl.kernel import netlink
from nsctl.model.record import NamedTuple
from nsctl.model.storage import AuditRule

_NETLINK_AUDIT = 9
_AUDIT_GET = 1000
_AUDIT_LIST_RULES = 1013
_MAX_FIELDS = 64
_WATCH, _PERM, _DIR, _KEY = 105, 106, 107, 210
# Fields whose value is a text in the buffer, of the length that stands in its place.
_TEXTS = frozenset({13, 14, 15, 16, 17, 19, 20, 21, 22, 23, _WATCH, _DIR, 112, _KEY})
_RULE = struct.Struct("=III64I64I64I64II")
_STATUS = struct.Struct("=IIIIII")
_LETTERS = ((4, "r"), (2, "w"), (1, "x"), (8, "a"))
_LISTS = {0: "user", 1: "task", 3: "watch", 4: "exit", 5: "exclude", 6: "filesystem", 7: "io_uring"}
_ACTIONS = {0: "never", 1: "possible", 2: "always"}


class Status(NamedTuple):
    """State of the audit system.

    Attributes:
        enabled: 0 off, 1 on, 2 on until the next boot.
        daemon: the process that takes its records, 0 for none.
    """

    enabled: int
    daemon: int


def status() -> Status:
    """Ask the kernel for the state of its audit system.

    Raises:
        OSError: EPERM without CAP_AUDIT_CONTROL in the initial user and PID namespaces,
            ECONNREFUSED outside of the initial ones, EPROTONOSUPPORT on a kernel without audit.
        NetlinkError: it answered with something else.
    """
    for message in _ask(_AUDIT_GET):
        if message.type == _AUDIT_GET:
            _, enabled, _, daemon, _, _ = netlink.unpack(_STATUS, message.body)
            return Status(enabled, daemon)
    raise netlink.NetlinkError("audit gave no status")


def rules() -> list[AuditRule]:
    """Ask the kernel for its rules; only those that watch a path are returned.

    Raises:
        OSError: as `status`.
        NetlinkError: it answered with something else.
    """
    bodies = [each.body for each in _ask(_AUDIT_LIST_RULES) if each.type == _AUDIT_LIST_RULES]
    return [rule for body in bodies if (rule := parse_rule(body))]


def _ask(kind: int) -> Iterator[netlink.Message]:
    fd = netlink.open_socket(_NETLINK_AUDIT)
    try:
        netlink.request(fd, kind, b"")
        while True:
            for message in netlink.messages(netlink.receive(fd)):
                if message.type in {netlink.NLMSG_ERROR, netlink.NLMSG_DONE}:
                    if number := netlink.check(message):
                        raise OSError(number, os.strerror(number))
                    return
                yield message
                if kind == _AUDIT_GET and message.type == kind:
                    return
    finally:
        os.close(fd)


def parse_rule(raw: bytes) -> AuditRule | None:
    """Parse one rule as the kernel gives it.

    Args:
        raw: struct audit_rule_data.

    Returns:
        None for a rule that watches no path.

    Raises:
        NetlinkError: it is cut short.
    """
    numbers = netlink.unpack(_RULE, raw)
    flags, action, count = numbers[:3]
    if count > _MAX_FIELDS:
        raise netlink.NetlinkError("an audit rule with too many fields")
    fields = numbers[3 + 64 : 3 + 128]
    values = numbers[3 + 128 : 3 + 192]
    at = _RULE.size
    path, perm, key, tree = b"", "", "", False
    for field, value in zip(fields[:count], values[:count], strict=True):
        text = b""
        if field in _TEXTS:
            if at + value > len(raw):
                raise netlink.NetlinkError("an audit rule cut short")
            text = raw[at : at + value]
            at += value
        if field in {_WATCH, _DIR}:
            path, tree = text, field == _DIR
        elif field == _PERM:
            perm = "".join(letter for bit, letter in _LETTERS if value & bit)
        elif field == _KEY:
            key = text.decode("utf-8", "surrogateescape")
    if not path:
        return None
    name = os.fsdecode(path)
    words = [f"-a {_ACTIONS.get(action, '?')},{_LISTS.get(flags & 0xF, '?')}"]
    words.append(f"-F {'dir' if tree else 'path'}={name}")
    words += [f"-F perm={perm}"] if perm else []
    words += [f"-k {key}"] if key else []
    return AuditRule(path, tree, perm, key, " ".join(words), "kernel")


def parse_rules(raw: bytes, source: str) -> list[AuditRule]:
    """Parse a file of rules (audit.rules(7)).

    Args:
        raw: its content; what is no rule that watches a path is passed over.
        source: its path.
    """
    found = []
    for line in raw.split(b"\n"):
        text = line.decode("utf-8", "surrogateescape").strip(" \t\r")
        if not text or text.startswith("#"):
            continue
        try:
            words = shlex.split(text)
        except ValueError:  # a quote that does not end: auditctl(8) would refuse it
            continue
        if rule := _of_words(words, text, source):
            found.append(rule)
    return found


def _of_words(words: Sequence[str], text: str, source: str) -> AuditRule | None:
    path, perm, key, tree = "", "", "", False
    never = False
    at = iter(words)
    for word in at:
        if word not in {"-w", "-p", "-k", "-F", "-a", "-A"}:
            continue
        value = next(at, "")
        if word == "-w":
            # A directory is watched with all that is in it.
            path, tree = value, True
        elif word == "-p":
            perm = value
        elif word == "-k":
            key = value
        elif word in {"-a", "-A"}:
            never = "never" in value.split(",")
        else:
            name, _, given = value.partition("=")
            if name in {"dir", "path"}:
                path, tree = given, name == "dir"
            elif name == "perm":
                perm = given
            elif name == "key":
                key = given
    if not path or never:
        return None
    return AuditRule(os.fsencode(path.rstrip("/") or "/"), tree, perm, key, text, source)


REFUSED = frozenset({errno.EPERM, errno.EACCES, errno.ECONNREFUSED})
"""What the kernel says to who may not ask."""
NONE = frozenset({errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT})
"""What a kernel says that has no audit."""

"""The host's accounts and subordinate ids, from its files: passwd(5), group(5), subuid(5).

Files and nothing else: a name service may have a hundred thousand users, or hang.
"""

from __future__ import annotations

import os

from nsctl.discovery.draft import Draft
from nsctl.errors import refused
from nsctl.kernel import below
from nsctl.model.accounts import Account, Accounts, Grant
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_MNT = TYPES.index(NamespaceType.MNT)
_LIMIT = 1 << 24
_LARGEST = 4294967295
_RANGE = ("UID_MIN", "UID_MAX", "GID_MIN", "GID_MAX")


def run(draft: Draft) -> None:
    """Read them."""
    root = "/"
    if draft.reference.ns[_MNT] != draft.reader.ns[_MNT]:
        if draft.reference.basis == "pid1":
            root = f"{draft.proc.root}/{draft.reference.pid}/root"
        else:
            _note(draft, "accounts of the host", "nsctl runs on another root: its own are taken")
    texts = {name: _read(draft, root, name) for name in ("passwd", "group", "subuid", "subgid")}
    limits = parse_login_defs(_read(draft, root, "login.defs"))
    draft.accounts = Accounts(
        parse_accounts(texts["passwd"]),
        parse_accounts(texts["group"]),
        parse_grants(texts["subuid"]),
        parse_grants(texts["subgid"]),
        *(limits.get(name, usual) for name, usual in zip(_RANGE, (1000, 60000) * 2, strict=True)),
    )
    if _asks_others(_read(draft, root, "nsswitch.conf")):
        _note(draft, "subordinate ids of a name service", "nsswitch.conf names one for subid")


def _read(draft: Draft, root: str, name: str) -> bytes:
    """Read a file below /etc; b"" where there is none."""
    try:
        return below.read_file(root, f"etc/{name}", _LIMIT).data
    except FileNotFoundError:
        return b""
    except OSError as error:
        if not refused(error):
            raise
        _note(draft, f"/etc/{name} of the host", os.strerror(error.errno or 0))
        return b""


def _note(draft: Draft, what: str, cause: str) -> None:
    draft.gaps.append(Gap(Part.ACCOUNTS, "/etc", what, PartState.PARTIAL, cause))


def parse_accounts(raw: bytes) -> tuple[Account, ...]:
    """Parse passwd(5) or group(5): the name is the first field, the number the third.

    Returns:
        One row a line of that form, in the file's order.
    """
    found = []
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 3 and fields[0] and (number := _number(fields[2])) is not None:
            found.append(Account(os.fsdecode(fields[0]), number))
    return tuple(found)


def parse_grants(raw: bytes) -> tuple[Grant, ...]:
    """Parse subuid(5) or subgid(5), "owner:first:count" a line.

    Returns:
        One row a line of that form that gives any ids, in the file's order.
    """
    found = []
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) != 3 or not fields[0]:
            continue
        first, count = _number(fields[1]), _number(fields[2])
        if first is not None and count:
            found.append(Grant(os.fsdecode(fields[0]), first, count))
    return tuple(found)


def parse_login_defs(raw: bytes) -> dict[str, int]:
    """Find the ids that people are given in login.defs(5).

    Returns:
        UID_MIN, UID_MAX, GID_MIN and GID_MAX, those that are set.
    """
    found = {}
    for line in raw.replace(b"\t", b" ").split(b"\n"):
        words = [word for word in line.split(b" ") if word]
        name = words[0].decode("ascii", "replace") if words else ""
        if name in _RANGE and len(words) > 1 and (number := _number(words[1])) is not None:
            found[name] = number
    return found


def _asks_others(raw: bytes) -> bool:
    """Tell whether subordinate ids come from more than files (nsswitch.conf(5))."""
    for line in raw.replace(b"\t", b" ").split(b"\n"):
        key, colon, value = line.partition(b"#")[0].partition(b":")
        if colon and key.strip(b" ") == b"subid":
            return value.strip(b" ") not in {b"files", b""}
    return False


def _number(text: bytes) -> int | None:
    return int(text) if text.isdigit() and len(text) <= 10 and int(text) <= _LARGEST else None

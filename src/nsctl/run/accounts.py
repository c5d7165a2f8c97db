"""Who a container's command runs as: user strings, resolved by the root file system's own files.

Those files are the image's: they are opened with that directory as their root, bounded, and only
where they are regular files. Sources: passwd(5), group(5), the OCI image specification's config.md.
"""

from __future__ import annotations

import errno

from nsctl.errors import NsctlError, UsageError, translate
from nsctl.kernel import below
from nsctl.model.record import NamedTuple

_LIMIT = 4 << 20
_LAST_ID = 0xFFFFFFFE


class Account(NamedTuple):
    """Who a command runs as, in the container's own numbers.

    Attributes:
        uid: user.
        gid: group.
        groups: supplementary groups; the group is one of them, so that a set-group-ID program
            does not lose it (CVE-2022-36109).
        home: the home directory, "" where nothing says one.
    """

    uid: int
    gid: int
    groups: tuple[int, ...] = ()
    home: str = ""


def resolve(text: str, rootfs: str) -> Account:
    """Resolve "user", "uid", "user:group" and so on.

    Args:
        text: as typed, or as an image says it.
        rootfs: the directory with the root file system.

    Returns:
        The account. A number that no line of /etc/passwd has keeps group 0; of a user that was
        named without a group the supplementary groups are those of /etc/group.

    Raises:
        UsageError: there is no such user or group there, or the text is none.
        NsctlError: the files cannot be read.
    """
    user, colon, group = text.partition(":")
    if not user or (colon and not group) or ":" in group or "\n" in text:
        raise UsageError(f"{text!r} is no user", "give UID, NAME, UID:GID or NAME:GROUP")
    found = _user(user, rootfs)
    if colon:
        gid = _group(group, rootfs)
        return found._replace(gid=gid, groups=(gid,))
    return found


def _number(text: str) -> int | None:
    """A number of a user or group, None for a name."""
    if not (text.isascii() and text.isdecimal()):
        return None
    if len(text) > 10 or int(text) > _LAST_ID:
        raise UsageError(f"{text} is no user or group id", f"they end at {_LAST_ID}")
    return int(text)


def _user(text: str, rootfs: str) -> Account:
    number = _number(text)
    for fields in _lines(rootfs, "etc/passwd", 7):
        uid, gid = _id(fields[2]), _id(fields[3])
        if uid is None or gid is None:
            continue
        # A name that is all digits is a number, as for everybody else.
        if (number is None and fields[0] == text.encode()) or number == uid:
            home = fields[5].decode("utf-8", "surrogateescape")
            home = home if home.startswith("/") and "\0" not in home else ""
            return Account(uid, gid, _memberships(fields[0], gid, rootfs), home)
    if number is None:
        raise UsageError(
            f"there is no user {text} in the root file system's /etc/passwd", "give its number"
        )
    return Account(number, 0, (0,))


def _group(text: str, rootfs: str) -> int:
    number = _number(text)
    if number is not None:
        return number
    for fields in _lines(rootfs, "etc/group", 4):
        gid = _id(fields[2])
        if fields[0] == text.encode() and gid is not None:
            return gid
    raise UsageError(
        f"there is no group {text} in the root file system's /etc/group", "give its number"
    )


def _memberships(name: bytes, own: int, rootfs: str) -> tuple[int, ...]:
    found = [own]
    for fields in _lines(rootfs, "etc/group", 4):
        gid = _id(fields[2])
        if gid is not None and name and name in fields[3].split(b","):
            found.append(gid)
    return tuple(dict.fromkeys(found))


def _id(raw: bytes) -> int | None:
    if not raw.isdigit() or len(raw) > 10 or int(raw) > _LAST_ID:
        return None
    return int(raw)


def _lines(rootfs: str, path: str, fields: int) -> list[list[bytes]]:
    """The lines of a file that have so many fields, none where there is no such file."""
    try:
        content = below.read_file(rootfs, path, _LIMIT)
    except OSError as error:
        if error.errno in {errno.ENOENT, errno.ENOTDIR}:
            return []
        raise translate(error, "read", f"/{path} of the root file system") from error
    if not content.whole:
        raise NsctlError("read", f"/{path} of the root file system", "it is too long")
    rows = [line.split(b":") for line in content.data.split(b"\n")]
    return [row for row in rows if len(row) == fields]

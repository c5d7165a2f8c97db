"""/proc/PID/mountinfo, line by line: proc_pid_mountinfo(5)."""

from __future__ import annotations

import os

from nsctl.model.mount import Mount
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_OCTAL = frozenset(b"01234567")


class MountLine(NamedTuple):
    """One line. Paths and strings are raw bytes with the kernel's octal escapes undone.

    Attributes:
        mount_id: unique until unmounted, then used again.
        parent_id: the mount it is mounted on, or its own where that is out of sight.
        major: device number of the file system.
        minor: device number of the file system.
        root: which path of the file system is mounted.
        mount_point: relative to the root directory of the process that was asked about.
        options: per-mount options ("rw", "nosuid", ..).
        fields: optional fields, tag and value ("shared" and 3; "unbindable" and 0).
        fs_type: file system type, "type.subtype" for some.
        source: file-system specific, "none" for nothing.
        super_options: options of the superblock.
    """

    mount_id: int
    parent_id: int
    major: int
    minor: int
    root: bytes
    mount_point: bytes
    options: tuple[bytes, ...]
    fields: tuple[tuple[str, int], ...]
    fs_type: bytes
    source: bytes
    super_options: bytes


def unescape(raw: bytes) -> bytes:
    r"""Undo the kernel's octal escapes (``\040`` for a blank).

    Args:
        raw: one field as the kernel wrote it.

    Returns:
        The bytes that it stands for.
    """
    if b"\\" not in raw:
        return raw
    # By hand: a regular expression costs every list of namespaces 2 ms of start-up.
    first, *others = raw.split(b"\\")
    pieces = [first]
    for piece in others:
        digits = piece[:3]
        if len(digits) == 3 and _OCTAL.issuperset(digits):
            pieces += (bytes([int(digits, 8) & 0xFF]), piece[3:])
        else:
            pieces += (b"\\", piece)
    return b"".join(pieces)


class NsfsMount(NamedTuple):
    """A bind mount of a namespace.

    Attributes:
        type: of the namespace, as the kernel spells it.
        ino: inode of the namespace.
        point: mount point, raw bytes.
        mount_id: unique until unmounted; fdinfo shows it too.
    """

    type: str
    ino: int
    point: bytes
    mount_id: int


def _split(line: bytes) -> tuple[list[bytes], int, int, int]:
    """Take one line apart.

    Returns:
        Its words, of which at least three follow the separator; where that is; and the numbers of
        the device.
    """
    words = line.split(b" ")
    try:
        separator = words.index(b"-", 6)
        _, _, _ = words[separator + 1 : separator + 4]
        major, minor = map(int, words[2].split(b":"))
    except ValueError:
        raise ValueError(f"not a line of mountinfo: {line!r}") from None
    if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):
        raise ValueError(f"no device number in a line of mountinfo: {line!r}")
    return words, separator, major, minor


def parse_line(line: bytes) -> MountLine:
    """Parse one line.

    Raises:
        ValueError: the line is not whole.
    """
    words, separator, major, minor = _split(line)
    fs_type, source, super_options = words[separator + 1 : separator + 4]
    fields = []
    for word in words[6:separator]:
        tag, _, value = word.partition(b":")
        fields.append((tag.decode("ascii", "replace"), int(value or 0)))
    return MountLine(
        mount_id=int(words[0]),
        parent_id=int(words[1]),
        major=major,
        minor=minor,
        root=unescape(words[3]),
        mount_point=unescape(words[4]),
        options=tuple(words[5].split(b",")),
        fields=tuple(fields),
        fs_type=unescape(fs_type),
        source=unescape(source),
        super_options=unescape(super_options),
    )


def parse_mount(line: bytes) -> Mount:
    """Parse one line as a row of a mount table.

    Raises:
        ValueError: the line is not whole.
    """
    words, separator, major, minor = _split(line)
    fs_type, source, super_options = words[separator + 1 : separator + 4]
    options = words[5]
    return Mount(
        id=int(words[0]),
        parent=int(words[1]),
        dev=os.makedev(major, minor),
        root=unescape(words[3]),
        point=unescape(words[4]),
        read_only=b"ro" in options.split(b",") or b"ro" in super_options.split(b","),
        fs_type=unescape(fs_type).decode("utf-8", "surrogateescape"),
        source=unescape(source),
        options=options,
        fields=b" ".join(words[6:separator]),
        super_options=super_options,
    )


def parse(raw: bytes) -> list[MountLine]:
    """Parse a whole mountinfo, in the kernel's order.

    Raises:
        ValueError: a line that is not whole.
    """
    return [parse_line(line) for line in raw.split(b"\n") if line]


def nsfs_mounts(raw: bytes) -> list[NsfsMount]:
    """Find the bind mounts of namespaces.

    Args:
        raw: a whole mountinfo.

    Returns:
        One row a mount, in the kernel's order.

    Raises:
        ValueError: a line that is not whole.
    """
    found = []
    for mount in _of_nsfs(raw):
        root = parse_nsfs_root(mount.root)
        if root is not None:
            found.append(NsfsMount(*root, mount.mount_point, mount.mount_id))
    return found


def parse_nsfs_root(root: bytes) -> tuple[str, int] | None:
    """Parse which namespace a mount of nsfs is, from what it shows as its root.

    Args:
        root: "net:[4026531840]".

    Returns:
        Type as the kernel spells it and inode, None for a text of another form.
    """
    kind, bracket, inode = root.partition(b":[")
    if bracket and inode.endswith(b"]") and inode[:-1].isdigit():
        return kind.decode("ascii", "replace"), int(inode[:-1])
    return None


def _of_nsfs(raw: bytes) -> Iterator[MountLine]:
    if b" - nsfs " not in raw:
        return
    for line in raw.split(b"\n"):
        # Options at the end of another file system's line may hold the same words.
        if b" - nsfs " in line and (mount := parse_line(line)).fs_type == b"nsfs":
            yield mount

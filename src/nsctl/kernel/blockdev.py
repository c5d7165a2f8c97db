"""What block devices are called: labels and ids of the file systems on them and of partitions.

udev keeps what it found (/run/udev/data). Where it does not run, the superblock is read, of the
file systems that containers and their hosts are on: ext, XFS, Btrfs, FAT and EROFS.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat

from nsctl.kernel.procfs import read_file

_UDEV = {
    "UUID": b"E:ID_FS_UUID_ENC=",
    "LABEL": b"E:ID_FS_LABEL_ENC=",
    "PARTUUID": b"E:ID_PART_ENTRY_UUID=",
    "PARTLABEL": b"E:ID_PART_ENTRY_NAME=",
}
_UEVENT = {"PARTUUID": b"PARTUUID=", "PARTLABEL": b"PARTNAME="}
_LINKS = {
    "UUID": "by-uuid",
    "LABEL": "by-label",
    "PARTUUID": "by-partuuid",
    "PARTLABEL": "by-partlabel",
}
_HEX = re.compile(rb"\\x([0-9a-fA-F]{2})")
_BTRFS = 0x10000


def _device_number(path: bytes) -> tuple[int, int] | None:
    """Major and minor number of a block device, None for anything else."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    if not stat.S_ISBLK(status.st_mode):
        return None
    return os.major(status.st_rdev), os.minor(status.st_rdev)


def tag(path: bytes, name: str) -> bytes | None:
    """Find what a block device is called.

    Args:
        path: of the device.
        name: "UUID", "LABEL", "PARTUUID" or "PARTLABEL".

    Returns:
        The label or id; None where it has none, or may not be read.
    """
    number = _device_number(path)
    if number is None:
        return None
    place = "{}:{}".format(*number)
    found = _line(f"/run/udev/data/b{place}", _UDEV[name])
    if found is not None:
        return _HEX.sub(lambda match: bytes([int(match[1], 16)]), found)
    if name in _UEVENT:
        return _line(f"/sys/dev/block/{place}/uevent", _UEVENT[name])
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            label, identity = _superblock(fd)
        finally:
            os.close(fd)
        return label if name == "LABEL" else identity
    return None


def _line(path: str, prefix: bytes) -> bytes | None:
    try:
        raw = read_file(path)
    except OSError:
        return None
    for line in raw.split(b"\n"):
        if line.startswith(prefix):
            return line[len(prefix) :] or None
    return None


def device_with(name: str, value: bytes) -> bytes | None:
    """Find the device that has a tag.

    Args:
        name: "UUID", "LABEL", "PARTUUID" or "PARTLABEL".
        value: the tag's value.

    Returns:
        Its path; None where no device has it.
    """
    if name not in _LINKS or b"/" in value:
        return None
    link = os.fsencode(f"/dev/disk/{_LINKS[name]}/") + value
    if os.path.exists(link):
        return os.path.realpath(link)
    try:
        partitions = read_file("/proc/partitions").split(b"\n")
    except OSError:
        return None
    for line in partitions[2:]:
        device = b"/dev/" + line.rpartition(b" ")[2]
        if len(device) > len(b"/dev/") and tag(device, name) == value:
            return device
    return None


def device_path(major: int, minor: int) -> bytes | None:
    """Find the device file of a number; None where there is none."""
    try:
        name = os.path.basename(os.readlink(f"/sys/dev/block/{major}:{minor}"))
    except OSError:
        return None
    path = os.fsencode(f"/dev/{name.replace('!', '/')}")
    return path if _device_number(path) == (major, minor) else None


def _superblock(fd: int) -> tuple[bytes | None, bytes | None]:
    """Label and id of the file system on a device, None for what it has not."""
    start = os.pread(fd, 4096, 0)
    ext = start[1024:2048]
    if ext[56:58] == b"\x53\xef":
        return _text(ext[120:136]), _uuid(ext[104:120])
    if start[:4] == b"XFSB":
        return _text(start[108:120]), _uuid(start[32:48])
    if ext[:4] == b"\xe2\xe1\xf5\xe0":
        return _text(ext[64:80]), _uuid(ext[48:64])
    if start[510:512] == b"\x55\xaa" and start[82:87] == b"FAT32":
        return _fat(start[71:82]), _serial(start[67:71])
    if start[510:512] == b"\x55\xaa" and start[54:57] == b"FAT":
        return _fat(start[43:54]), _serial(start[39:43])
    tree = os.pread(fd, 4096, _BTRFS)
    if tree[64:72] == b"_BHRfS_M":
        return _text(tree[0x12B : 0x12B + 256]), _uuid(tree[32:48])
    return None, None


def _text(raw: bytes) -> bytes | None:
    return raw.partition(b"\0")[0] or None


def _uuid(raw: bytes) -> bytes | None:
    if len(raw) != 16 or not any(raw):
        return None
    text = raw.hex()
    pieces = (text[:8], text[8:12], text[12:16], text[16:20], text[20:])
    return "-".join(pieces).encode()


def _fat(raw: bytes) -> bytes | None:
    text = raw.rstrip(b" ")
    return None if text == b"NO NAME" else text or None


def _serial(raw: bytes) -> bytes | None:
    low, high = int.from_bytes(raw[:2], "little"), int.from_bytes(raw[2:], "little")
    return b"%04X-%04X" % (high, low) if low or high else None

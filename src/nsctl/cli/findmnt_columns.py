"""findmnt's columns, and what stands in them: findmnt(8) of util-linux 2.42."""

from __future__ import annotations

import os
from collections.abc import Callable

from nsctl.model.mount import Mount, Sizes
from nsctl.model.record import NamedTuple
from nsctl.relate.mount_options import every_flag, unescaped
from nsctl.relate.mount_search import all_options, parse_tag
from nsctl.report.smartcols import Cell

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from nsctl.relate.mount_search import Names

    class Facts(Protocol):
        """Asks about the mounts of one table what it does not tell."""

        @property
        def names(self) -> Names:
            """What names of files and devices stand for."""

        def sizes(self, mount: Mount) -> Sizes | None:
            """How full the file system is that is seen at a mount point, None unknown."""

        def tag(self, mount: Mount, name: str) -> bytes | None:
            """What the device of a mount is called (UUID, LABEL ..), None unknown."""


class Context(NamedTuple):
    """What cells depend on besides the mount.

    Attributes:
        facts: what is asked about mounts.
        tid: whose table it is.
        exact: sizes in bytes.
        plain: numbers of devices without blanks.
        no_root: no "[/dir]" behind a source.
        canonical: paths of sources without symbolic links.
        evaluate: devices in place of tags.
        every_flag: options that are not set too.
    """

    facts: Facts
    tid: int = 0
    exact: bool = False
    plain: bool = False
    no_root: bool = False
    canonical: bool = False
    evaluate: bool = False
    every_flag: bool = False


class Output(NamedTuple):
    """One column.

    Attributes:
        cell: how it is laid out.
        help: one line.
        value: what stands in it, None for nothing; itself None where only a change has a value.
    """

    cell: Cell
    help: str
    value: Callable[[Context, Mount], bytes | None] | None


_UNITS = b"BKMGTPE"
# As a C program counts that has less than nothing.
_WRAP = (1 << 64) - 1


def _number(value: int) -> bytes | None:
    return b"%d" % value if value else None


def _human(size: int) -> bytes:
    """Say a size as util-linux does: "1.5G"."""
    power = min(max((size.bit_length() - 1) // 10, 0), 6)
    unit = 1 << 10 * power
    whole, rest = divmod(size, unit)
    # Three digits behind the point, of which one is kept, rounded.
    tenths = (rest * 1000 // unit + 50) // 100
    if tenths == 10:
        whole, tenths = whole + 1, 0
    return b"%d%s%c" % (whole, b".%d" % tenths if tenths else b"", _UNITS[power])


def _amount(count: Callable[[Sizes], int]) -> Callable[[Context, Mount], bytes | None]:
    def value(context: Context, mount: Mount) -> bytes | None:
        sizes = context.facts.sizes(mount)
        if sizes is None:
            return None
        size = sizes.unit * count(sizes) & _WRAP
        if not size:
            return b"0"
        return b"%d" % size if context.exact else _human(size)

    return value


def _count(count: Callable[[Sizes], int]) -> Callable[[Context, Mount], bytes | None]:
    def value(context: Context, mount: Mount) -> bytes | None:
        sizes = context.facts.sizes(mount)
        return None if sizes is None else b"%d" % (count(sizes) & _WRAP)

    return value


def _share(
    total: Callable[[Sizes], int], free: Callable[[Sizes], int]
) -> Callable[[Context, Mount], bytes | None]:
    def value(context: Context, mount: Mount) -> bytes | None:
        sizes = context.facts.sizes(mount)
        if sizes is None:
            return None
        every = total(sizes)
        return b"-" if not every else f"{(every - free(sizes)) / every * 100:.0f}%".encode()

    return value


def _tag(name: str) -> Callable[[Context, Mount], bytes | None]:
    def value(context: Context, mount: Mount) -> bytes | None:
        found = parse_tag(mount.source)
        if found is not None and found[0].decode() == name:
            return found[1]
        return context.facts.tag(mount, name)

    return value


def _source(context: Context, mount: Mount) -> bytes | None:
    source = mount.source
    found = parse_tag(source)
    if found is not None:
        device = context.facts.names.device(*found) if context.evaluate else source
        if device is None:
            return None
        source = device
    elif context.canonical and source:
        source = context.facts.names.canonical(source)
    if context.no_root or mount.root == b"/" or not mount.root:
        return source
    return b"%s[%s]" % (source, mount.root)


def _device(context: Context, mount: Mount) -> bytes | None:
    if not mount.dev:
        return None
    form = b"%d:%d" if context.plain else b"%3d:%-3d"
    return form % (os.major(mount.dev), os.minor(mount.dev))


def _propagation(_: Context, mount: Mount) -> bytes | None:
    words = [b"shared" if b"shared:" in mount.fields else b"private"]
    words += [b"slave"] if b"master:" in mount.fields else []
    words += [b"unbindable"] if b"unbindable" in mount.fields else []
    return b",".join(words)


def _mount_options(context: Context, mount: Mount) -> bytes | None:
    return every_flag(all_options(mount)) if context.every_flag else unescaped(mount.options)


OUTPUTS: dict[str, Output] = {
    "ACTION": Output(Cell("ACTION", 10, strict=True), "what happened, with --poll", None),
    "AVAIL": Output(
        Cell("AVAIL", 5, right=True),
        "room that is left for ordinary users; a number with --bytes",
        _amount(lambda sizes: sizes.available),
    ),
    "FREQ": Output(
        Cell("FREQ", 1, right=True, number=True),
        "days between two runs of dump(8), from an fstab",
        lambda *_: None,
    ),
    "FSROOT": Output(
        Cell("FSROOT", 0.25, no_extremes=True),
        "directory of the file system that is mounted",
        lambda _, mount: mount.root,
    ),
    "FSTYPE": Output(
        Cell("FSTYPE", 0.10, trunc=True),
        "type of the file system",
        lambda _, mount: mount.fs_type.encode("utf-8", "surrogateescape"),
    ),
    "FS-OPTIONS": Output(
        Cell("FS-OPTIONS", 0.10, trunc=True),
        "options of the file system itself",
        lambda _, mount: unescaped(mount.super_options),
    ),
    "ID": Output(
        Cell("ID", 2, right=True, number=True),
        "number of the mount, used again after its end",
        lambda _, mount: _number(mount.id),
    ),
    "INO.AVAIL": Output(
        Cell("INO.AVAIL", 5, right=True),
        "inodes that are free",
        _count(lambda sizes: sizes.free_files),
    ),
    "INO.TOTAL": Output(
        Cell("INO.TOTAL", 5, right=True),
        "inodes in all",
        _count(lambda sizes: sizes.files),
    ),
    "INO.USED": Output(
        Cell("INO.USED", 5, right=True),
        "inodes that are taken",
        _count(lambda sizes: sizes.files - sizes.free_files),
    ),
    "INO.USE%": Output(
        Cell("INO.USE%", 3, right=True),
        "share of the inodes that is taken, in percent",
        _share(lambda sizes: sizes.files, lambda sizes: sizes.free_files),
    ),
    "LABEL": Output(Cell("LABEL", 0.10), "label of the file system", _tag("LABEL")),
    "MAJ:MIN": Output(Cell("MAJ:MIN", 6), "device number, MAJOR:MINOR", _device),
    "OLD-OPTIONS": Output(
        Cell("OLD-OPTIONS", 0.10, trunc=True), "options before the change, with --poll", None
    ),
    "OLD-TARGET": Output(
        Cell("OLD-TARGET", 0.30), "mount point before the change, with --poll", None
    ),
    "OPTIONS": Output(
        Cell("OPTIONS", 0.10, trunc=True),
        "options of the mount and of the file system",
        lambda _, mount: all_options(mount),
    ),
    "OPT-FIELDS": Output(
        Cell("OPT-FIELDS", 0.10, trunc=True),
        "peer groups, as mountinfo has them",
        lambda _, mount: mount.fields or None,
    ),
    "PARENT": Output(
        Cell("PARENT", 2, right=True, number=True),
        "number of the mount that it is on",
        lambda _, mount: _number(mount.parent),
    ),
    "PARTLABEL": Output(Cell("PARTLABEL", 0.10), "label of the partition", _tag("PARTLABEL")),
    "PARTUUID": Output(Cell("PARTUUID", 36), "UUID of the partition", _tag("PARTUUID")),
    "PASSNO": Output(
        Cell("PASSNO", 1, right=True, number=True),
        "in which pass fsck(8) checks it, from an fstab",
        lambda *_: None,
    ),
    "PROPAGATION": Output(Cell("PROPAGATION", 0.10), "where mounts in it appear too", _propagation),
    "SIZE": Output(
        Cell("SIZE", 5, right=True),
        "size in all; a number with --bytes",
        _amount(lambda sizes: sizes.blocks),
    ),
    "SOURCE": Output(Cell("SOURCE", 0.25, no_extremes=True), "what is mounted", _source),
    "SOURCES": Output(
        Cell("SOURCES", 0.25, array=True), "all devices that it may come from", _source
    ),
    "TARGET": Output(
        Cell("TARGET", 0.30, tree=True, no_extremes=True),
        "mount point",
        lambda _, mount: mount.point,
    ),
    "TID": Output(
        Cell("TID", 4, right=True, number=True),
        "process whose table it is",
        lambda context, _: _number(context.tid),
    ),
    "UNIQ-ID": Output(
        Cell("UNIQ-ID", 10, right=True, number=True),
        "number of the mount that is never used again",
        lambda _, mount: _number(mount.unique_id),
    ),
    "USED": Output(
        Cell("USED", 5, right=True),
        "room that is taken; a number with --bytes",
        _amount(lambda sizes: sizes.blocks - sizes.free),
    ),
    "USE%": Output(
        Cell("USE%", 3, right=True),
        "share of the room that is taken, in percent",
        _share(lambda sizes: sizes.blocks, lambda sizes: sizes.free),
    ),
    "UUID": Output(Cell("UUID", 36), "UUID of the file system", _tag("UUID")),
    "VFS-OPTIONS": Output(
        Cell("VFS-OPTIONS", 0.20, trunc=True), "options of the mount alone", _mount_options
    ),
}
"""All columns of 2.42, in its order."""

SIZED = frozenset({"SIZE", "AVAIL", "USED"})
"""Columns that are numbers where sizes are in bytes."""

LATER = frozenset({"INO.AVAIL", "INO.TOTAL", "INO.USED", "INO.USE%", "UNIQ-ID"})
"""Columns that came with 2.39 and later, which ``--output-all`` leaves out: scripts count on 2.38's."""

POLLED = frozenset(name for name, output in OUTPUTS.items() if output.value is None)
"""Columns that only ``--poll`` fills."""

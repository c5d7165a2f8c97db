"""`nsctl path TARGET:/P` and `nsctl path /P --in TARGET`: the same file on the host, and back."""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterator
from typing import cast

from nsctl import host
from nsctl.cli import common
from nsctl.errors import EXIT_FAILED, EXIT_INCOMPLETE, EXIT_OK, NsctlError, UsageError
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Snapshot
from nsctl.paths.surroundings import process_of
from nsctl.paths.translate import Facts, Found, inside, outside
from nsctl.report.escape import escape, escape_bytes, width
from nsctl.report.jsonout import Row, document, envelope, put_text
from nsctl.report.note import note, wrap
from nsctl.report.style import Style
from nsctl.report.table import Column, table
from nsctl.report.units import size

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

_TYPES = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symbolic link",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
_LABEL = 9


def arguments() -> argparse.ArgumentParser:
    """Make the command's parser."""
    parser = common.parser(
        "path",
        "Find the same file elsewhere: what leads to a container's file from the host, or where a "
        "container sees a file of the host. Links are followed as the container would, and never "
        "out of its root.",
        "  nsctl path web:/etc/passwd\n"
        "  nsctl path /srv/data/x --in web\n"
        '  vi "$(nsctl path -1 web:/etc/app.conf)"',
    )
    parser.add_argument(
        "path", metavar="TARGET:PATH", help="a container's file; with --in a file of the host"
    )
    parser.add_argument("--in", dest="target", metavar="TARGET", help="where TARGET sees PATH")
    parser.add_argument(
        "-1", "--first", action="store_true", help="print the best path alone, for scripts"
    )
    common.add_view_options(parser)
    return parser


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The exit status: 1 where the file is not there, or the container does not see it.
    """
    args = arguments().parse_args(words)
    if args.file is not None or args.host_proc != "/proc":
        raise UsageError("files are those of the live host: neither --from nor --host-proc can be")
    text, path = (args.target, args.path) if args.target is not None else _split(args.path)
    snapshot = common.snapshot_of(None, "/proc", (Part.TASKS,))
    process = process_of(text, snapshot)
    try:
        find = outside if args.target is None else inside
        found = find(process, os.fsencode(path), snapshot)
    finally:
        process.close()
    snapshot = snapshot._replace(gaps=_gaps(found), remarks=())
    style = common.style(args.color)
    view = _View(found, snapshot, text, path, inward=args.target is not None)
    if args.json:
        sys.stdout.write(view.json())
    elif args.first and found.spots and found.file:
        _put_raw(cast("bytes", found.spots[0]["path"]))
    elif not args.first and (found.file or found.deleted):
        common.put(view.text(style))
        for line in note(snapshot, None, style):
            sys.stderr.write(f"{line}\n")
    if error := view.failure():
        common.say(error)
        return EXIT_FAILED
    return EXIT_INCOMPLETE if args.strict and snapshot.gaps else EXIT_OK


def _put_raw(path: bytes) -> None:
    """Print a path for a program: its very bytes, unless that is a terminal."""
    if sys.stdout.isatty():
        common.put([escape_bytes(path)])
        return
    sys.stdout.flush()
    sys.stdout.buffer.write(path + b"\n")
    sys.stdout.buffer.flush()


def _split(word: str) -> tuple[str, str]:
    """Take TARGET:PATH apart: at the first ":/", else at the last ":"."""
    at = word.find(":/")
    # The two slashes of ENGINE://NAME are none of a path's.
    if at > 0 and word[at : at + 3] == "://" and word[:at] in host.engine_names():
        at = word.find(":", at + 3)
    elif at < 0:
        at = word.rfind(":") if not word.startswith("/") else -1
    if at <= 0:
        raise UsageError(
            f"{escape(word)} is no TARGET:PATH",
            "nsctl path web:/etc/passwd, or nsctl path /srv/data --in web",
        )
    return word[:at], word[at + 1 :]


def _gaps(found: Found) -> tuple[Gap, ...]:
    gaps = []
    layers = found.file.get("layers", ())
    if layers is None:
        cause = "they are not where the mount says, seen from nobody who could have mounted it"
        gaps.append(
            Gap(Part.MOUNTS, "overlay", "layers of the overlay", PartState.UNREADABLE, cause)
        )
    if found.silent:
        cause = "a file system did not answer in time"
        gaps.append(Gap(Part.MOUNTS, "files", "further paths", PartState.PARTIAL, cause))
    return tuple(gaps)


class _View:
    """What was found, as text and as JSON."""

    def __init__(
        self, found: Found, snapshot: Snapshot, target: str, path: str, *, inward: bool
    ) -> None:
        self._found = found
        self._snapshot = snapshot
        self._target = target
        self._path = path
        self._inward = inward

    def failure(self) -> NsctlError | None:
        """Why the answer is no, if it is."""
        found = self._found
        subject = f"{self._path} in {self._target}"
        if found.missing:
            cause = os.strerror(found.missing)
            if found.missing == errno.ELOOP:
                cause = "it leads through a magic link of procfs, or through too many links"
            elif found.deleted:
                cause = "the container deleted it: its upper layer has a whiteout there"
            return NsctlError("find", subject, cause)
        if not self._inward or found.spots:
            return None
        if found.covered:
            first = found.covered[0]
            layer = f" ({first['layer']} layer)" if first.get("layer") else ""
            at = os.fsdecode(cast("bytes", first["path"]))
            return NsctlError(
                "find", subject, f"it would be at {at}{layer}, but {_cause(first['cause'])}"
            )
        return NsctlError("find", subject, "none of its mounts shows that file")

    def text(self, style: Style) -> Iterator[str]:
        """The view for a person."""
        name = self._path if self._inward else f"{self._target}:{self._path}"
        if self._found.file:
            yield from self._head(name, style)
        where = "IN " + self._target if self._inward else "PATH"
        rows = [self._cells(spot) for spot in self._found.spots]
        if rows:
            columns = [Column("OWNER"), Column("WHAT"), Column(escape(where))]
            lines = table(columns, rows, style._replace(width=None, colour=False))
            if style.width is None or max(map(width, lines)) <= style.width:
                yield style.paint(lines[0], "heading")
                yield from lines[1:]
            else:
                # A path is never cut, and stands where it can be picked up whole.
                yield style.paint(escape(where), "heading")
                for owner, what, path in rows:
                    yield style.text(path)
                    yield style.text(f"    {owner}  {what}")
        if self._inward:
            for spot in self._found.covered:
                at = escape_bytes(cast("bytes", spot["path"]))
                yield style.text(f"Not at {at}: {_cause(spot['cause'])}.")

    def _head(self, name: str, style: Style) -> Iterator[str]:
        file = self._found.file
        mode = cast("int", file["mode"])
        words = [f"{escape(name)}  ", _TYPES.get(stat.S_IFMT(mode), "?"), f" {mode & 0o7777:04o}"]
        if stat.S_ISREG(mode):
            words.append(f" {size(cast('int', file['size']))}")
        yield style.text(style.paint("".join(words), "heading"))
        for label, text in self._lines():
            lines = wrap(style.text(text), None if style.width is None else style.width - _LABEL)
            for position, line in enumerate(lines):
                yield f"{label if not position else '':<{_LABEL}}{line}"

    def _lines(self) -> Iterator[tuple[str, str]]:
        file = self._found.file
        if file.get("link") is not None:
            leads = escape_bytes(cast("bytes", file["link"]))
            number = cast("int", file["dangling"])
            lost = f": {os.strerror(number)}" if number else ""
            if number == errno.ELOOP:
                lost = ": not followed (a magic link of procfs, or too many links)"
            yield "link", f"-> {leads}{lost}"
        yield "owner", _owner(file)
        if "inner" in file:
            place = escape_bytes(cast("bytes", file["inner"]))
            kind = escape_bytes(cast("bytes", file["fs_type"]))
            point = escape_bytes(cast("bytes", file["point"]))
            more = ", id-mapped" if file["idmapped"] else ""
            more += ", read-only" if file["read_only"] else ""
            which = "here" if self._inward else "inside"
            yield which, f"{place}  ({kind} on {point}{more})"
        layers = cast("list[tuple[str, bytes]] | None", file.get("layers"))
        if layers:
            said = ", ".join(layer for layer, _ in layers)
            if stat.S_ISREG(cast("int", file["mode"])) and len(layers) > 1:
                said = f"attributes in {layers[0][0]}, content in {layers[-1][0]}"
            yield "layer", said

    def _cells(self, spot: Facts) -> list[str]:
        return [
            f"{spot['uid']}:{spot['gid']}" if not self._inward else _inner_owner(spot),
            self._what(spot),
            escape_bytes(cast("bytes", spot["path"])),
        ]

    def _what(self, spot: Facts) -> str:
        if self._inward:
            layer = f"from its {spot['layer']} layer" if spot.get("layer") else "its own mount"
            return layer + (", read-only" if spot.get("read_only") else "")
        by = cast("str", spot["by"])
        if by == "process":
            return "through the process, while it lives"
        said = "the same mount elsewhere" if by == "mount" else f"its {by} layer"
        if self._found.deleted:
            said = f"{by} layer, deleted by the upper one"
        if spot["pid"]:
            said += f", as process {spot['pid']} sees it"
        return said + (", read-only" if spot.get("read_only") else "")

    def json(self) -> str:
        """The view for programs."""
        rows = [self._json(spot) for spot in self._found.spots]
        about = envelope(self._snapshot)
        about["target"] = self._target
        about["file"] = _file_row(self._found.file) if self._found.file else None
        missing = self._found.missing
        about["missing"] = os.strerror(missing) if missing else None
        about["deleted"] = bool(self._found.deleted)
        about["covered"] = [self._json_covered(spot) for spot in self._found.covered]
        return document("paths", rows, about)

    def _json(self, spot: Facts) -> Row:
        row: Row = {}
        put_text(row, "path", cast("bytes", spot["path"]))
        if self._inward:
            row["by"] = spot.get("layer") or "mount"
            row["pid"] = None
            row["uid_inside"], row["gid_inside"] = spot["uid_inside"], spot["gid_inside"]
        else:
            row["by"], row["pid"] = spot["by"], spot["pid"] or None
        row["uid"], row["gid"] = spot["uid"], spot["gid"]
        row["read_only"] = bool(spot.get("read_only"))
        return row

    def _json_covered(self, spot: Facts) -> Row:
        row: Row = {}
        put_text(row, "path", cast("bytes", spot["path"]))
        row["by"] = spot.get("layer") or "mount"
        row["cause"] = spot["cause"]
        return row


def _cause(cause: object) -> str:
    text = str(cause)
    return text[:1].lower() + text[1:]


def _owner(file: Facts) -> str:
    inner = _inner_owner(file)
    outer = f"{file['uid']}:{file['gid']}"
    return f"{inner} inside, {outer} outside" if inner != outer else f"{outer} inside and outside"


def _inner_owner(facts: Facts) -> str:
    both = (facts["uid_inside"], facts["gid_inside"])
    return ":".join("unmapped" if number is None else str(number) for number in both)


def _file_row(file: Facts) -> Row:
    mode = cast("int", file["mode"])
    row: Row = {}
    put_text(row, "path", cast("bytes", file["path"]))
    put_text(row, "resolved", cast("bytes | None", file.get("inner")))
    put_text(row, "link", cast("bytes | None", file.get("link")))
    row["dangling"] = bool(file.get("dangling"))
    row["type"] = _TYPES.get(stat.S_IFMT(mode), "?")
    row["mode"] = f"{mode & 0o7777:04o}"
    row["size"] = file["size"]
    for key in ("uid", "gid", "uid_inside", "gid_inside"):
        row[key] = file[key]
    for key in ("fs_type", "source", "point"):
        put_text(row, key, cast("bytes | None", file.get(key)))
    row["idmapped"] = bool(file.get("idmapped"))
    layers = cast("list[tuple[str, bytes]] | None", file.get("layers"))
    row["layers"] = None if layers is None else [name for name, _ in layers]
    return row

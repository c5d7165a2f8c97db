"""findmnt's options, and which of them exclude each other: findmnt(8) of util-linux 2.42."""

from __future__ import annotations

from nsctl.cli.getopt import Option, Parsed
from nsctl.errors import UsageError
from nsctl.relate.mount_changes import ACTIONS, Action

SEARCH = (
    Option("fstab", "s", "no", "", "an fstab, by the installed findmnt"),
    Option("mtab", "m", "no", "", "mtab, by the installed findmnt"),
    Option(
        *("kernel", "k", "optional", "method", "the kernel's own table, which is the default"),
        is_letter_bare=True,
    ),
    Option("poll", "p", "optional", "actions", "wait for changes, and print each"),
    Option("timeout", "w", "required", "num", "milliseconds after which --poll ends"),
    Option("all", "A", "no", "", "every mount, whatever else is filtered"),
    Option("ascii", "a", "no", "", "draw trees with ASCII alone"),
    Option("bytes", "b", "no", "", "sizes in bytes"),
    Option("nocanonicalize", "C", "no", "", "compare paths as they are written"),
    Option("canonicalize", "c", "no", "", "print paths without links"),
    Option("df", "D", "no", "", "columns as df(1) has them"),
    Option("dfi", "I", "no", "", "the same with inodes, as df(1) -i"),
    Option("direction", "d", "required", "direction", "search forward or backward"),
    Option("evaluate", "e", "no", "", "devices in place of LABEL=, UUID= .."),
    Option("tab-file", "F", "required", "file", "read this table instead"),
    Option("first-only", "f", "no", "", "the first that matches, and no more"),
    Option("id", "", "required", "num", "the mount of this number"),
    Option("uniq-id", "", "required", "num", "the mount of this 64-bit number"),
    Option("invert", "i", "no", "", "what does not match"),
    Option("json", "J", "no", "", "print JSON"),
    Option("list", "l", "no", "", "a list, no tree"),
    Option("task", "N", "required", "target", "what this process sees"),
    Option("noheadings", "n", "no", "", "no headings"),
    Option("options", "O", "required", "options", "mounts with these options"),
    Option("output", "o", "required", "columns", "columns to print"),
    Option("output-all", "", "no", "", "every column"),
    Option("pairs", "P", "no", "", 'print NAME="value" pairs'),
    Option("pseudo", "", "no", "", "only those of the kernel's making"),
    Option("filter", "Q", "required", "expr", "only rows that it chooses, see scols-filter(5)"),
    Option("shadowed", "", "no", "", "only those that another one hides"),
    Option("submounts", "R", "no", "", "what is mounted below them too"),
    Option("raw", "r", "no", "", "cells with one blank between, escaped"),
    Option("real", "", "no", "", "none of the kernel's making"),
    Option("source", "S", "required", "string", "what is mounted: device, MAJOR:MINOR, LABEL= .."),
    Option("target", "T", "required", "file", "the mount that this path is in"),
    Option("tree", "", "no", "", "a tree, where the rows make one"),
    Option("mountpoint", "M", "required", "dir", "the mount at this directory"),
    Option("types", "t", "required", "types", "mounts of these types"),
    Option("uniq", "U", "no", "", "one mount for each mount point"),
    Option("notruncate", "u", "no", "", "cut no cell short"),
    Option("nofsroot", "v", "no", "", "no [/dir] behind a source"),
    Option("shell", "y", "no", "", "names of columns as a shell takes them"),
    Option("verify", "x", "no", "", "check a table, by the installed findmnt"),
    Option("verbose", "", "no", "", "say more"),
    Option("vfs-all", "", "no", "", "options that are the default too"),
    Option("hyperlink", "", "optional", "when", "accepted, and without effect"),
)
ABOUT = (
    Option("list-columns", "H", "no", "", "columns there are, with their types"),
    Option("help", "h", "no", "", "display this help"),
    Option("version", "V", "no", "", "display version"),
)

# Each of a row excludes the others; as the original has them.
_EXCLUSIVE = (
    ("nocanonicalize", "canonicalize"),
    ("nocanonicalize", "evaluate"),
    ("json", "pairs", "raw", "verify"),
    ("mountpoint", "target"),
    ("task", "kernel", "mtab", "fstab"),
    ("pairs", "list", "raw", "verify"),
    ("filter", "poll"),
    ("poll", "verify"),
    ("mtab", "poll", "fstab"),
    ("pseudo", "real"),
)
_DIRECTIONS = ("forward", "backward")
_METHODS = ("mountinfo", "listmount")
_S32 = 1 << 31


def check(given: Parsed) -> None:
    """See whether options exclude each other, or have arguments that mean nothing.

    Raises:
        UsageError: they do.
    """
    for row in _EXCLUSIVE:
        there = [name for name in row if given.has(name)]
        if len(there) > 1:
            raise UsageError(f"only one of {', '.join(f'--{name}' for name in there)} can be given")
    for text in given.all("direction"):
        if text not in _DIRECTIONS:
            raise UsageError(f"unknown direction {text!r}")
    for text in given.all("kernel"):
        if text not in _METHODS:
            raise UsageError("invalid --kernel argument", "it is mountinfo or listmount")
    actions(given)
    number(given, "id", -_S32, _S32)
    number(given, "uniq-id", 0, 1 << 64)
    number(given, "timeout", -_S32, _S32)
    if given.has("poll") and len(given.all("tab-file")) > 1:
        raise UsageError("--poll waits at one table: give --tab-file once")
    files = given.has("tab-file") or given.has("task")
    if files and given.last("kernel") == "listmount":
        raise UsageError(
            "--kernel=listmount lists one's own mounts: it goes with neither --tab-file nor --task"
        )


def actions(given: Parsed) -> frozenset[Action]:
    """Which changes ``--poll`` waits for; all of them where it does not say.

    Raises:
        UsageError: there is no such change.
    """
    text = given.last("poll")
    if text is None:
        return frozenset(ACTIONS)
    words = text.removesuffix(",").split(",") if text else [""]
    found: list[Action] = []
    for word in words:
        action = next((each for each in ACTIONS if each == word.lower()), None)
        if action is None:
            raise UsageError(f"unknown action: {word}", f"it is one of {', '.join(ACTIONS)}")
        found.append(action)
    return frozenset(found)


def number(given: Parsed, name: str, least: int, limit: int) -> int | None:
    """The last argument of an option as a number.

    Args:
        given: the command line.
        name: of the option.
        least: what it may be at least.
        limit: what it must be below.

    Raises:
        UsageError: it is none.
    """
    text = given.last(name)
    if text is None:
        return None
    digits = text.strip(" \t").removeprefix("+")
    plain = digits.removeprefix("-")
    if plain.isascii() and plain.isdecimal() and len(plain) <= 20 and least <= int(digits) < limit:
        return int(digits)
    raise UsageError(f"invalid {name} argument: {text!r}")

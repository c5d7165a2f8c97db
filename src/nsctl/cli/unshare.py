"""`nsctl unshare`: unshare's options (util-linux 2.42), as root and as an ordinary user.

Called by the name of unshare it is unshare. Both say why the kernel refused.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable

from nsctl import __version__
from nsctl.cli import common  # noqa: F401  (for errors: later its file may be a container's)
from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import UsageError
from nsctl.model.namespace import NamespaceType
from nsctl.report import escape  # noqa: F401  (the same)
from nsctl.unshare.act import BINFMT, PROPAGATIONS, act
from nsctl.unshare.begin import become, environment
from nsctl.unshare.ids import IdRange, parse_range
from nsctl.unshare.refusal import explain
from nsctl.unshare.request import Request

_TYPES = {
    "mount": NamespaceType.MNT,
    "uts": NamespaceType.UTS,
    "ipc": NamespaceType.IPC,
    "net": NamespaceType.NET,
    "pid": NamespaceType.PID,
    "user": NamespaceType.USER,
    "cgroup": NamespaceType.CGROUP,
    "time": NamespaceType.TIME,
}
_LETTERS = {"mount": "m", "user": "U", "cgroup": "C", "time": "T"}

OPTIONS = (
    *(
        Option(
            name,
            _LETTERS.get(name, name[0]),
            "optional",
            "file",
            f"a new {kind.word} namespace",
            is_letter_bare=True,
        )
        for name, kind in _TYPES.items()
    ),
    Option("fork", "f", "no", "", "make the program a child"),
    Option("kill-child", "", "optional", "signame", "signal the child when dying (implies --fork)"),
    Option("forward-signals", "", "no", "", "pass SIGTERM and SIGINT on (implies --fork)"),
    Option("mount-proc", "", "optional", "dir", "mount a procfs first (implies --mount)"),
    Option("mount-binfmt", "", "optional", "dir", "mount binfmt_misc (implies --user, --mount)"),
    Option("load-interp", "l", "required", "string", "register a binary type (implies the same)"),
    Option("map-user", "", "required", "uid", "map the caller's user to it (implies --user)"),
    Option("map-users", "", "required", "range", "INSIDE:OUTSIDE:COUNT, auto, subids or all"),
    Option("map-group", "", "required", "gid", "map the caller's group to it (implies --user)"),
    Option("map-groups", "", "required", "range", "INSIDE:OUTSIDE:COUNT, auto, subids or all"),
    Option("map-root-user", "r", "no", "", "map the caller to root (implies --user)"),
    Option("map-current-user", "c", "no", "", "map the caller to itself (implies --user)"),
    Option("map-auto", "", "no", "", "map subordinate ids from 0 (implies --user)"),
    Option("map-subids", "", "no", "", "map subordinate ids to themselves (implies --user)"),
    Option("owner", "", "required", "uid:gid", "whose the user namespace is (implies --user)"),
    Option("propagation", "", "required", "mode", "slave, shared, private or unchanged"),
    Option("setgroups", "", "required", "mode", "allow or deny setgroups(2) in it"),
    Option("keep-caps", "", "no", "", "keep the user namespace's capabilities over exec"),
    Option("root", "R", "required", "dir", "the program's root directory"),
    Option("wd", "w", "required", "dir", "its working directory"),
    Option("setuid", "S", "required", "uid", "its user id"),
    Option("setgid", "G", "required", "gid", "its group id, and no others"),
    Option("monotonic", "", "required", "seconds", "offset of the monotonic clock"),
    Option("boottime", "", "required", "seconds", "offset of the boot-time clock"),
    Option("clear-env", "", "no", "", "an empty environment"),
    Option("whitelist-env", "", "required", "list", "these variables and no others"),
    Option("help", "h", "no", "", "display this help"),
    Option("version", "V", "no", "", "display version"),
)
OPERANDS = ("CMD",)

_USAGE = """\
Usage:
 {called} [options] [PROGRAM [ARGUMENT..]]

Run a program, by default a shell, in new namespaces. With FILE a namespace is bind-mounted there
and outlives the program.

Options:
{options}

Exit status: the program's own once it started; {refused} refused before, 126 not executable,
127 not found.
"""

_SIGNED = re.compile(r"\s*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)")
_OWNER = re.compile(r"\s*\+?([0-9]{1,10}):([0-9]{1,10})")
_ID_LIMIT = 0xFFFFFFFE


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The program's exit status, where it is a child.
    """
    return _serve(words, called="nsctl unshare", refused=125)


def drop_in(words: list[str]) -> int:
    """Be unshare.

    Args:
        words: its command line.

    Returns:
        The exit status.
    """
    return _serve(words, called="unshare", refused=1)


def _serve(words: list[str], *, called: str, refused: int) -> int:
    given = parse(OPTIONS, words, stop_at_operand=True)
    for name, _ in given.given:
        if name == "help":
            options = "\n".join(describe(OPTIONS))
            text = _USAGE.format(called=called, options=options, refused=refused)
            sys.stdout.write(text)
            return 0
        if name == "version":
            version = f"nsctl {__version__}"
            is_original = called == "unshare"
            told = (
                f"unshare from {version} (util-linux 2.42 compatible)" if is_original else version
            )
            sys.stdout.write(f"{told}\n")
            return 0
    request = _request(given)
    environ = _environment(given)
    sys.stdout.flush()
    status = act(request, explain)
    if status is None:
        become([os.fsencode(word) for word in given.operands], environ)
    return status


# --- What is asked for ---------------------------------------------------------------------------


class _Asked:
    """Collects options in the order in which they were given, as the original takes them."""

    def __init__(self) -> None:
        self.types: set[NamespaceType] = set()
        self.files: dict[NamespaceType, str] = {}
        self.users: list[IdRange] = []
        self.groups: list[IdRange] = []
        self.request = Request(propagation=PROPAGATIONS["private"])

    def set(self, *types: NamespaceType, **fields: object) -> None:
        """Note settings, and the types that they imply."""
        self.types.update(types)
        self.request = self.request._replace(**fields)  # type: ignore[arg-type]  # as named here

    def binfmt(self, place: str | None) -> None:
        """Note where binfmt_misc is mounted; its usual place needs a procfs."""
        if place is None:
            self.set(mount_proc=self.request.mount_proc or "/proc", mount_binfmt=BINFMT)
        else:
            self.set(mount_binfmt=place)


def _request(given: Parsed) -> Request:
    asked = _Asked()
    for name, argument in given.given:
        if name in _TYPES:
            asked.types.add(_TYPES[name])
            if argument is not None:
                asked.files[_TYPES[name]] = argument
        elif name in _TAKEN:
            _TAKEN[name](asked, argument or "")
        elif name == "mount-proc":
            asked.set(NamespaceType.MNT, mount_proc=argument or "/proc")
        elif name == "mount-binfmt":
            asked.set(NamespaceType.MNT, NamespaceType.USER)
            asked.binfmt(argument)
        elif name == "kill-child":
            asked.set(fork=True, kill_child=_signal(argument))
    request = asked.request
    clocks = (request.monotonic, request.boottime)
    if clocks != (None, None) and NamespaceType.TIME not in asked.types:
        raise UsageError(
            "options --monotonic and --boottime require unsharing of a time namespace (-T)"
        )
    if request.map_group is not None and not asked.groups and request.setgroups == "allow":
        raise UsageError("options --setgroups=allow and --map-group are mutually exclusive")
    return request._replace(
        types=frozenset(asked.types),
        files=tuple(asked.files.items()),
        users=tuple(reversed(asked.users)),
        groups=tuple(reversed(asked.groups)),
    )


def _map_caller(asked: _Asked, _argument: str) -> None:
    asked.set(NamespaceType.USER, map_user=os.geteuid(), map_group=os.getegid())


def _map_root(asked: _Asked, _argument: str) -> None:
    asked.set(NamespaceType.USER, map_user=0, map_group=0)


def _map_both(word: str) -> Callable[[_Asked, str], None]:
    def take(asked: _Asked, _argument: str) -> None:
        _map_ranges("user")(asked, word)
        _map_ranges("group")(asked, word)

    return take


def _map_ranges(kind: str) -> Callable[[_Asked, str], None]:
    def take(asked: _Asked, argument: str) -> None:
        asked.types.add(NamespaceType.USER)
        ranges = asked.users if kind == "user" else asked.groups
        if argument in {"auto", "subids"}:
            from nsctl.unshare.sources import subordinate

            ranges.append(subordinate(kind, identity=argument == "subids"))
        elif argument == "all":
            from nsctl.unshare.sources import available

            ranges += available(kind)
        else:
            ranges.append(parse_range(argument))

    return take


def _owner(asked: _Asked, argument: str) -> None:
    match = _OWNER.fullmatch(argument)
    if match is None or max(int(match[1]), int(match[2])) > _ID_LIMIT:
        raise UsageError("failed to parse owner", "write UID:GID, in numbers")
    asked.set(NamespaceType.USER, owner=(int(match[1]), int(match[2])))


def _choice(field: str, values: dict[str, object], complaint: str) -> Callable[[_Asked, str], None]:
    def take(asked: _Asked, argument: str) -> None:
        if argument not in values:
            raise UsageError(complaint.format(argument), f"one of {', '.join(values)}")
        asked.set(**{field: values[argument]})

    return take


def _number(field: str, what: str, *, low: int, high: int) -> Callable[[_Asked, str], None]:
    def take(asked: _Asked, argument: str) -> None:
        match = _SIGNED.fullmatch(argument)
        number = (
            int(match[1] + match[2], 16 if match[2][:2] in {"0x", "0X"} else 10) if match else 0
        )
        if match is None:
            raise UsageError(f"failed to parse {what}: '{argument}'")
        if not low <= number <= high:
            raise UsageError(f"failed to parse {what}: '{argument}': it is out of range")
        asked.set(**{field: number})

    return take


def _named(field: str, kind: str) -> Callable[[_Asked, str], None]:
    def take(asked: _Asked, argument: str) -> None:
        asked.set(NamespaceType.USER, **{field: _id_of(argument, kind)})

    return take


def _id_of(word: str, kind: str) -> int:
    """A user or group by number or name."""
    if word.isascii() and word.isdecimal():
        number = int(word) if len(word) <= 10 else _ID_LIMIT + 1
        if number <= _ID_LIMIT:
            return number
    else:
        try:
            if kind == "uid":
                import pwd

                return pwd.getpwnam(word).pw_uid
            import grp

            return grp.getgrnam(word).gr_gid
        except (KeyError, ValueError):
            pass
    raise UsageError(f"failed to parse {kind} '{word}'")


def _signal(word: str | None) -> int:
    """A signal by name, with or without SIG, or by number."""
    if word is None:
        return int(signal.SIGKILL)
    name = word.upper().removeprefix("SIG")
    if name.isascii() and name.isdecimal() and 0 < int(name) < signal.NSIG:
        return int(name)
    base, sign, step = name, "", ""
    for mark in ("+", "-"):
        if name.startswith("RTM") and mark in name:
            base, sign, step = name.partition(mark)
    try:
        number = int(signal.Signals[f"SIG{base}"])
        if step:
            number += int(f"{sign}{step}")
    except (KeyError, ValueError):
        number = 0
    if not 0 < number < signal.NSIG:
        raise UsageError(f"unknown signal: {word}")
    return number


def _fork(asked: _Asked, _argument: str) -> None:
    asked.set(fork=True)


def _interpreter(asked: _Asked, argument: str) -> None:
    asked.set(NamespaceType.MNT, NamespaceType.USER, interpreter=argument)
    if not asked.request.mount_binfmt:
        asked.binfmt(None)


_SECONDS = {"low": -(1 << 63), "high": (1 << 63) - 1}
_IDS = {"low": 0, "high": _ID_LIMIT}
_TAKEN: dict[str, Callable[[_Asked, str], None]] = {
    "fork": _fork,
    "forward-signals": lambda asked, _: asked.set(fork=True, forward_signals=True),
    "load-interp": _interpreter,
    "map-user": _named("map_user", "uid"),
    "map-group": _named("map_group", "gid"),
    "map-root-user": _map_root,
    "map-current-user": _map_caller,
    "map-users": _map_ranges("user"),
    "map-groups": _map_ranges("group"),
    "map-auto": _map_both("auto"),
    "map-subids": _map_both("subids"),
    "owner": _owner,
    "propagation": _choice("propagation", dict(PROPAGATIONS), "unsupported propagation mode: {}"),
    "setgroups": _choice(
        "setgroups",
        {"allow": "allow", "deny": "deny"},
        "unsupported --setgroups argument '{}'",
    ),
    "keep-caps": lambda asked, _: asked.set(keep_caps=True),
    "root": lambda asked, argument: asked.set(root=argument),
    "wd": lambda asked, argument: asked.set(directory=argument),
    "setuid": _number("uid", "uid", **_IDS),
    "setgid": _number("gid", "gid", **_IDS),
    "monotonic": _number("monotonic", "monotonic offset", **_SECONDS),
    "boottime": _number("boottime", "boottime offset", **_SECONDS),
}


def _environment(given: Parsed) -> dict[bytes, bytes]:
    """The program's environment."""
    environ = environment()
    if given.has("whitelist-env"):
        names = {
            os.fsencode(name)
            for argument in given.all("whitelist-env")
            for name in argument.split(",")
        }
        return {name: value for name, value in environ.items() if name in names}
    return {} if given.has("clear-env") else environ

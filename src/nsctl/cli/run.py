"""`nsctl run ROOTFS [CMD]`: a container of our own, in all eight namespaces."""

from __future__ import annotations

import os
import sys

from nsctl.cli import common
from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import UsageError, translate
from nsctl.model import capabilities as capability
from nsctl.model.container import Container
from nsctl.model.namespace import NamespaceType
from nsctl.report.escape import escape
from nsctl.run import lifecycle, sources
from nsctl.run.spec import BIND, CPUS, HOST, MEMORY, PIDS, TMPFS, Mount, Spec
from nsctl.run.store import default_store

_TYPE_OPTIONS = {
    "mnt": NamespaceType.MNT,
    "pid": NamespaceType.PID,
    "network": NamespaceType.NET,
    "net": NamespaceType.NET,
    "ipc": NamespaceType.IPC,
    "uts": NamespaceType.UTS,
    "userns": NamespaceType.USER,
    "cgroupns": NamespaceType.CGROUP,
    "time": NamespaceType.TIME,
}

OPTIONS = (
    Option("detach", "d", "no", "", "run in the background and print the name"),
    Option("interactive", "i", "no", "", "keep its input open for attach, with -d"),
    Option("tty", "t", "no", "", "a terminal of its own (always, where you are on one)"),
    Option("name", "", "required", "name", "the container's name"),
    Option("rm", "", "no", "", "remove it when it has ended"),
    Option(
        "env", "e", "required", "key=value", "set an environment variable; KEY alone takes yours"
    ),
    Option("env-file", "", "required", "file", "set those in a file, one a line"),
    Option("workdir", "w", "required", "dir", "where the command starts"),
    Option("user", "u", "required", "user", "UID, NAME, UID:GID or NAME:GROUP inside"),
    Option("entrypoint", "", "required", "cmd", "in place of the image's entry point"),
    Option("hostname", "", "required", "name", "its host name; by default its name"),
    Option(
        "init", "", "optional", "false", "PID 1 reaps and passes signals on; false: CMD is PID 1"
    ),
    Option("read-only", "", "no", "", "a root that cannot be written"),
    Option(
        "volume", "v", "required", "src:dst", "bind of the host; [:ro,nodev,noexec,nosuid,idmap]"
    ),
    Option("tmpfs", "", "required", "dst", "an empty tmpfs; [:size=64m,mode=1777,..]"),
    *(
        Option(name, "", "required", "mode", f"{kind.word} namespace")
        for name, kind in _TYPE_OPTIONS.items()
    ),
    Option("boottime", "", "required", "offset", "set the boot-time clock off (seconds, 2d, -3h)"),
    Option("monotonic", "", "required", "offset", "set the monotonic clock off"),
    Option("cap-add", "", "required", "cap", "add a capability to the default 14, or ALL"),
    Option("cap-drop", "", "required", "cap", "drop a capability, or ALL"),
    Option("security-opt", "", "required", "opt", "see below"),
    Option("privileged", "", "no", "", "all capabilities, no filter, nothing hidden"),
    Option("memory", "m", "required", "size", "limit of memory (512m, 2g)"),
    Option("cpus", "", "required", "number", "limit of processors (1.5)"),
    Option("pids-limit", "", "required", "number", "limit of processes and threads"),
    Option("bundle", "", "required", "dir", "run a runtime bundle's config.json"),
    Option("dry-run", "", "no", "", "print the steps, do nothing"),
    Option("help", "h", "no", "", "display this help"),
)
OPERANDS = ("ROOTFS", "CMD")

_USAGE = """\
Usage:
 nsctl run [options] ROOTFS [CMD [ARG..]]
 nsctl run [options] --bundle DIR [CMD [ARG..]]

Run CMD in a container. ROOTFS is a directory; a tar archive, compressed or not, - for standard
input; an OCI image layout, its archive, or one of docker save; a runtime bundle; or an image of
`nsctl images`. A prefix says which, where looking does not:
{kinds},
with PATH:REF for one image of several. ROOTFS is only read: what the container changes goes to
an OverlayFS layer of its own. Of an image come command, environment, directory and user.

Each of the eight namespaces has a mode: private (the default), host, container:NAME (of any
engine), or ns:PATH.

Options:
{options}

--security-opt: seccomp=FILE (a profile as engines have them), seccomp=unconfined,
systempaths=unconfined (nothing of /proc and /sys hidden), no-new-privileges[=false] (on).

Exit status: the command's own once it started; 125 refused before, 126 not executable,
127 not found.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import re

_DURATION = r"([+-]?)([0-9]{1,12})(?:\.([0-9]{1,9}))?([smhd]?)"
_FACTORS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
_SIZE = r"([0-9]{1,15})([bkmgtBKMGT]?)[bB]?"
_SIZES = {"": 0, "b": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_CPUS = r"[0-9]{1,5}(?:\.[0-9]{1,9})?"
_YES = {"": True, "true": True, "1": True, "false": False, "0": False}
_PROFILE_LIMIT = 16 << 20
_ENV_LIMIT = 4 << 20


def main(words: list[str]) -> int:
    """Run the command.

    Returns:
        The container's exit status, or 0 for a detached one.
    """
    given = parse(OPTIONS, words, stop_at_operand=True)
    if given.has("help"):
        kinds = ", ".join(f"{kind}:" for kind in sources.KINDS)
        sys.stdout.write(_USAGE.format(kinds=kinds, options="\n".join(describe(OPTIONS))))
        return 0
    spec, reads_stdin = _spec(given)
    streams: tuple[int, ...] = (0, 1, 2)
    if reads_stdin:
        # What was left of standard input behind the archive is nobody's.
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        streams = (null, 1, 2)
    if given.has("dry-run"):
        common.put(_numbered(lifecycle.describe(spec, streams=streams)))
        return 0
    sys.stdout.flush()
    made = lifecycle.run(spec, streams=streams, alone=True)
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


def _spec(given: Parsed) -> tuple[Spec, bool]:
    """Make the specification.

    Returns:
        It, and whether standard input has been read for it.
    """
    operands = list(given.operands)
    named = given.last("bundle")
    if named is None and not operands:
        raise UsageError("run what? a ROOTFS is missing", "`nsctl run --help` shows how")
    source = f"bundle:{named}" if named is not None else operands.pop(0)
    if given.has("tty") and not given.has("detach") and not (os.isatty(0) and os.isatty(1)):
        raise UsageError("--tty needs a terminal, and you are on none", "leave it out, or add -d")
    namespaces = _namespaces(given)
    if source == "/" and namespaces.get("mnt", "private") != "private":
        root = sources.Root("/")  # that of the namespace which is shared
    else:
        root = sources.open_root(source, default_store())
    spec = _of_bundle(root, operands) if root.bundle else _of_root(root, operands, given)
    spec = _with_user(spec, given.last("user") or (root.config.user or None), given)
    spec = _with_powers(spec, given)
    terminal = given.has("tty") or (os.isatty(0) and os.isatty(1) and not given.has("detach"))
    hostname = given.last("hostname")
    return (
        spec._replace(
            name=given.last("name") or "",
            env=spec.env + _environment(given),
            cwd=given.last("workdir") or spec.cwd,
            hostname=spec.hostname if hostname is None else hostname,
            namespaces={**spec.namespaces, **namespaces},
            boottime=_offset(given.last("boottime")),
            monotonic=_offset(given.last("monotonic")),
            detach=given.has("detach"),
            remove=given.has("rm"),
            read_only=spec.read_only or given.has("read-only"),
            mounts=spec.mounts + _mounts(given) + _names(spec, given, namespaces),
            init=_init(given, spec),
            limits=spec.limits + _limits(given),
            terminal=terminal,
            interactive=given.has("interactive"),
        ),
        source in {"-", "tar:-", "oci-archive:-", "docker-archive:-"},
    )


def _namespaces(given: Parsed) -> dict[str, str]:
    return {
        str(_TYPE_OPTIONS[name]): mode
        for name, mode in given.given
        if name in _TYPE_OPTIONS and mode is not None
    }


def _of_bundle(root: sources.Root, operands: list[str]) -> Spec:
    from nsctl.run import bundle

    spec = bundle.read(root.bundle)
    return spec._replace(argv=tuple(operands)) if operands else spec


def _of_root(root: sources.Root, operands: list[str], given: Parsed) -> Spec:
    config = root.config
    entry = config.argv[: config.entry]
    rest = tuple(operands) or config.argv[config.entry :]
    chosen = given.last("entrypoint")
    if chosen is not None:
        # Another entry point has no use for words that were written for the image's own.
        entry, rest = ((chosen,) if chosen else ()), tuple(operands)
    return Spec(
        rootfs=root.path,
        argv=(*entry, *rest) or ("/bin/sh",),
        env=config.env,
        cwd=_absolute(config.cwd),
        image=root.image,
        make_cwd=bool(config.cwd),
    )


def _absolute(path: str) -> str:
    return f"/{path.lstrip('/')}"


def _with_user(spec: Spec, user: str | None, given: Parsed) -> Spec:
    if user is None:
        return spec
    if spec.rootfs == "/" and given.last("user") is None:
        return spec
    from nsctl.run import accounts

    account = accounts.resolve(user, spec.rootfs)
    home = (("HOME", account.home),) if account.home else ()
    return spec._replace(
        uid=account.uid, gid=account.gid, groups=account.groups, env=home + spec.env
    )


def _with_powers(spec: Spec, given: Parsed) -> Spec:
    """Apply options about capabilities, filters and hidden paths, in their order."""
    for name, word in given.given:
        if name == "privileged":
            spec = spec._replace(
                capabilities=capability.mask(["ALL"]),
                sets=(),
                seccomp=False,
                no_new_privs=False,
                masked=(),
                read_only_paths=(),
            )
        elif name == "security-opt" and word is not None:
            spec = _secured(spec, word)
        elif name == "cap-add" and word is not None:
            spec = _with_capabilities(spec, added=capability.mask([word]))
        elif name == "cap-drop" and word is not None:
            spec = _with_capabilities(spec, dropped=capability.mask([word]))
    return spec


def _with_capabilities(spec: Spec, added: int = 0, dropped: int = 0) -> Spec:
    """Add and drop, in a bundle's sets too; what is dropped from one goes from the ambient one."""
    held = (spec.capabilities | added) & ~dropped
    sets = spec.sets
    if sets:
        sets = (*((each | added) & ~dropped for each in sets[:4]), sets[4] & ~dropped)
    return spec._replace(capabilities=held, sets=sets)


def _secured(spec: Spec, text: str) -> Spec:
    key, separator, value = text.partition("=")
    if not separator:
        key, separator, value = text.partition(":")
    if key == "no-new-privileges" and value in _YES:
        return spec._replace(no_new_privs=_YES[value])
    if key == "seccomp" and value == "unconfined":
        return spec._replace(seccomp=False, seccomp_profile="")
    if key == "seccomp" and value in {"default", "builtin"}:
        return spec._replace(seccomp=True, seccomp_profile="")
    if key == "seccomp" and value:
        return spec._replace(seccomp=True, seccomp_profile=_profile(value))
    if text == "systempaths=unconfined":
        return spec._replace(masked=(), read_only_paths=())
    raise UsageError(
        f"there is no --security-opt {text}",
        "seccomp=FILE|unconfined, systempaths=unconfined, no-new-privileges[=false]",
    )


def _profile(path: str) -> str:
    import json

    text = _read(path, _PROFILE_LIMIT)
    try:
        profile = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the seccomp profile {path} is not JSON") from error
    lifecycle.check_profile(profile)
    return json.dumps(profile)


def _read(path: str, limit: int) -> str:
    try:
        with open(path, "rb") as file:
            raw = file.read(limit + 1)
    except OSError as error:
        raise translate(error, "read", path) from error
    if len(raw) > limit:
        raise UsageError(f"{path} is too long")
    return raw.decode("utf-8", "surrogateescape")


def _environment(given: Parsed) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    for path in given.all("env-file"):
        for line in _read(path, _ENV_LIMIT).split("\n"):
            text = line.lstrip(" \t").removesuffix("\r")
            if text and not text.startswith("#"):
                pairs += _pair(text, path)
    for text in given.all("env"):
        pairs += _pair(text, "--env")
    return tuple(pairs)


def _pair(text: str, where: str) -> list[tuple[str, str]]:
    key, equals, value = text.partition("=")
    if not key or " " in key:
        raise UsageError(f"{where} takes KEY=VALUE, not {text!r}")
    if equals:
        return [(key, value)]
    return [(key, os.environ[key])] if key in os.environ else []


def _mounts(given: Parsed) -> tuple[Mount, ...]:
    found = []
    for text in given.all("volume"):
        source, *rest = text.split(":")
        if not source.startswith(("/", ".", "~")) or len(rest) not in {1, 2} or not rest[0]:
            raise UsageError(
                f"--volume takes SRC:DST[:OPTIONS], not {text!r}", "SRC is a path, ./DIR or /DIR"
            )
        path = os.path.abspath(os.path.expanduser(source))
        if not os.path.exists(path):
            raise UsageError(f"there is no {path} to bind")
        # z and Z label files for SELinux, which nothing here does.
        words = [word for word in rest[1].split(",") if word not in {"z", "Z"}] if rest[1:] else []
        found.append(Mount(BIND, path, rest[0], ",".join(words)))
    for text in given.all("tmpfs"):
        target, _, options = text.partition(":")
        found.append(Mount(TMPFS, "", target, options))
    return tuple(found)


def _names(spec: Spec, given: Parsed, namespaces: dict[str, str]) -> tuple[Mount, ...]:
    """Binds of the host's files that give names to addresses, for who shares its network.

    Not where one lies behind a link in the root: it leads to what the image's own programs write.
    """
    if namespaces.get("net") != HOST or spec.rootfs == "/" or given.has("bundle"):
        return ()
    taken = {each.target for each in _mounts(given)}
    place = os.path.join(spec.rootfs, "etc")
    if os.path.islink(place):
        return ()
    return tuple(
        Mount(BIND, path, path, "ro")
        for path in ("/etc/resolv.conf", "/etc/hosts")
        if path not in taken and os.path.isfile(path)
        for inside in [os.path.join(place, os.path.basename(path))]
        if _may_lie(inside)
    )


def _may_lie(path: str) -> bool:
    """Tell whether a file can be bound there: on one that is there, or where one may be made."""
    if os.path.lexists(path):
        return os.path.isfile(path) and not os.path.islink(path)
    return os.access(os.path.dirname(path), os.W_OK)


def _limits(given: Parsed) -> tuple[tuple[str, int], ...]:
    found = []
    if (text := given.last("memory")) is not None:
        match = _matched(_SIZE, text)
        size = int(match[1]) << _SIZES[match[2].lower()] if match else 0
        if not 0 < size < 1 << 62:
            raise UsageError(f"--memory takes a size such as 512m or 2g, not {text!r}")
        found.append((MEMORY, size))
    if (text := given.last("cpus")) is not None:
        number = round(float(text) * 1000) if _matched(_CPUS, text) else 0
        if number < 10:
            raise UsageError(f"--cpus takes a number from 0.01 up, not {text!r}")
        found.append((CPUS, number))
    if (text := given.last("pids-limit")) is not None:
        if not text.isascii() or not text.isdecimal() or not 0 < int(text) < 1 << 31:
            raise UsageError(f"--pids-limit takes a number from 1 up, not {text!r}")
        found.append((PIDS, int(text)))
    return tuple(found)


def _matched(pattern: str, text: str) -> re.Match[str] | None:
    import re  # compiling these takes longer than most commands have for all their words

    return re.fullmatch(pattern, text)


def _init(given: Parsed, spec: Spec) -> bool:
    if not given.has("init"):
        return spec.init
    word = given.last("init") or ""
    if word not in _YES:
        raise UsageError(f"--init takes true or false, not {word!r}")
    return _YES[word]


def _offset(text: str | None) -> int:
    """Turn "2d", "-3h" or seconds with a fraction into nanoseconds."""
    if text is None:
        return 0
    match = _matched(_DURATION, text)
    if match is None:
        raise UsageError(f"a clock's offset is seconds, or 90m, 3h, 2d, not {text!r}")
    sign, whole, fraction, unit = match.groups()
    nanoseconds = int(whole) * 1_000_000_000 + int((fraction or "").ljust(9, "0"))
    return (-1 if sign == "-" else 1) * nanoseconds * _FACTORS[unit]

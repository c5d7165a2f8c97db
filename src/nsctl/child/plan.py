"""The plan: what the last stage applies before a container's command runs, and how it is written.

One value for both last stages, ``native/stage2`` and its Python twin. The text is binary and
little-endian: the magic "nsctl s2", a version word, a word with the size of all that follows, then
records of a tag word, a word with the payload's size, and the payload. What is absent is left as it
is. Tags rise, and only filters repeat, so that a plan has one spelling. ``native/plan.h`` reads the
same: change the two together.
"""

from __future__ import annotations

import struct

from nsctl.errors import NsctlError
from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

MAGIC = b"nsctl s2"
VERSION = 2
MOST = 16 << 20
"""A plan is smaller than this, in bytes."""

UNLIMITED = 0xFFFFFFFFFFFFFFFF
"""No limit, in `Limit` (RLIM64_INFINITY)."""

SECCOMP_FILTER_FLAG_LOG = 2
SECCOMP_FILTER_FLAG_SPEC_ALLOW = 4

_FILTER_FLAGS = SECCOMP_FILTER_FLAG_LOG | SECCOMP_FILTER_FLAG_SPEC_ALLOW
_FILTER_INSTRUCTION = 8
_FILTER_MOST = 4096  # BPF_MAXINSNS
_PATH_MOST = 4096  # PATH_MAX, with the closing NUL
_KEEP_MOST = 1024
_GROUPS_MOST = 65536  # NGROUPS_MAX
_LIMITS_MOST = 64
_JOINS_MOST = 16
_SIGNALS = 64
_NO_ID = 0xFFFFFFFF

_HEADER = struct.Struct("<8sII")
_RECORD = struct.Struct("<II")
_WORD = struct.Struct("<I")
_LIMIT = struct.Struct("<IQQ")
_SETS = struct.Struct("<5Q")
_JOIN = struct.Struct("<2I")

TAGS = (
    "",
    "mode",
    "keep",
    "stdio",
    "go",
    "parent",
    "signals",
    "words",
    "label",
    "cgroup",
    "lenient_groups",
    "namespaces",
    "two_passes",
    "view",
    "root",
    "directory",
    "terminal",
    "setsid",
    "keyring",
    "limits",
    "umask",
    "cwd",
    "capabilities",
    "groups",
    "gid",
    "uid",
    "securebits",
    "death_signal",
    "no_new_privs",
    "filter",
    "keep_caps",
    "program",
    "scripts",
    "argv",
    "env",
)
"""Names of the records, each at the place of its tag; no record has tag 0."""


class Limit(NamedTuple):
    """A resource limit, as in getrlimit(2).

    Attributes:
        resource: RLIMIT_* number.
        soft: 64 bits unsigned; `UNLIMITED` for none.
        hard: the same.
    """

    resource: int
    soft: int
    hard: int


MODES = ("exec", "init", "enter", "fork")
"""What becomes of the last stage, see `Plan.mode`, each at the place of its number."""


class Join(NamedTuple):
    """Namespaces to join with one setns(2).

    Attributes:
        fd: a pidfd (since 5.8), or a namespace.
        flags: CLONE_NEW* bits.
    """

    fd: int
    flags: int


class Terminal(NamedTuple):
    """A terminal of the root that is entered.

    Attributes:
        socket: where its master is sent, or a byte without one where that root has no devpts and
            the streams are left as they are.
        streams: bits 0 to 2, for the standard streams that it becomes.
    """

    socket: int
    streams: int


class Filter(NamedTuple):
    """A seccomp filter, as in seccomp(2).

    Attributes:
        program: an array of struct sock_filter, 8 bytes each, at most 4096 of them.
        flags: SECCOMP_FILTER_FLAG_LOG and _SPEC_ALLOW, or 0.
    """

    program: bytes
    flags: int = 0


_ENTERING = (
    "mode",
    "signals",
    "words",
    "label",
    "cgroup",
    "lenient_groups",
    "namespaces",
    "two_passes",
    "view",
    "root",
    "directory",
    "terminal",
    "keep_caps",
    "program",
    "scripts",
)


class Plan(NamedTuple):
    """What the last stage applies, in the order in which it can be applied.

    Numbers of users, groups and signals are those of the namespaces that the last stage is in.

    Attributes:
        argv: the command; a first word without a slash is searched in ``env``'s PATH, inside
            the root that the last stage is in.
        env: "NAME=value" each, no name twice; the command gets nothing else.
        mode: "exec": become the command. "init": stay, as PID 1 or above the command: reap, pass
            signals on, exit as the command did. "enter": the command is a child of the last
            stage's parent, born into the PID namespace that was joined when everything has been
            given up. "fork": the last stage stays above it in the namespace where it was, as
            nsenter(1) does.
        keep: descriptors besides 0 to 2 that the command gets; all others are closed early.
            None: none is closed.
        stdio: descriptors that become 0, 1 and 2; None where they are so already.
        go: descriptor from which one byte is read when everything is applied and before the
            command starts; its end without a byte stops everything. May be the report, where
            that is a socket.
        parent: pidfd of the process that ``death_signal`` is tied to, by which one that has
            died too early is seen.
        signals: dispositions and the mask of signals are left as they are.
        words: sentences that the last stage says on standard error in place of a report: one a
            step, one for each of ``namespaces``, then the system's own for each error number.
        label: file below the caller's /proc and what is written there, for the label of the
            command (attr/exec of proc_pid_attr(5)).
        cgroup: descriptor of a cgroup.procs that the last stage writes itself into.
        lenient_groups: drop all groups before the namespaces are joined, too; only if both fail
            it is a failure.
        namespaces: what is joined, in this order.
        two_passes: first without the user namespace and ignoring refusals, then what is left.
        view: paths and contents of files, in a mount namespace of its own made after joining,
            with the /sys of the network namespace; None for no such thing.
        root: directory that becomes the root.
        directory: directory to change to, after the root.
        terminal: a terminal of its own; None for none.
        setsid: run the command in a session of its own, and the last stage too.
        keyring: join a new session keyring of this name, b"" for one without a name. A name that
            exists and may be searched is joined, so it must be one that nobody else can know.
        limits: resource limits.
        umask: the umask.
        cwd: working directory, as seen inside. Entered with the rights that the last stage has
            before it changes its user, else with the user's own; one outside the root is refused.
        capabilities: the five sets. For uid 0 the bounding and the inheritable set are lowered
            to the permitted one, since exec would give root all of them.
        groups: supplementary groups; None leaves them.
        gid: real, effective and saved group; None leaves them.
        uid: real, effective and saved user; None leaves them.
        securebits: as in capabilities(7).
        death_signal: signal when the parent ends, set after everything that clears it.
        no_new_privs: as in PR_SET_NO_NEW_PRIVS(2const).
        filters: seccomp filters, oldest first.
        keep_caps: what is permitted in the end stays so over exec (the ambient set).
        program: path of the program, where it is not ``argv``'s first word.
        scripts: what is no program is read by /bin/sh, as execvp(3) does.
    """

    argv: tuple[bytes, ...]
    env: tuple[bytes, ...] = ()
    mode: str = "exec"
    keep: tuple[int, ...] | None = ()
    stdio: tuple[int, int, int] | None = None
    go: int | None = None
    parent: int | None = None
    signals: bool = False
    words: tuple[bytes, ...] = ()
    label: tuple[bytes, bytes] | None = None
    cgroup: int | None = None
    lenient_groups: bool = False
    namespaces: tuple[Join, ...] = ()
    two_passes: bool = False
    view: tuple[tuple[bytes, bytes], ...] | None = None
    root: int | None = None
    directory: int | None = None
    terminal: Terminal | None = None
    setsid: bool = False
    keyring: bytes | None = None
    limits: tuple[Limit, ...] = ()
    umask: int | None = None
    cwd: bytes | None = None
    capabilities: CapabilitySets | None = None
    groups: tuple[int, ...] | None = None
    gid: int | None = None
    uid: int | None = None
    securebits: int | None = None
    death_signal: int | None = None
    no_new_privs: bool = False
    filters: tuple[Filter, ...] = ()
    keep_caps: bool = False
    program: bytes | None = None
    scripts: bool = False

    @property
    def own_descriptors(self) -> tuple[int, ...]:
        """Descriptors that the last stage uses and closes."""
        own = (self.parent, self.cgroup, self.root, self.directory)
        terminal = () if self.terminal is None else (self.terminal.socket,)
        return (*(fd for fd in own if fd is not None), *terminal)

    @property
    def enters(self) -> bool:
        """It asks for something that belongs to entering, not to building."""
        building = Plan(self.argv, mode="init" if self.mode == "init" else "exec")
        return any(getattr(self, name) != getattr(building, name) for name in _ENTERING)

    def encode(self) -> bytes:
        """Write the plan.

        Returns:
            What `decode` and the last stage read.

        Raises:
            NsctlError: the plan cannot be written (a NUL in a string, a number too large) or
                would be refused when it is read.
        """
        strings = (
            *(self.argv + self.env + self.words + (self.label or ())),
            *(string for pair in self.view or () for string in pair),
            *(string or b"" for string in (self.keyring, self.cwd, self.program)),
        )
        if any(b"\0" in string for string in strings):
            raise _unwritable("a string in it contains a NUL byte")
        names = [entry.partition(b"=")[0] for entry in self.env if entry.find(b"=") > 0]
        if len(set(names)) < len(self.env):
            raise _unwritable("its environment has a name twice, or an entry without a name")
        try:
            records = b"".join(
                _RECORD.pack(TAGS.index(name), len(payload)) + payload
                for name, payload in _payloads(self)
            )
            text = _HEADER.pack(MAGIC, VERSION, len(records)) + records
        except struct.error as error:
            raise _unwritable(str(error)) from error
        decode(text)
        return text


def check(plan: Plan, report: int) -> bytes:
    """Write a plan, and check that its descriptors leave room for the report.

    Args:
        plan: what to apply.
        report: writing end of the report; -1 for a plan with words of its own.

    Returns:
        As `Plan.encode`.

    Raises:
        NsctlError: see `Plan.encode`; or a descriptor would serve two purposes.
    """
    text = plan.encode()
    joined = [join.fd for join in plan.namespaces]
    if report < 0 and plan.words:
        return text
    if report < 3 or report in {*plan.own_descriptors, *(plan.keep or ()), *joined}:
        raise NsctlError(
            "start", "the last stage", f"descriptor {report} cannot serve as its report"
        )
    return text


def _unwritable(cause: str) -> NsctlError:
    return NsctlError("write", "the plan of the last stage", cause)


def _words(*numbers: int) -> bytes:
    return struct.pack(f"<{len(numbers)}I", *numbers)


def _string(text: bytes) -> bytes:
    return text + b"\0"


def _payloads(plan: Plan) -> Iterator[tuple[str, bytes]]:
    """Give the records that a plan consists of, in the order of their tags."""
    limits = b"".join(_LIMIT.pack(*limit) for limit in plan.limits)
    view = None if plan.view is None else [string for pair in plan.view for string in pair]
    records = [
        ("mode", _words(MODES.index(plan.mode))),
        ("keep", _some(plan.keep)),
        ("stdio", _some(plan.stdio)),
        ("go", _one(plan.go)),
        ("parent", _one(plan.parent)),
        ("signals", _flag(plan.signals)),
        ("words", _join(plan.words) or None),
        ("label", None if plan.label is None else _join(plan.label)),
        ("cgroup", _one(plan.cgroup)),
        ("lenient_groups", _flag(plan.lenient_groups)),
        ("namespaces", b"".join(_JOIN.pack(*join) for join in plan.namespaces) or None),
        ("two_passes", _flag(plan.two_passes)),
        ("view", None if view is None else _join(view)),
        ("root", _one(plan.root)),
        ("directory", _one(plan.directory)),
        ("terminal", _some(plan.terminal)),
        ("setsid", _flag(plan.setsid)),
        ("keyring", None if plan.keyring is None else _string(plan.keyring)),
        ("limits", limits or None),
        ("umask", _one(plan.umask)),
        ("cwd", None if plan.cwd is None else _string(plan.cwd)),
        ("capabilities", None if plan.capabilities is None else _SETS.pack(*plan.capabilities)),
        ("groups", _some(plan.groups)),
        ("gid", _one(plan.gid)),
        ("uid", _one(plan.uid)),
        ("securebits", _one(plan.securebits)),
        ("death_signal", _one(plan.death_signal)),
        ("no_new_privs", _flag(plan.no_new_privs)),
        *(("filter", _words(one.flags) + one.program) for one in plan.filters),
        ("keep_caps", _flag(plan.keep_caps)),
        ("program", None if plan.program is None else _string(plan.program)),
        ("scripts", _flag(plan.scripts)),
        ("argv", _join(plan.argv)),
        ("env", _join(plan.env) or None),
    ]
    for name, payload in records:
        if payload is not None:
            yield name, payload


def _some(numbers: tuple[int, ...] | None) -> bytes | None:
    return None if numbers is None else _words(*numbers)


def _flag(flag: bool) -> bytes | None:
    return b"" if flag else None


def _join(strings: Iterable[bytes]) -> bytes:
    return b"".join(map(_string, strings))


def _one(number: int | None) -> bytes | None:
    return None if number is None else _words(number)


def decode(text: bytes) -> Plan:
    """Read a plan, strictly: the counterpart of native/plan.h in the Python twin.

    Args:
        text: from `Plan.encode`.

    Returns:
        The plan.

    Raises:
        NsctlError: the text is no plan; the cause says at which byte.
    """
    if len(text) < _HEADER.size or len(text) >= MOST:
        raise _damaged(len(text), "it has no size that a plan can have")
    magic, version, size = _HEADER.unpack_from(text)
    if (magic, version, size) != (MAGIC, VERSION, len(text) - _HEADER.size):
        raise _damaged(0, "this is no plan, or one of another version or size")
    single: dict[str, bytes] = {}
    filters: list[Filter] = []
    for at, name, payload in _records(text):
        if not _well_shaped(name, payload):
            raise _damaged(at, f'"{name}" has no form that it can have')
        if name == "filter":
            filters.append(Filter(payload[4:], _number(payload)))
        else:
            single[name] = payload
    whole = single.keys() >= {"mode", "argv"} and _number(single["mode"]) < len(MODES)
    plan = _plan(single, tuple(filters)) if whole and _paired(single) else None
    if plan is None or not _agrees(plan):
        raise _damaged(len(text), "what it asks for cannot be asked for")
    return plan


def _damaged(at: int, cause: str) -> NsctlError:
    return NsctlError("read", "the plan of the last stage", f"{cause} (byte {at})")


def _records(text: bytes) -> Iterator[tuple[int, str, bytes]]:
    at = _HEADER.size
    last = 0
    while at < len(text):
        if len(text) - at < _RECORD.size:
            raise _damaged(at, "a record ends early")
        tag, size = _RECORD.unpack_from(text, at)
        begin = at + _RECORD.size
        if tag >= len(TAGS) or size > len(text) - begin:
            raise _damaged(at, "a record of an unknown kind, or one that ends early")
        if tag <= last and not (TAGS[tag] == "filter" and tag == last):
            raise _damaged(at, "a record out of order")
        yield at, TAGS[tag], text[begin : begin + size]
        last = tag
        at = begin + size


class _Shape(NamedTuple):
    """What a payload may be: ``least`` bytes, then any number of ``unit``, up to ``most``."""

    least: int
    unit: int
    most: int
    holds: str = "numbers"


_WORD_SHAPE = _Shape(4, 4, 4)
_FLAG = _Shape(0, 4, 0)
_SHAPES = {
    "keep": _Shape(0, 4, 4 * _KEEP_MOST),
    "stdio": _Shape(12, 4, 12),
    "signals": _FLAG,
    "words": _Shape(1, 1, MOST, "strings"),
    "label": _Shape(2, 1, MOST, "strings"),
    "lenient_groups": _FLAG,
    "namespaces": _Shape(_JOIN.size, _JOIN.size, _JOINS_MOST * _JOIN.size),
    "two_passes": _FLAG,
    "view": _Shape(0, 1, MOST, "strings"),
    "terminal": _Shape(8, 4, 8),
    "setsid": _FLAG,
    "keyring": _Shape(1, 1, _PATH_MOST, "string"),
    "limits": _Shape(_LIMIT.size, _LIMIT.size, _LIMITS_MOST * _LIMIT.size),
    "cwd": _Shape(2, 1, _PATH_MOST, "string"),
    "capabilities": _Shape(_SETS.size, 8, _SETS.size),
    "groups": _Shape(0, 4, 4 * _GROUPS_MOST),
    "no_new_privs": _FLAG,
    "filter": _Shape(
        4 + _FILTER_INSTRUCTION, _FILTER_INSTRUCTION, 4 + _FILTER_INSTRUCTION * _FILTER_MOST
    ),
    "keep_caps": _FLAG,
    "program": _Shape(2, 1, _PATH_MOST, "string"),
    "scripts": _FLAG,
    "argv": _Shape(1, 1, MOST, "strings"),
    "env": _Shape(1, 1, MOST, "strings"),
}


def _well_shaped(name: str, payload: bytes) -> bool:
    shape = _SHAPES.get(name, _WORD_SHAPE)
    size = len(payload)
    if not shape.least <= size <= shape.most or (size - shape.least) % shape.unit:
        return False
    if shape.holds == "numbers" or not payload:
        return True
    return payload[-1] == 0 and (shape.holds == "strings" or 0 not in payload[:-1])


def _number(payload: bytes) -> int:
    number: int = _WORD.unpack_from(payload)[0]
    return number


def _numbers(payload: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(payload) // 4}I", payload)


def _strings(payload: bytes) -> tuple[bytes, ...]:
    return tuple(payload.split(b"\0")[:-1])


def _paired(single: dict[str, bytes]) -> bool:
    """Check the records whose strings come in pairs; one pair is what a label can be."""
    label = single.get("label")
    if label is not None and label.count(0) != 2:
        return False
    return single.get("view", b"").count(0) % 2 == 0


def _plan(single: dict[str, bytes], filters: tuple[Filter, ...]) -> Plan:
    def word(name: str) -> int | None:
        return _number(single[name]) if name in single else None

    def words(name: str) -> tuple[int, ...] | None:
        return _numbers(single[name]) if name in single else None

    def string(name: str) -> bytes | None:
        return single[name][:-1] if name in single else None

    def pairs(name: str) -> tuple[tuple[bytes, bytes], ...] | None:
        texts = _strings(single[name]) if name in single else None
        return None if texts is None else tuple(zip(texts[::2], texts[1::2], strict=True))

    stdio = words("stdio")
    terminal = words("terminal")
    label = pairs("label")
    sets = single.get("capabilities")
    return Plan(
        argv=_strings(single["argv"]),
        env=_strings(single.get("env", b"")),
        mode=MODES[_number(single["mode"])],
        keep=words("keep"),
        stdio=None if stdio is None else (stdio[0], stdio[1], stdio[2]),
        go=word("go"),
        parent=word("parent"),
        signals="signals" in single,
        words=_strings(single.get("words", b"")),
        label=label[0] if label else None,
        cgroup=word("cgroup"),
        lenient_groups="lenient_groups" in single,
        namespaces=tuple(Join(*join) for join in _JOIN.iter_unpack(single.get("namespaces", b""))),
        two_passes="two_passes" in single,
        view=pairs("view"),
        root=word("root"),
        directory=word("directory"),
        terminal=None if terminal is None else Terminal(terminal[0], terminal[1]),
        setsid="setsid" in single,
        keyring=string("keyring"),
        limits=tuple(Limit(*limit) for limit in _LIMIT.iter_unpack(single.get("limits", b""))),
        umask=word("umask"),
        cwd=string("cwd"),
        capabilities=None if sets is None else CapabilitySets(*_SETS.unpack(sets)),
        groups=words("groups"),
        gid=word("gid"),
        uid=word("uid"),
        securebits=word("securebits"),
        death_signal=word("death_signal"),
        no_new_privs="no_new_privs" in single,
        filters=filters,
        keep_caps="keep_caps" in single,
        program=string("program"),
        scripts="scripts" in single,
    )


def _agrees(plan: Plan) -> bool:
    """Check what the shapes leave open: values that no system call would refuse for us."""
    own = [fd for fd in (plan.go,) if fd is not None] + [*plan.own_descriptors]
    others = [*(plan.keep or ()), *(join.fd for join in plan.namespaces)]
    most = 0x7FFFFFFF
    return (
        all(3 <= fd <= most for fd in own + others)
        and len(set(own)) == len(own)
        and not set(own) & set(others)
        and all(fd <= most for fd in plan.stdio or ())
        and not any(one.flags & ~_FILTER_FLAGS for one in plan.filters)
        and (plan.umask is None or plan.umask <= 0o777)
        and (plan.death_signal is None or 1 <= plan.death_signal <= _SIGNALS)
        and _NO_ID not in {plan.gid, plan.uid}
    )

"""Profiles of system call filters as engines write them, read strictly into rules.

The form is linux.seccomp of the OCI runtime specification (config-linux.md), with what Moby adds
to it: ``archMap``, ``name``, and for each entry ``includes`` and ``excludes`` by architecture,
capability and kernel. Turning rules into a program is `nsctl.kernel.seccomp`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from nsctl.errors import NsctlError, UsageError
from nsctl.kernel import syscall_numbers
from nsctl.model import capabilities as caps
from nsctl.model.record import NamedTuple

KILL_PROCESS = 0x80000000
KILL_THREAD = 0x00000000
TRAP = 0x00030000
ERRNO = 0x00050000
USER_NOTIF = 0x7FC00000
TRACE = 0x7FF00000
LOG = 0x7FFC0000
ALLOW = 0x7FFF0000
ACTION = 0xFFFF0000
"""The part of a filter's answer that says what happens; the rest is SECCOMP_RET_DATA."""

_ACTIONS = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_NOTIFY": USER_NOTIF,
    "SCMP_ACT_TRACE": TRACE,
    "SCMP_ACT_TRAP": TRAP,
}
_MAX_ERRNO = 4095
_FLAGS = {
    # Threads and notifications have no meaning where a filter is loaded: a child with one thread
    # and no listener.
    "SECCOMP_FILTER_FLAG_TSYNC": 0,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 0,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
}
OPERATORS = ("EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ")


class Abi(NamedTuple):
    """One way of calling the kernel.

    Attributes:
        name: of its table in `nsctl.kernel.syscall_numbers`.
        audit: AUDIT_ARCH_* that a filter sees (linux/audit.h).
        wide: arguments are 64 bits; otherwise the kernel looks at the lower 32 alone.
    """

    name: str
    audit: int
    wide: bool


X86_64 = Abi("X86_64", 0xC000003E, wide=True)
X32 = Abi("X32", 0xC000003E, wide=True)
I386 = Abi("I386", 0x40000003, wide=False)
AARCH64 = Abi("AARCH64", 0xC00000B7, wide=True)
ARM = Abi("ARM", 0x40000028, wide=False)

_ABIS = {
    "SCMP_ARCH_X86_64": X86_64,
    "SCMP_ARCH_X32": X32,
    "SCMP_ARCH_X86": I386,
    "SCMP_ARCH_AARCH64": AARCH64,
    "SCMP_ARCH_ARM": ARM,
}
# machine as uname(2) says: ABIs it can run, its own first; its name in Moby's profiles.
_MACHINES = {
    "x86_64": ((X86_64, I386, X32), "amd64"),
    "aarch64": ((AARCH64, ARM), "arm64"),
}
# The rest of the specification's list: a profile may name them, no process here can be one.
_ELSEWHERE = frozenset(
    {
        "SCMP_ARCH_LOONGARCH64",
        "SCMP_ARCH_M68K",
        "SCMP_ARCH_MIPS",
        "SCMP_ARCH_MIPS64",
        "SCMP_ARCH_MIPS64N32",
        "SCMP_ARCH_MIPSEL",
        "SCMP_ARCH_MIPSEL64",
        "SCMP_ARCH_MIPSEL64N32",
        "SCMP_ARCH_PARISC",
        "SCMP_ARCH_PARISC64",
        "SCMP_ARCH_PPC",
        "SCMP_ARCH_PPC64",
        "SCMP_ARCH_PPC64LE",
        "SCMP_ARCH_RISCV64",
        "SCMP_ARCH_S390",
        "SCMP_ARCH_S390X",
        "SCMP_ARCH_SH",
        "SCMP_ARCH_SHEB",
    }
)


class Condition(NamedTuple):
    """One comparison of an argument.

    Attributes:
        argument: which one, 0 to 5.
        operator: one of `OPERATORS`.
        value: what it is compared with; for MASKED_EQ the mask.
        masked: for MASKED_EQ, what the masked argument must equal.
    """

    argument: int
    operator: str
    value: int
    masked: int = 0


class Rule(NamedTuple):
    """What happens to a call whose arguments fulfil all conditions.

    Attributes:
        answer: what the filter returns, action and data.
        conditions: () for every call.
    """

    answer: int
    conditions: tuple[Condition, ...] = ()


class Profile(NamedTuple):
    """A profile as it applies to one machine and one set of capabilities.

    Attributes:
        default: the answer to what no rule decides.
        flags: for seccomp(2).
        abis: those allowed, the machine's own first.
        rules: by the name of the call. If the first has no conditions it is the only one;
            otherwise the first that fits decides, else ``default``. Empty for calls whose rules
            say the same as ``default``: the profile knows them all the same.
        unknown: names of calls that no table has, sorted.
    """

    default: int
    flags: int
    abis: tuple[Abi, ...]
    rules: dict[str, tuple[Rule, ...]]
    unknown: tuple[str, ...]


def numbers(abi: Abi) -> dict[str, int]:
    """Give the numbers of all calls of an ABI.

    Args:
        abi: which one.

    Returns:
        Number by name, as a filter sees it (x32's with bit 30 set).
    """
    table: str = getattr(syscall_numbers, abi.name)
    result = {}
    number = 0
    for word in table.split():
        if word.isdigit():
            number = int(word)
        else:
            result[word] = number
            number += 1
    return result


def read(profile: object, capabilities: int, machine: str = "", kernel: str = "") -> Profile:
    """Read a profile for a machine and a set of capabilities.

    Args:
        profile: decoded JSON.
        capabilities: the bounding set of who will run under it, a bit mask: ``includes`` and
            ``excludes`` are judged by it.
        machine: as uname(2) says; "" for this one.
        kernel: release as uname(2) says, for ``minKernel``; "" for this one.

    Returns:
        What applies. As runc and libseccomp have it: a rule that says the same as the default is
        dropped, a rule without conditions wins over those with, the first of several wins, and
        conditions on the same argument are alternatives.

    Raises:
        UsageError: the profile is not of this form; the cause says where.
        NsctlError: the system calls of this machine are not known here.
    """
    machine = machine or os.uname().machine
    if machine not in _MACHINES:
        raise NsctlError(
            "compile",
            "a seccomp profile",
            f"there are no system call numbers for {machine} here",
            "x86_64 and aarch64 are served",
        )
    runs, moby_name = _MACHINES[machine]
    whole = _object(profile, "the profile")
    default = _answer(whole, "defaultAction", "defaultErrnoRet", "the profile")
    if default == USER_NOTIF:
        raise _error("the profile", "SCMP_ACT_NOTIFY cannot be the default: nothing could start")
    entries = [
        (_object(entry, where), where)
        for entry, where in _entries(whole, "syscalls", "the profile")
    ]
    rules: dict[str, tuple[Rule, ...]] = {}
    for entry, where in entries:
        if _applies(entry, where, capabilities, moby_name, kernel):
            added = tuple(rule for rule in _rules(entry, where) if rule.answer != default)
            for name in _names(entry, where):
                rules[name] = joined(rules.get(name, ()), added)
    known = {name for abi in _ABIS.values() for name in numbers(abi)}
    flags = 0
    for flag, where in _entries(whole, "flags", "the profile"):
        if not isinstance(flag, str) or flag not in _FLAGS:
            raise _error(where, f"unknown flag {flag!r}")
        flags |= _FLAGS[flag]
    return Profile(
        default,
        flags,
        _abis(whole, runs),
        rules,
        tuple(sorted(name for name in rules if name not in known)),
    )


def joined(before: tuple[Rule, ...], added: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Add rules to those that a call has.

    Args:
        before: what it has, as in `Profile`.
        added: what comes later in the profile.

    Returns:
        All of them, or the one that has no conditions.
    """
    if before and not before[0].conditions:
        return before
    for rule in added:
        if not rule.conditions:
            return (rule,)
    return before + added


def _abis(whole: Mapping[str, object], runs: tuple[Abi, ...]) -> tuple[Abi, ...]:
    listed: list[object] = []
    for name, _ in _entries(whole, "architectures", "the profile"):
        listed.append(name)
    maps = _entries(whole, "archMap", "the profile")
    if listed and maps:
        raise _error("the profile", "has both architectures and archMap")
    for entry, where in maps:
        row = _object(entry, where)
        main = row.get("architecture")
        if isinstance(main, str) and _ABIS.get(main) == runs[0]:
            listed += [main, *(name for name, _ in _entries(row, "subArchitectures", where))]
    for name in listed:
        if not isinstance(name, str) or (
            name not in _ABIS and name not in _ELSEWHERE and name != "SCMP_ARCH_NATIVE"
        ):
            raise _error("the profile", f"unknown architecture {name!r}")
    allowed = {_ABIS.get(str(name)) for name in listed} | {runs[0]}
    return tuple(abi for abi in runs if abi in allowed)


def _applies(
    entry: Mapping[str, object], where: str, capabilities: int, moby_name: str, kernel: str
) -> bool:
    """Judge includes (all must hold) and excludes (none may)."""
    held = set(caps.names(capabilities))
    excludes = _filter(entry, "excludes", where)
    if moby_name in excludes.arches or held.intersection(excludes.caps):
        return False
    if excludes.kernel and _reached(excludes.kernel, kernel, where):
        return False
    includes = _filter(entry, "includes", where)
    if includes.arches and moby_name not in includes.arches:
        return False
    if not held.issuperset(includes.caps):
        return False
    return not includes.kernel or _reached(includes.kernel, kernel, where)


class _Filter(NamedTuple):
    caps: tuple[str, ...]
    arches: tuple[str, ...]
    kernel: str


def _filter(entry: Mapping[str, object], key: str, where: str) -> _Filter:
    if entry.get(key) is None:
        return _Filter((), (), "")
    where = f"{where}.{key}"
    row = _object(entry[key], where)
    unknown = row.keys() - {"caps", "arches", "minKernel"}
    if unknown:
        raise _error(where, f"unknown condition {min(unknown)!r}")
    kernel = row.get("minKernel") or ""
    if not isinstance(kernel, str):
        raise _error(where, "minKernel is no text")
    return _Filter(_texts(row, "caps", where), _texts(row, "arches", where), kernel)


def _reached(wanted: str, kernel: str, where: str) -> bool:
    # The one place where a version is looked at: the profile asks for it.
    running = kernel or os.uname().release
    return _version(running, "the running kernel", loose=True) >= _version(wanted, where)


def _version(text: str, where: str, *, loose: bool = False) -> tuple[int, int]:
    parts = text.split(".", 2)
    if len(parts) >= 2 and (loose or len(parts) == 2):
        digits = "".join(parts[1][: len(parts[1]) - len(parts[1].lstrip("0123456789"))])
        if (
            text.isascii()
            and parts[0].isdigit()
            and digits
            and (loose or digits == parts[1])
            and len(parts[0]) + len(digits) < 10
        ):
            return int(parts[0]), int(digits)
    raise _error(where, f'"{text}" is no kernel version such as 5.10')


def _names(entry: Mapping[str, object], where: str) -> tuple[str, ...]:
    names = _texts(entry, "names", where)
    if entry.get("name"):
        if names:
            raise _error(where, "has both name and names")
        names = _texts({"names": [entry["name"]]}, "names", where)
    if "" in names:
        raise _error(where, "names no system call")
    return names


def _rules(entry: Mapping[str, object], where: str) -> tuple[Rule, ...]:
    answer = _answer(entry, "action", "errnoRet", where)
    conditions = [
        _condition(_object(one, place), place) for one, place in _entries(entry, "args", where)
    ]
    if len({condition.argument for condition in conditions}) < len(conditions):
        return tuple(Rule(answer, (condition,)) for condition in conditions)
    return (Rule(answer, tuple(conditions)),)


def _condition(row: Mapping[str, object], where: str) -> Condition:
    name = row.get("op")
    operator = name.removeprefix("SCMP_CMP_") if isinstance(name, str) else ""
    if operator not in OPERATORS or operator == name:
        raise _error(where, f"unknown operator {name!r}")
    value = _integer(row, "value", 2**64 - 1, where)
    masked = 0 if row.get("valueTwo") is None else _integer(row, "valueTwo", 2**64 - 1, where)
    return Condition(
        _integer(row, "index", 5, where),
        operator,
        value,
        masked & value if operator == "MASKED_EQ" else 0,
    )


def _answer(row: Mapping[str, object], action_key: str, errno_key: str, where: str) -> int:
    name = row.get(action_key)
    if not isinstance(name, str) or name not in _ACTIONS:
        raise _error(where, f"{action_key} is {name!r}, not one of {', '.join(_ACTIONS)}")
    action = _ACTIONS[name]
    if row.get(errno_key) is None:
        return action | 1 if action in {ERRNO, TRACE} else action  # EPERM
    if action not in {ERRNO, TRACE}:
        raise _error(where, f"{errno_key} has no meaning with {name}")
    highest = _MAX_ERRNO if action == ERRNO else 0xFFFF
    return action | _integer(row, errno_key, highest, where)


def _error(where: str, what: str) -> UsageError:
    return UsageError(f"seccomp profile: {where}: {what}")


def _object(value: object, where: str) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise _error(where, "is no object")
    return value


def _entries(row: Mapping[str, object], key: str, where: str) -> list[tuple[object, str]]:
    """List what stands under a key that may be absent or null, each with where it stands."""
    value = row.get(key)
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise _error(where, f"{key} is no list")
    return [(entry, f"{key}[{place}]") for place, entry in enumerate(value)]


def _texts(row: Mapping[str, object], key: str, where: str) -> tuple[str, ...]:
    texts = []
    for text, place in _entries(row, key, where):
        if not isinstance(text, str):
            raise _error(f"{where}.{place}", "is no text")
        texts.append(text)
    return tuple(texts)


def _integer(row: Mapping[str, object], key: str, highest: int, where: str) -> int:
    value = row.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= highest:
        raise _error(where, f"{key} is {value!r}, not a whole number up to {highest}")
    return value

"""System call filters: from a profile to the program that seccomp(2) takes.

Profiles are read by `nsctl.kernel.seccomp_profile`, the default one stands in
`nsctl.kernel.seccomp_default`, programs are checked and run by `nsctl.kernel.cbpf`. Reading the
filters of a running process is another subject. Sources: seccomp(2),
Documentation/userspace-api/seccomp_filter.rst.

A program looks at the architecture first: what the profile does not list kills the process, as a
number means another call there. Then it finds the call's number among ranges of numbers with the
same answer by binary search, and compares arguments only where the profile asks for it. It uses
no instruction that keeps the kernel (since 5.11) from seeing beforehand that a call is always
allowed, so most calls cost no run of the filter at all.

What the profile is too old to know is answered ENOSYS, as runc does, so that programs try
something older: every number above the highest that the profile names, unless its default is to
allow, log or trace. On x86-64 the numbers of the x32 ABI get ENOSYS too where the profile does
not list it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence

from nsctl.errors import UsageError, translate
from nsctl.kernel import cbpf, seccomp_profile
from nsctl.kernel.cbpf import Instruction, interpret, statement
from nsctl.kernel.seccomp_profile import (
    ALLOW,
    ERRNO,
    KILL_PROCESS,
    LOG,
    TRACE,
    Abi,
    Condition,
    Profile,
    Rule,
    numbers,
)
from nsctl.model.record import NamedTuple

__all__ = ["Filter", "compile_profile", "default_filter", "interpret", "load"]

_ENOSYS = ERRNO | 38
_X32_BIT = 0x40000000
_PRIVATE = 0x000F0000  # ARM's own calls lie above, far from the rest of its table

_SECCOMP_SET_MODE_FILTER = 1
_PR_SET_SECCOMP = 22
_SECCOMP_MODE_FILTER = 2


class Filter(NamedTuple):
    """What to load.

    Attributes:
        program: an array of struct sock_filter, 8 bytes each.
        flags: for seccomp(2): SECCOMP_FILTER_FLAG_LOG, _SPEC_ALLOW.
        unknown: calls that the profile names and no table here has, sorted.
    """

    program: bytes
    flags: int
    unknown: tuple[str, ...]


class _Range(NamedTuple):
    """Numbers from ``start`` to the next range's, with one answer.

    Attributes:
        start: first number, 32 bits unsigned.
        rules: tried in order; the last has no conditions.
    """

    start: int
    rules: tuple[Rule, ...]


def default_filter(capabilities: int, machine: str = "") -> Filter:
    """Compile the default filter of a container.

    Args:
        capabilities: its bounding set, a bit mask.
        machine: as uname(2) says; "" for this one.

    Returns:
        The filter.

    Raises:
        NsctlError: the system calls of this machine are not known here.
    """
    from nsctl.kernel.seccomp_default import PROFILE

    return compile_profile(PROFILE, capabilities, machine)


def compile_profile(
    profile: object, capabilities: int = 0, machine: str = "", kernel: str = ""
) -> Filter:
    """Compile a profile as engines write it.

    Args:
        profile: decoded JSON: linux.seccomp of an OCI config.json, or a profile of Moby's.
        capabilities: the bounding set of who will run under it, a bit mask.
        machine: as uname(2) says; "" for this one.
        kernel: release as uname(2) says, for profiles that ask; "" for this one.

    Returns:
        The filter. SCMP_ACT_NOTIFY is compiled too; without a listener the kernel answers ENOSYS.

    Raises:
        UsageError: the profile is not of that form, or gives more than 4096 instructions.
        NsctlError: the system calls of this machine are not known here.
    """
    known = seccomp_profile.read(profile, capabilities, machine, kernel)
    program = [statement(cbpf.LD_ABS, cbpf.ARCHITECTURE_OFFSET)]
    audits = dict.fromkeys(abi.audit for abi in known.abis)
    for audit in audits:
        section = _section(known, [abi for abi in known.abis if abi.audit == audit])
        program += _guarded(Instruction(cbpf.JEQ_K, 0, 0, audit), section)
    program.append(statement(cbpf.RET_K, KILL_PROCESS))
    if len(program) > cbpf.MAX_INSTRUCTIONS:
        raise UsageError(
            f"seccomp profile: it gives {len(program)} instructions, and the kernel takes"
            f" {cbpf.MAX_INSTRUCTIONS}",
            "leave out architectures or comparisons of arguments",
        )
    return Filter(cbpf.assemble(program), known.flags, known.unknown)


def _guarded(test: Instruction, block: Sequence[Instruction]) -> list[Instruction]:
    """Run a block only where a test holds; jumps on a condition reach 255 instructions, JA all."""
    if len(block) <= 255:
        return [test._replace(false=len(block)), *block]
    return [test._replace(true=1), statement(cbpf.JA, len(block)), *block]


def _section(profile: Profile, abis: Sequence[Abi]) -> list[Instruction]:
    """Write what decides on the calls of one architecture."""
    own = abis[0]
    ranges = _ranges(profile, own, 0)
    if own == seccomp_profile.X86_64:
        # What lies from here on is x32's, as runc and libseccomp have it.
        ranges = [one for one in ranges if one.start < _X32_BIT]
        if seccomp_profile.X32 in abis:
            ranges += _ranges(profile, seccomp_profile.X32, _X32_BIT)
        else:
            ranges.append(_Range(_X32_BIT, (Rule(_ENOSYS),)))
    return [statement(cbpf.LD_ABS, cbpf.NUMBER_OFFSET), *_search(_merged(ranges), own)]


def _ranges(profile: Profile, abi: Abi, low: int) -> list[_Range]:
    """Cut the numbers of one ABI into ranges, from ``low`` up."""
    otherwise = Rule(profile.default)
    table = numbers(abi)
    named: dict[int, tuple[Rule, ...]] = {}
    for name, rules in profile.rules.items():
        if name in table:  # some numbers have two names
            named[table[name]] = seccomp_profile.joined(named.get(table[name], ()), rules)
    highest = max((number for number in named if number - low < _PRIVATE), default=-1)
    future = otherwise
    if highest >= 0 and profile.default & seccomp_profile.ACTION not in {ALLOW, LOG, TRACE}:
        future = Rule(_ENOSYS)
    result = []
    following = low
    for number in sorted(named):
        if number > following:
            result.append(_Range(following, (otherwise if following < highest else future,)))
        rules = named[number]
        decided = rules and not rules[-1].conditions
        result.append(_Range(number, rules if decided else (*rules, otherwise)))
        following = number + 1
    result.append(_Range(following, (future,)))
    return result


def _merged(ranges: Iterable[_Range]) -> list[_Range]:
    """Join neighbours with the same answer."""
    result: list[_Range] = []
    for one in ranges:
        if not result or result[-1].rules != one.rules:
            result.append(one)
    return result


def _search(ranges: Sequence[_Range], abi: Abi) -> list[Instruction]:
    """Find the range of the number in A by halving, and answer."""
    if len(ranges) == 1:
        return [instruction for rule in ranges[0].rules for instruction in _answer(rule, abi)]
    middle = len(ranges) // 2
    lower = _search(ranges[:middle], abi)
    upper = _search(ranges[middle:], abi)
    test = Instruction(cbpf.JGE_K, 0, 0, ranges[middle].start)
    if len(lower) <= 255:
        return [test._replace(true=len(lower)), *lower, *upper]
    return [test._replace(false=1), statement(cbpf.JA, len(lower)), *lower, *upper]


def _answer(rule: Rule, abi: Abi) -> list[Instruction]:
    """Return the rule's answer if all its conditions hold, else go on behind it."""
    block = [statement(cbpf.RET_K, rule.answer)]
    for condition in reversed(rule.conditions):
        block = _compared(condition, abi, len(block)) + block
    return block


def _compared(condition: Condition, abi: Abi, following: int) -> list[Instruction]:
    """Compare an argument: go on where it holds, else skip the instructions that follow.

    A rule has six conditions at most and a condition six instructions, so that no jump is long.
    """
    offset = cbpf.ARGUMENTS_OFFSET + 8 * condition.argument
    low = statement(cbpf.LD_ABS, offset)
    value = condition.value & 0xFFFFFFFF
    if condition.operator == "MASKED_EQ":
        lower = _masked(low, value, condition.masked & 0xFFFFFFFF, following)
        if not abi.wide:
            return lower
        high = statement(cbpf.LD_ABS, offset + 4)
        return (
            _masked(high, condition.value >> 32, condition.masked >> 32, following + len(lower))
            + lower
        )
    code, negated = _TESTS[condition.operator]
    hold, fail = (following, 0) if negated else (0, following)
    lower = [low, Instruction(code, hold, fail, value)]
    if not abi.wide:
        return lower
    high = statement(cbpf.LD_ABS, offset + 4)
    top = condition.value >> 32
    # Skips of the test of equal upper halves: over nothing to the lower half, or over all.
    unequal = 2 + (following if not negated else 0)
    if code == cbpf.JEQ_K:
        return [high, Instruction(cbpf.JEQ_K, 0, unequal, top), *lower]
    more = 3 + (following if negated else 0)
    less = 2 + (0 if negated else following)
    return [
        high,
        Instruction(cbpf.JGT_K, more, 0, top),
        Instruction(cbpf.JEQ_K, 0, less, top),
        *lower,
    ]


# Operator to the kernel's test of the lower half, and whether the operator is its opposite.
_TESTS = {
    "EQ": (cbpf.JEQ_K, False),
    "NE": (cbpf.JEQ_K, True),
    "GT": (cbpf.JGT_K, False),
    "LE": (cbpf.JGT_K, True),
    "GE": (cbpf.JGE_K, False),
    "LT": (cbpf.JGE_K, True),
}


def _masked(load: Instruction, mask: int, wanted: int, following: int) -> list[Instruction]:
    if mask == 0:
        return []  # nothing of this half is asked for
    return [
        load,
        statement(cbpf.AND_K, mask),
        Instruction(cbpf.JEQ_K, 0, following, wanted),
    ]


def load(filter_: Filter) -> None:
    """Put the calling thread under a filter, for good. For child processes only.

    Where an earlier filter refuses seccomp(2), prctl(2) is tried, which has no flags: refusals
    are then not logged, and the processor's mitigations stay as they are.

    Args:
        filter_: what to load.

    Raises:
        KernelRefusal: EACCES without no_new_privs and without CAP_SYS_ADMIN in the thread's user
            namespace, EINVAL for a program that the kernel does not take, ENOMEM where all its
            filters together are too long (seccomp(2)).
    """
    import ctypes

    from nsctl.kernel.libc import syscall

    class SockFprog(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))

    fprog = SockFprog(len(filter_.program) // cbpf.INSTRUCTION_SIZE, filter_.program)
    attempts = (
        ("seccomp", _SECCOMP_SET_MODE_FILTER, filter_.flags),
        ("prctl", _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER),
    )
    refusal: OSError | None = None
    for name, *arguments in attempts:
        try:
            syscall(name, *arguments, ctypes.byref(fprog))
        except OSError as error:
            refusal = error
            if error.errno not in {errno.EPERM, errno.EACCES, errno.ENOSYS}:
                break
        else:
            return
    if refusal is not None:
        hint = "set no_new_privs first" if refusal.errno == errno.EACCES else ""
        raise translate(refusal, "load", "a seccomp filter", hint) from refusal

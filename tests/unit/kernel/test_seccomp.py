"""Profiles to programs: the compiler against a plain reading of the profile, and the default."""

from __future__ import annotations

import contextlib
import itertools
import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError, UsageError
from nsctl.kernel import cbpf, seccomp, seccomp_profile
from nsctl.kernel.seccomp_default import ALWAYS, BY_CAPABILITY, PROFILE
from nsctl.kernel.seccomp_profile import AARCH64, ARM, I386, X32, X86_64, Abi, numbers
from nsctl.model import capabilities

pytestmark = pytest.mark.unit

ALLOW = 0x7FFF0000
EPERM = 0x00050001
ENOSYS = 0x00050026
KILL_PROCESS = 0x80000000
ADMIN = capabilities.NUMBERS["CAP_SYS_ADMIN"]

ACTIONS = {
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_KILL": 0,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0,
    "SCMP_ACT_LOG": 0x7FFC0000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
}
TABLES = {
    "SCMP_ARCH_X86_64": X86_64,
    "SCMP_ARCH_X86": I386,
    "SCMP_ARCH_X32": X32,
    "SCMP_ARCH_AARCH64": AARCH64,
    "SCMP_ARCH_ARM": ARM,
}
FAMILY = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}

# --- a plain reading of a profile, written apart from the compiler -------------------------------


def word(action: str, errno: int | None) -> int:
    if action in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}:
        return ACTIONS[action] | (1 if errno is None else errno)
    return ACTIONS[action]


def compares(op: str, argument: int, value: int, two: int) -> bool:
    return {
        "SCMP_CMP_EQ": argument == value,
        "SCMP_CMP_NE": argument != value,
        "SCMP_CMP_LT": argument < value,
        "SCMP_CMP_LE": argument <= value,
        "SCMP_CMP_GT": argument > value,
        "SCMP_CMP_GE": argument >= value,
        "SCMP_CMP_MASKED_EQ": argument & value == two & value,
    }[op]


def fits(entry: dict[str, Any], args: list[int], bits: int) -> bool:
    mask = 2**bits - 1
    results = [
        compares(
            condition["op"],
            args[condition["index"]] & mask,
            condition["value"] & mask,
            (condition.get("valueTwo") or 0) & mask,
        )
        for condition in entry.get("args") or []
    ]
    indices = [condition["index"] for condition in entry.get("args") or []]
    return any(results) if len(set(indices)) < len(indices) else all(results)


def listed(profile: dict[str, Any], machine: str) -> list[str]:
    native, *others = FAMILY[machine]
    wanted = set(profile.get("architectures") or [])
    for row in profile.get("archMap") or []:
        if row["architecture"] == native:
            wanted |= set(row["subArchitectures"] or [])
    return [native, *(arch for arch in others if arch in wanted)]


def applies(entry: dict[str, Any], caps: int, machine: str) -> bool:
    held = set(capabilities.names(caps))
    moby = {"x86_64": "amd64", "aarch64": "arm64"}[machine]
    no, yes = entry.get("excludes") or {}, entry.get("includes") or {}
    if moby in (no.get("arches") or []) or held & set(no.get("caps") or []):
        return False
    if yes.get("arches") and moby not in yes["arches"]:
        return False
    return set(yes.get("caps") or []) <= held


def judge(
    profile: dict[str, Any], caps: int, machine: str, audit: int, nr: int, args: list[int]
) -> int:
    """Answer one call by reading the profile from top to bottom."""
    default = word(profile["defaultAction"], profile.get("defaultErrnoRet"))
    candidates = [arch for arch in listed(profile, machine) if TABLES[arch].audit == audit]
    if not candidates:
        return KILL_PROCESS
    arch = candidates[0]
    if arch == "SCMP_ARCH_X86_64" and nr >= 0x40000000:
        if len(candidates) == 1:
            return ENOSYS
        arch = candidates[1]
    table = numbers(TABLES[arch])
    bits = 64 if TABLES[arch].wide else 32
    entries = [entry for entry in profile["syscalls"] if applies(entry, caps, machine)]
    named = [table[name] for entry in entries for name in entry["names"] if name in table]
    own = [entry for entry in entries if any(table.get(name) == nr for name in entry["names"])]
    if not own:
        low = 0x40000000 if arch == "SCMP_ARCH_X32" else 0
        usual = [number for number in named if number - low < 0xF0000]
        fails = profile["defaultAction"] not in {
            "SCMP_ACT_ALLOW",
            "SCMP_ACT_LOG",
            "SCMP_ACT_TRACE",
        }
        return ENOSYS if usual and nr > max(usual) and fails else default
    own = [entry for entry in own if word(entry["action"], entry.get("errnoRet")) != default]
    for entry in own:
        if not entry.get("args"):
            return word(entry["action"], entry.get("errnoRet"))
    for entry in own:
        if fits(entry, args, bits):
            return word(entry["action"], entry.get("errnoRet"))
    return default


# --- random profiles -----------------------------------------------------------------------------

NAMES = st.sampled_from(
    [
        "read write open close openat socket socketcall clone clone3 personality chown32 send",
        "mount unshare bpf keyctl statx futex_requeue removexattrat set_tls cacheflush breakpoint",
        "arm_sync_file_range sync_file_range2 execve rt_sigreturn ioctl no_such_call exit_group",
    ]
).flatmap(lambda line: st.sampled_from(line.split(" ")))
VALUES = st.sampled_from(
    [0, 1, 40, 0x7E020000, 2**31, 2**32 - 1, 2**32, 2**32 + 40, 2**63, 2**64 - 2**32, 2**64 - 1]
) | st.integers(min_value=0, max_value=2**64 - 1)
CONDITIONS = st.fixed_dictionaries(
    {
        "index": st.integers(min_value=0, max_value=5),
        "op": st.sampled_from([f"SCMP_CMP_{name}" for name in seccomp_profile.OPERATORS]),
        "value": VALUES,
    },
    optional={"valueTwo": VALUES | st.none()},
)
ERRNOS = st.integers(min_value=0, max_value=4095) | st.none()
OUTCOMES = st.sampled_from(sorted(ACTIONS)).flatmap(
    lambda action: st.tuples(
        st.just(action),
        ERRNOS if action in {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"} else st.none(),
    )
)
GATES = st.fixed_dictionaries(
    {},
    optional={
        "caps": st.lists(st.sampled_from(["CAP_SYS_ADMIN", "CAP_BPF", "CAP_OF_LATER"]), max_size=2),
        "arches": st.lists(st.sampled_from(["amd64", "arm64", "s390x"]), max_size=2),
    },
)


@st.composite
def entries(draw: st.DrawFn) -> dict[str, Any]:
    action, errno = draw(OUTCOMES)
    entry: dict[str, Any] = {
        "names": draw(st.lists(NAMES, min_size=1, max_size=6)),
        "action": action,
        "args": draw(st.none() | st.lists(CONDITIONS, max_size=6)),
    }
    if errno is not None:
        entry["errnoRet"] = errno
    for key in ("includes", "excludes"):
        if draw(st.integers(min_value=0, max_value=4)) == 0:
            entry[key] = draw(GATES)
    return entry


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    action, errno = draw(OUTCOMES)
    profile: dict[str, Any] = {
        "defaultAction": action,
        "syscalls": draw(st.lists(entries(), max_size=10)),
    }
    if errno is not None:
        profile["defaultErrnoRet"] = errno
    arches = draw(st.lists(st.sampled_from([*TABLES, "SCMP_ARCH_S390X"]), max_size=4))
    how = draw(st.sampled_from(["architectures", "archMap", "neither"]))
    if how == "architectures":
        profile["architectures"] = arches
    elif how == "archMap":
        profile["archMap"] = [
            {"architecture": native, "subArchitectures": arches}
            for native in ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
        ]
    return profile


def satisfying(choose: random.Random, condition: dict[str, Any]) -> int:
    """Choose an argument at the edge of a comparison: where it just holds, or just does not."""
    value, two = condition["value"], condition.get("valueTwo") or 0
    if condition["op"] == "SCMP_CMP_MASKED_EQ":
        other: int = choose.getrandbits(64) & ~value | two & value
        return other ^ choose.choice([0, 0, 1, 1 << 31, 1 << 32, 1 << 63])
    edge: int = value + choose.choice([0, 0, 1, -1, 2**32, -(2**32), 2**63])
    return edge % 2**64


def calls(choose: random.Random, profile: dict[str, Any]) -> Iterator[tuple[int, int, list[int]]]:
    """Make calls that a profile speaks of, and some that it does not."""
    entries = profile["syscalls"]
    for _ in range(60):
        abi = choose.choice(list(TABLES.values()))
        table = numbers(abi)
        args = [choose.choice([0, 1, 40, 2**32 + 40, choose.getrandbits(64)]) for _ in range(6)]
        number = choose.choice([400, 467, 500, 0x40000000, 0xF0002, 0x40000FFF, 2**31, 2**32 - 1])
        if entries and choose.random() < 0.9:
            entry = choose.choice(entries)
            number = table.get(choose.choice(entry["names"]), number)
            if choose.random() < 0.2:
                number = (number + choose.choice([1, -1])) % 2**32
            for condition in entry["args"] or []:
                args[condition["index"]] = satisfying(choose, condition)
        yield abi.audit, number, args


@given(
    profiles(),
    st.sampled_from([0, capabilities.DEFAULT, capabilities.everything()]),
    st.sampled_from(["x86_64", "aarch64"]),
    st.integers(min_value=0, max_value=2**32),
)
def test_a_compiled_profile_answers_as_a_plain_reading_of_it(
    profile: dict[str, Any], caps: int, machine: str, seed: int
) -> None:
    program = cbpf.disassemble(seccomp.compile_profile(profile, caps, machine).program)
    choose = random.Random(seed)  # noqa: S311  (repeatable, not secret)
    for audit, number, args in calls(choose, profile):
        expected = judge(profile, caps, machine, audit, number, args)
        assert cbpf.run(program, cbpf.pack(audit, number, args)) == expected


@given(st.lists(st.tuples(st.integers(0, 333), CONDITIONS), min_size=1, max_size=400))
def test_long_programs_are_chained_and_right(rows: list[tuple[int, dict[str, Any]]]) -> None:
    # Enough comparisons between two halves that a jump on a condition cannot reach.
    by_number = {number: name for name, number in numbers(X86_64).items()}
    profile: dict[str, Any] = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": [by_number[number]], "action": "SCMP_ACT_ALLOW", "args": [condition]}
            for number, condition in rows
        ],
    }
    program = cbpf.disassemble(seccomp.compile_profile(profile, machine="x86_64").program)
    for number, condition in rows[:20]:
        args = [0] * 6
        args[condition["index"]] = condition["value"]
        expected = judge(profile, 0, "x86_64", X86_64.audit, number, args)
        assert cbpf.run(program, cbpf.pack(X86_64.audit, number, args)) == expected


def test_a_profile_of_many_comparisons_is_chained_over_more_than_255_instructions() -> None:
    names = sorted(numbers(X86_64), key=numbers(X86_64).__getitem__)[:300]
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {
                "names": [name],
                "action": "SCMP_ACT_ALLOW",
                "args": [{"index": 1, "op": "SCMP_CMP_GT", "value": place << 32 | place}],
            }
            for place, name in enumerate(names)
        ],
    }
    program = cbpf.disassemble(seccomp.compile_profile(profile, machine="x86_64").program)
    assert len(program) > 2000
    assert any(instruction.code == cbpf.JA and instruction.k > 255 for instruction in program)
    for place in range(300):
        for value, answer in ((place << 32 | place, EPERM), ((place << 32 | place) + 1, ALLOW)):
            data = cbpf.pack(X86_64.audit, place, [0, value])
            assert cbpf.run(program, data) == answer


@pytest.mark.parametrize("operator", seccomp_profile.OPERATORS)
def test_every_comparison_is_right_in_both_halves_of_an_argument(operator: str) -> None:
    grid = [high << 32 | low for high in range(3) for low in range(3)]
    for value in grid:
        for two in grid if operator == "MASKED_EQ" else [0]:
            condition = {
                "index": 2,
                "op": f"SCMP_CMP_{operator}",
                "value": value,
                "valueTwo": two,
            }
            profile: dict[str, Any] = {
                "defaultAction": "SCMP_ACT_ERRNO",
                "syscalls": [
                    {
                        "names": ["read"],
                        "action": "SCMP_ACT_ALLOW",
                        "args": [condition, {"index": 3, "op": "SCMP_CMP_NE", "value": 1}],
                    }
                ],
            }
            program = cbpf.disassemble(seccomp.compile_profile(profile, machine="x86_64").program)
            for argument in grid:
                for other in (0, 1):
                    args = [0, 0, argument, other, 0, 0]
                    expected = judge(profile, 0, "x86_64", X86_64.audit, 0, args)
                    assert cbpf.run(program, cbpf.pack(X86_64.audit, 0, args)) == expected


def test_programs_of_all_lengths_around_the_reach_of_a_jump_are_right() -> None:
    names = sorted(numbers(X86_64), key=numbers(X86_64).__getitem__)
    for count, second in itertools.product(range(50, 160), ("read", "write")):
        profile: dict[str, Any] = {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                {"names": names[: 2 * count : 2], "action": "SCMP_ACT_ALLOW"},
                {
                    "names": [second],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1}],
                },
            ],
        }
        program = cbpf.disassemble(seccomp.compile_profile(profile, machine="x86_64").program)
        for number in (0, 1, count, count + 1, 2 * count - 2, 2 * count - 1):
            expected = judge(profile, 0, "x86_64", X86_64.audit, number, [0] * 6)
            assert cbpf.run(program, cbpf.pack(X86_64.audit, number, [])) == expected


def test_a_program_too_long_for_the_kernel_is_refused_with_words() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {
                "names": [name],
                "action": "SCMP_ACT_ALLOW",
                "args": [
                    {"index": index, "op": "SCMP_CMP_GT", "value": number} for index in range(6)
                ],
            }
            for name, number in numbers(X86_64).items()
        ],
    }
    with pytest.raises(UsageError, match="the kernel takes 4096"):
        seccomp.compile_profile(profile, machine="x86_64")


# --- what a profile may and may not say ----------------------------------------------------------


def test_unknown_calls_are_skipped_and_reported_but_not_those_of_other_architectures() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [{"names": ["read", "swapcontext", "chown32"], "action": "SCMP_ACT_ALLOW"}],
    }
    assert seccomp.compile_profile(profile, machine="x86_64").unknown == ("swapcontext",)


def test_flags_of_a_profile_reach_the_filter() -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "flags": ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"],
    }
    assert seccomp.compile_profile(profile, machine="x86_64").flags == 6


@pytest.mark.parametrize(
    ("running", "wanted", "applies"),
    [
        ("6.1.0-18-amd64", "4.8", True),
        ("6.1.0-18-amd64", "6.1", True),
        ("6.1.0-18-amd64", "6.2", False),
        ("4.19.0", "4.8", True),
        ("5.10-rc3+", "5.10", True),
        ("10.0.1", "9.9", True),
    ],
)
def test_an_entry_for_newer_kernels_counts_on_those(
    running: str, wanted: str, applies: bool
) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "syscalls": [
            {"names": ["statx"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": wanted}},
            {"names": ["read"], "action": "SCMP_ACT_ALLOW", "excludes": {"minKernel": wanted}},
        ],
    }
    program = seccomp.compile_profile(profile, machine="x86_64", kernel=running).program
    answers = [
        seccomp.interpret(program, X86_64.audit, numbers(X86_64)[name], []) == ALLOW
        for name in ("statx", "read")
    ]
    assert answers == [applies, not applies]


ERRNO_ENTRY = {"names": ["read"], "action": "SCMP_ACT_ERRNO"}


@pytest.mark.parametrize(
    "profile",
    [
        None,
        [],
        {},
        {"defaultAction": "ALLOW"},
        {"defaultAction": "SCMP_ACT_NOTIFY"},
        {"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 4096},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": True},
        {"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": "1"},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [7]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{"names": ["read"]}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ERRNO_ENTRY | {"names": "read"}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ERRNO_ENTRY | {"names": [""]}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ERRNO_ENTRY | {"name": "write"}]},
        {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [ERRNO_ENTRY | {"args": [{}]}]},
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [ERRNO_ENTRY | {"args": [{"index": 6, "op": "SCMP_CMP_EQ", "value": 0}]}],
        },
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [ERRNO_ENTRY | {"args": [{"index": 0, "op": "EQ", "value": 0}]}],
        },
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [
                ERRNO_ENTRY | {"args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 2**64}]}
            ],
        },
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [ERRNO_ENTRY | {"args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 1.5}]}],
        },
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [ERRNO_ENTRY | {"includes": {"minkernel": "4.8"}}],
        },
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [ERRNO_ENTRY | {"includes": {"minKernel": "4.8.1"}}],
        },
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "syscalls": [ERRNO_ENTRY | {"includes": {"minKernel": "four.8"}}],
        },
        {"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X68"]},
        {"defaultAction": "SCMP_ACT_ERRNO", "architectures": [None]},
        {
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86"],
            "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": None}],
        },
        {"defaultAction": "SCMP_ACT_ERRNO", "flags": ["SECCOMP_FILTER_FLAG_NEW_LISTENER"]},
    ],
)
def test_a_profile_that_says_something_else_is_refused(profile: object) -> None:
    with pytest.raises(UsageError, match=r"^seccomp profile: "):
        seccomp.compile_profile(profile, machine="x86_64")


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=5)
    | st.sampled_from(["read", "SCMP_ACT_ALLOW", "SCMP_CMP_EQ", "CAP_SYS_ADMIN"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "defaultAction",
                    "syscalls",
                    "names",
                    "action",
                    "args",
                    "index",
                    "op",
                    "value",
                    "includes",
                    "caps",
                    "minKernel",
                    "flags",
                    "architectures",
                    "archMap",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
)


@given(JSON, JSON)
def test_any_json_is_compiled_or_refused_with_words(whole: object, syscalls: object) -> None:
    for profile in (whole, {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": syscalls}):
        with contextlib.suppress(UsageError):
            cbpf.disassemble(seccomp.compile_profile(profile, machine="x86_64").program)


def test_a_machine_without_a_table_is_refused_with_words() -> None:
    with pytest.raises(NsctlError, match="there are no system call numbers for s390x here"):
        seccomp.default_filter(0, "s390x")


def test_32_bit_calls_are_compared_by_what_the_kernel_looks_at() -> None:
    # int 0x80 from 64-bit code leaves the upper halves of the registers as they are.
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86"],
        "syscalls": [
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "op": "SCMP_CMP_EQ", "value": 40}],
            }
        ],
    }
    program = seccomp.compile_profile(profile, machine="x86_64").program
    number = numbers(I386)["socket"]
    assert seccomp.interpret(program, I386.audit, number, [2**32 + 40]) == EPERM


# --- numbers -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("abi", "name", "number"),
    [
        (X86_64, "read", 0),
        (X86_64, "clone", 56),
        (X86_64, "uretprobe", 335),
        (X86_64, "listns", 470),
        (X32, "read", 0x40000000),
        (X32, "ioctl", 0x40000000 + 514),
        (I386, "socketcall", 102),
        (I386, "chown32", 212),
        (AARCH64, "io_setup", 0),
        (AARCH64, "clone", 220),
        (AARCH64, "listns", 470),
        (ARM, "read", 3),
        (ARM, "set_tls", 0xF0005),
    ],
)
def test_calls_have_the_numbers_of_the_kernels_tables(abi: Abi, name: str, number: int) -> None:
    assert numbers(abi)[name] == number


def test_all_architectures_have_the_same_numbers_from_424_on() -> None:
    tables = [numbers(abi) for abi in (X86_64, I386, AARCH64, ARM)]
    for name, number in tables[0].items():
        if number >= 424:
            assert {table.get(name, number) for table in tables} == {number}


# --- the default ---------------------------------------------------------------------------------


def default(capability_mask: int, name: str, *args: int, abi: Abi = X86_64) -> int:
    machine = "aarch64" if abi in {AARCH64, ARM} else "x86_64"
    program = seccomp.default_filter(capability_mask, machine).program
    return seccomp.interpret(program, abi.audit, numbers(abi)[name], args)


def test_every_call_of_the_default_profile_exists_and_stands_in_one_group() -> None:
    known = numbers(X86_64).keys() | numbers(AARCH64).keys()
    names = [name for group in ALWAYS.values() for name in group.split()]
    assert set(names) <= known
    assert len(names) == len(set(names))
    assert set(" ".join(BY_CAPABILITY.values()).split()) <= known
    assert not set(" ".join(BY_CAPABILITY.values()).split()) & set(names)
    for group in (*ALWAYS.values(), *BY_CAPABILITY.values()):
        assert group.split() == sorted(group.split())
    assert BY_CAPABILITY.keys() <= capabilities.NUMBERS.keys()
    assert seccomp.default_filter(capabilities.DEFAULT, "x86_64").unknown == ()


def test_the_default_profile_is_json() -> None:
    assert json.loads(json.dumps(PROFILE)) == PROFILE


# Docker's documentation lists most of these as refused by its default profile; the rest is what
# newer kernels brought for the same ends.
REFUSED = """
    acct add_key bpf clock_settime delete_module fanotify_init finit_module fsconfig fsmount fsopen
    get_mempolicy init_module io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load
    kexec_load keyctl lookup_dcookie mbind mount mount_setattr move_mount move_pages
    open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise quotactl
    reboot request_key set_mempolicy setdomainname sethostname setns settimeofday swapoff swapon
    syslog umount2 unshare userfaultfd vhangup"""
NEEDED = """
    arch_prctl cachestat chroot clock_adjtime execve exit_group fchmodat2 futex futex_waitv
    listmount mmap mprotect mseal open openat openat2 pidfd_open prctl process_vm_readv ptrace read
    rseq seccomp setxattrat statmount statx write"""
FOR_SYS_ADMIN = "bpf clone3 fsopen mount move_mount quotactl sethostname setns umount2 unshare"


@pytest.mark.parametrize("abi", [X86_64, AARCH64])
@pytest.mark.parametrize("name", REFUSED.split())
def test_what_docker_refuses_by_default_is_refused(abi: Abi, name: str) -> None:
    assert default(capabilities.DEFAULT, name, abi=abi) == EPERM


@pytest.mark.parametrize(
    "name",
    NEEDED.split(),
)
def test_what_programs_need_is_allowed(name: str) -> None:
    assert default(capabilities.DEFAULT, name) == ALLOW


@pytest.mark.parametrize("name", FOR_SYS_ADMIN.split())
def test_sys_admin_opens_mounts_and_namespaces(name: str) -> None:
    assert default(capabilities.DEFAULT | 1 << ADMIN, name) == ALLOW


@pytest.mark.parametrize("name", ["keyctl", "pivot_root", "kexec_load", "io_uring_setup", "swapon"])
def test_no_capability_opens_the_rest(name: str) -> None:
    assert default(capabilities.everything(), name) == EPERM


@pytest.mark.parametrize(
    ("capability", "names"), [(one, group.split()) for one, group in BY_CAPABILITY.items()]
)
def test_a_capability_opens_its_calls_and_only_those(capability: str, names: list[str]) -> None:
    without = seccomp.default_filter(0, "x86_64").program
    having = seccomp.default_filter(capabilities.mask([capability]), "x86_64").program
    opened = {
        name
        for name, number in numbers(X86_64).items()
        if seccomp.interpret(having, X86_64.audit, number, [2**63]) == ALLOW
        and seccomp.interpret(without, X86_64.audit, number, [2**63]) != ALLOW
    }
    # clone(2) is open with these arguments either way.
    assert opened == set(names) - {"clone"}


@pytest.mark.parametrize("abi", [X86_64, AARCH64])
def test_clone_makes_processes_and_threads_but_no_namespaces(abi: Abi) -> None:
    held = capabilities.DEFAULT
    assert default(held, "clone", 17, abi=abi) == ALLOW
    assert default(held, "clone", 0x3D0F00, abi=abi) == ALLOW  # a thread of glibc's
    for bit in (0x20000, 0x2000000, 0x4000000, 0x8000000, 0x10000000, 0x20000000, 0x40000000):
        assert default(held, "clone", 17 | bit, abi=abi) == EPERM
        assert default(held | 1 << ADMIN, "clone", 17 | bit, abi=abi) == ALLOW


def test_clone3_is_answered_as_if_the_kernel_had_none() -> None:
    assert default(capabilities.DEFAULT, "clone3") == ENOSYS


def test_only_listed_socket_families_are_allowed_whatever_the_upper_half_says() -> None:
    allowed = {
        family for family in range(100) if default(capabilities.DEFAULT, "socket", family) == ALLOW
    }
    assert set(range(46)) - allowed == {12, 19, 20, 23, 25, 34, 37, 38, 40}
    assert allowed <= set(range(46))
    assert default(capabilities.DEFAULT, "socket", 2**32 + 40) == EPERM
    assert default(capabilities.DEFAULT, "socket", 2**32 + 1) == EPERM


def test_only_harmless_personalities_are_allowed() -> None:
    for personality in (0, 8, 0x20000, 0x20008, 0xFFFFFFFF):
        assert default(capabilities.DEFAULT, "personality", personality) == ALLOW
    for personality in (0x40000, 1, 0x400000, 2**32):  # ADDR_NO_RANDOMIZE, PER_SVR4's bit ..
        assert default(capabilities.DEFAULT, "personality", personality) == EPERM


@pytest.mark.parametrize(
    ("arch", "number", "answer"),
    [
        (I386.audit, 1, KILL_PROCESS),
        (ARM.audit, 1, KILL_PROCESS),
        (AARCH64.audit, 1, KILL_PROCESS),
        (0, 1, KILL_PROCESS),
        (X86_64.audit, 0x40000000, ENOSYS),
        (X86_64.audit, 0x40000000 + 520, ENOSYS),
        (X86_64.audit, -1, ENOSYS),
        (X86_64.audit, 467, ENOSYS),
        (X86_64.audit, 1000, ENOSYS),
        (X86_64.audit, 400, EPERM),
    ],
)
def test_foreign_calls_are_killed_and_unheard_of_ones_are_said_not_to_exist(
    arch: int, number: int, answer: int
) -> None:
    program = seccomp.default_filter(capabilities.DEFAULT, "x86_64").program
    assert seccomp.interpret(program, arch, number, []) == answer


@pytest.mark.parametrize("caps", [0, capabilities.DEFAULT, capabilities.everything()])
@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_default_filter_is_short_and_answers_soon(caps: int, machine: str) -> None:
    program = cbpf.disassemble(seccomp.default_filter(caps, machine).program)
    assert len(program) < 400
    abi = {"x86_64": X86_64, "aarch64": AARCH64}[machine]
    for name in ("read", "write", "openat", "futex", "mmap", "close"):
        assert steps(program, cbpf.pack(abi.audit, numbers(abi)[name], [])) <= 14


def steps(program: list[cbpf.Instruction], data: bytes) -> int:
    """Count the instructions that run, for programs that load the number or the ABI and jump."""
    place = count = a = 0
    while True:
        code, true, false, k = program[place]
        count += 1
        place += 1
        if code == cbpf.LD_ABS:
            a = int.from_bytes(data[k : k + 4], "little")
        elif code == cbpf.JA:
            place += k
        elif code == cbpf.RET_K:
            return count
        else:
            place += true if (a == k if code == cbpf.JEQ_K else a >= k) else false

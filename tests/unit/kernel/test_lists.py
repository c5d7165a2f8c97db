"""What is read of the kernel's lists: states, records, and why they cannot be walked."""

from __future__ import annotations

import errno
import os
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import lists, lists_refusal

SOURCE = os.path.join(os.path.dirname(lists.__file__), "..", "native", "nsctl.bpf.c")
ALL_CAPS = (1 << 41) - 1
BITS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize(
    ("state", "exit_state", "letter"),
    [
        (0x0, 0, "R"),
        (0x1, 0, "S"),
        (0x2, 0, "D"),
        (0x4, 0, "T"),
        (0x8, 0, "t"),
        (0x80, 0x10, "X"),
        (0x80, 0x20, "Z"),
        (0x40, 0, "P"),
        (0x402, 0, "I"),
        (0x1000, 0, "D"),
        (0x8000, 0, "D"),
        (0x2001, 0, "S"),
    ],
)
def test_a_state_is_spelt_as_in_proc(state: int, exit_state: int, letter: str) -> None:
    assert lists.state_letter(state, exit_state) == letter


@given(BITS, BITS)
def test_every_state_has_a_letter(state: int, exit_state: int) -> None:
    assert lists.state_letter(state, exit_state) in "RSDTtXZPI"


# The C structures that are written, and what they are unpacked with: numbers of 64 bits stand for
# themselves, the rest is counted in 32.
WORDS = {"u32": 4, "u64": 8, "char": 1, "numbers": 33 * 16}
COUNTS = {"LINKS": 10, "GROUPS": 32, "LEVELS": 33}


def size_in_c(name: str) -> int:
    """Add up the members of a structure of the source."""
    with open(SOURCE, encoding="ascii") as file:
        text = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)
    match = re.search(rf"\nstruct {name} \{{\n(.*?)\n\}};", text, re.DOTALL)
    assert match, name
    body = re.sub(r"struct \{.*?\} numbers\[LEVELS\];", "numbers all;", match[1], flags=re.DOTALL)
    size = 0
    for kind, names in re.findall(r"(\w+) ([^;]+);", body):
        for one in names.split(","):
            count = re.search(r"\[(\w+)\]", one)
            times = COUNTS.get(count[1]) or int(count[1]) if count else 1
            size += WORDS[kind] * times
    return size


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("run", lists._RUN.size),
        ("task_record", lists._TASK.size),
        ("cred_record", lists._CREDENTIALS.size),
        ("file_record", lists._FILE.size),
        ("space_record", lists._SPACE.size),
        ("bind_record", lists._BIND.size),
    ],
)
def test_a_record_is_as_long_here_as_in_the_program_that_writes_it(name: str, size: int) -> None:
    assert size_in_c(name) == size
    assert size % 8 == 0


@given(st.tuples(*[BITS] * 6), st.integers(0, 2**64 - 1))
def test_a_namespace_is_unpacked_as_it_was_written(words: tuple[int, ...], id_: int) -> None:
    raw = id_.to_bytes(8, "little") + b"".join(word.to_bytes(4, "little") for word in words)
    ((row),) = map(lists.SpaceRecord._make, lists._SPACE.iter_unpack(raw))
    assert row == lists.SpaceRecord(id_, *words)


def explained(number: int, caps: int = ALL_CAPS) -> tuple[str, str]:
    return lists_refusal.explain(OSError(number, os.strerror(number)), caps)


def test_a_refusal_names_the_capabilities_that_are_lacking_and_no_others() -> None:
    admin, perfmon, bpf = 21, 38, 39
    assert explained(errno.EPERM, 0) == (
        "take CAP_BPF and CAP_PERFMON",
        "CAP_BPF and CAP_PERFMON",
    )
    assert explained(errno.EPERM, 1 << bpf)[1] == "CAP_PERFMON"
    assert explained(errno.EPERM, 1 << perfmon)[1] == "CAP_BPF"
    for held in (1 << admin, 1 << bpf | 1 << perfmon):
        cause, needs = explained(errno.EPERM, held)
        assert not needs
        assert "although the capabilities are held" in cause


def test_a_kernel_without_the_call_is_told_from_one_that_refuses_it() -> None:
    assert "no bpf(2)" in explained(errno.ENOSYS)[0]
    assert "no programs for this machine" in explained(errno.ENOEXEC)[0]


def test_a_kernel_without_types_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]
) -> None:
    monkeypatch.setattr(lists_refusal, "_BTF", os.path.join(tmp_path, "none"))
    for number in (errno.ENOENT, errno.EINVAL):
        assert "does not describe its types" in explained(number)[0]


@pytest.mark.parametrize(
    ("locked", "words"),
    [
        # As kernel_lockdown(7) shows it; this machine has no lockdown to turn on.
        ("none integrity [confidentiality]\n", "locked down (confidentiality)"),
        ("none [integrity] confidentiality\n", "structures are not the ones that are known"),
    ],
)
def test_a_kernel_that_is_locked_down_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str], locked: str, words: str
) -> None:
    types, lockdown = os.path.join(tmp_path, "btf"), os.path.join(tmp_path, "lockdown")
    with open(types, "wb") as file:
        file.write(b"\x9f\xeb\x01\x00")
    with open(lockdown, "w", encoding="ascii") as text:
        text.write(locked)
    monkeypatch.setattr(lists_refusal, "_BTF", types)
    monkeypatch.setattr(lists_refusal, "_LOCKDOWN", lockdown)
    assert words in explained(errno.EINVAL)[0]

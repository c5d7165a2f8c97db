"""The packed BPF programs: what is shipped parses, what is damaged is refused."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import bpf, bpf_object

NUMBERS = st.integers(0, 2**32 - 1)
PAIRS = st.lists(st.tuples(NUMBERS, NUMBERS), max_size=3).map(tuple)
PROGRAMS = st.builds(
    bpf.Program,
    name=st.from_regex(rb"[a-z]{1,15}", fullmatch=True),
    type=NUMBERS,
    attach_type=NUMBERS,
    attach_to=st.from_regex(rb"[a-z]{0,15}", fullmatch=True),
    code=st.binary(max_size=32),
    functions=st.binary(max_size=32),
    relocations=st.binary(max_size=32),
    maps=PAIRS,
    patches=PAIRS,
)


def packed(types: bytes, programs: list[bpf.Program]) -> bytes:
    parts = [b"nsctlbpf", struct.pack("<II", len(programs), len(types)), types]
    for one in programs:
        pairs = [
            b"".join(struct.pack("<II", *pair) for pair in table)
            for table in (one.maps, one.patches)
        ]
        blobs = (one.code, one.functions, one.relocations, *pairs)
        sizes = map(len, blobs)
        parts.append(
            struct.pack("<16s16s7I", one.name, one.attach_to, one.type, one.attach_type, *sizes)
        )
        parts += blobs
    return b"".join(parts)


def test_the_shipped_programs_are_those_that_the_lists_are_walked_with() -> None:
    shipped = bpf_object.shipped()
    assert set(shipped.programs) == {"tasks", "spaces", "number", "offsets"}
    tasks = shipped.programs["tasks"]
    assert (tasks.type, tasks.attach_type) == (bpf.PROG_TYPE_TRACING, bpf.TRACE_ITER)
    assert tasks.attach_to == b"bpf_iter_task"
    assert shipped.programs["spaces"].type == bpf.PROG_TYPE_RAW_TRACEPOINT
    assert shipped.programs["number"].type == bpf.PROG_TYPE_SYSCALL
    for program in shipped.programs.values():
        assert len(program.code) % 8 == 0
        pairs = (*program.maps, *program.patches)
        assert all(place * 8 < len(program.code) for place, _ in pairs)
        # One program alone asks the kernel where its fields lie.
        assert bool(program.relocations) == (program.name == b"offsets")


def test_the_shipped_types_hold_neither_source_nor_paths() -> None:
    types = bpf_object.shipped().types
    assert b".c\0" not in types
    assert b"/nsctl" not in types
    assert b"bpf_probe_read" not in types


@given(st.binary(max_size=64), st.lists(PROGRAMS, max_size=3, unique_by=lambda one: one.name))
def test_what_was_packed_comes_out_again(types: bytes, programs: list[bpf.Program]) -> None:
    found = bpf_object.parse(packed(types, programs))
    assert found.types == types
    assert list(found.programs.values()) == programs


@given(st.data(), st.lists(PROGRAMS, min_size=1, max_size=2, unique_by=lambda one: one.name))
def test_what_is_cut_short_or_longer_is_refused(
    data: st.DataObject, programs: list[bpf.Program]
) -> None:
    raw = packed(b"types", programs)
    end = data.draw(st.integers(0, len(raw) - 1))
    for damaged in (raw[:end], raw + b"x"):
        with pytest.raises(ValueError, match="packed BPF object"):
            bpf_object.parse(damaged)


@given(st.binary(min_size=8, max_size=64).filter(lambda raw: len(raw) % 8 == 0), st.data())
def test_a_patch_changes_nothing_but_its_place(code: bytes, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(code) // 8 - 1)) * 8
    value = data.draw(st.integers(0, 2**15 - 1))
    patched = bytearray(code)
    bpf._patch(patched, place, value)
    assert bytes(patched[:place] + patched[place + 8 :]) == code[:place] + code[place + 8 :]
    at, size = (2, 2) if code[place] & 7 in {1, 2, 3} else (4, 4)
    assert int.from_bytes(patched[place + at : place + at + size], "little") == value
    bpf._patch(patched, place, bpf.UNKNOWN)
    # A call of a function that no kernel has: it must not be reached.
    assert patched[place : place + 8] == struct.pack("<BBhi", 0x85, 0, 0, 0xBAD2310)

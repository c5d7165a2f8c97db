"""Classic BPF: the checks that the kernel makes, and the interpreter."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import cbpf
from nsctl.kernel.cbpf import Instruction, statement

pytestmark = pytest.mark.unit

X86_64 = 0xC000003E
RETURN = statement(cbpf.RET_K, 7)
WORD = st.integers(min_value=0, max_value=2**32 - 1)


def returns(*instructions: Instruction, nr: int = 0, args: tuple[int, ...] = ()) -> int:
    return cbpf.interpret(cbpf.assemble(instructions), X86_64, nr, args)


def test_a_call_is_laid_out_as_struct_seccomp_data() -> None:
    data = cbpf.pack(X86_64, 5, [1, 2, 3, 4, 5, 6], 0x1234)
    assert len(data) == 64
    assert struct.unpack("<iIQ6Q", data) == (5, X86_64, 0x1234, 1, 2, 3, 4, 5, 6)


def test_numbers_and_arguments_may_be_signed_or_not() -> None:
    assert cbpf.pack(X86_64, -1, [-1]) == cbpf.pack(X86_64, 2**32 - 1, [2**64 - 1])


def test_a_seventh_argument_is_refused() -> None:
    with pytest.raises(ValueError, match="six"):
        cbpf.pack(X86_64, 0, [0] * 7)


@pytest.mark.parametrize(
    ("offset", "value"), [(0, 3), (4, X86_64), (16, 0x9ABCDEF0), (20, 0x12345678), (60, 0)]
)
def test_words_are_loaded_from_where_the_kernel_puts_them(offset: int, value: int) -> None:
    program = (statement(cbpf.LD_ABS, offset), statement(cbpf.RET_A, 0))
    assert returns(*program, nr=3, args=(0x123456789ABCDEF0,)) == value


@pytest.mark.parametrize(
    ("code", "a", "x", "result"),
    [
        (0x0C, 2**32 - 1, 2, 1),
        (0x1C, 1, 2, 2**32 - 1),
        (0x2C, 2**31, 2, 0),
        (0x3C, 7, 2, 3),
        (0x4C, 5, 2, 7),
        (0x5C, 5, 4, 4),
        (0x6C, 1, 33, 2),
        (0x7C, 4, 33, 2),
        (0xAC, 5, 1, 4),
    ],
)
def test_arithmetic_is_that_of_32_bits(code: int, a: int, x: int, result: int) -> None:
    program = (
        statement(cbpf.LD_IMM, a),
        statement(cbpf.LDX_IMM, x),
        statement(code, 0),
        statement(cbpf.RET_A, 0),
    )
    assert returns(*program) == result


def test_a_division_by_a_zero_in_x_ends_the_program_with_0() -> None:
    assert returns(statement(cbpf.LD_IMM, 9), statement(0x3C, 0), RETURN) == 0


def test_the_accumulator_and_the_index_begin_at_0() -> None:
    assert returns(statement(cbpf.RET_A, 0)) == 0
    assert returns(statement(cbpf.TXA, 0), statement(cbpf.RET_A, 0)) == 0


def test_scratch_words_keep_what_is_stored() -> None:
    program = (
        statement(cbpf.LD_IMM, 5),
        statement(cbpf.ST, 3),
        statement(cbpf.LDX_MEM, 3),
        statement(cbpf.STX, 15),
        statement(cbpf.LD_IMM, 0),
        statement(cbpf.LD_MEM, 15),
        statement(0x84, 0),
        statement(cbpf.RET_A, 0),
    )
    assert returns(*program) == 2**32 - 5


@pytest.mark.parametrize(
    ("code", "left", "right", "holds"),
    [
        (cbpf.JEQ_K, 5, 5, True),
        (cbpf.JEQ_K, 5, 6, False),
        (cbpf.JGT_K, 6, 5, True),
        (cbpf.JGT_K, 5, 5, False),
        (cbpf.JGE_K, 5, 5, True),
        (cbpf.JGE_K, 2**32 - 1, 1, True),
        (cbpf.JSET_K, 6, 2, True),
        (cbpf.JSET_K, 4, 2, False),
    ],
)
@pytest.mark.parametrize("by_index", [False, True])
def test_jumps_compare_without_sign(
    code: int, left: int, right: int, holds: bool, by_index: bool
) -> None:
    program = (
        statement(cbpf.LD_IMM, left),
        statement(cbpf.LDX_IMM, right),
        Instruction(code | 8 * by_index, 1, 0, 0 if by_index else right),
        statement(cbpf.RET_K, 0),
        statement(cbpf.RET_K, 1),
    )
    assert returns(*program) == int(holds)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\0" * 7, id="a part of an instruction"),
        pytest.param(cbpf.assemble([RETURN] * 4097), id="longer than 4096"),
        pytest.param(cbpf.assemble([statement(cbpf.LD_IMM, 0)]), id="no return"),
        pytest.param(cbpf.assemble([statement(0x0E, 0)]), id="return of X"),
        pytest.param(cbpf.assemble([statement(cbpf.JA, 1), RETURN]), id="long jump past the end"),
        pytest.param(
            cbpf.assemble([Instruction(cbpf.JEQ_K, 1, 0, 0), RETURN]), id="jump past the end"
        ),
        pytest.param(
            cbpf.assemble([Instruction(cbpf.JEQ_K, 0, 1, 0), RETURN]), id="other jump past the end"
        ),
        pytest.param(cbpf.assemble([statement(cbpf.JA, 2**32 - 1), RETURN]), id="jump back"),
        pytest.param(cbpf.assemble([statement(cbpf.LD_ABS, 64), RETURN]), id="load outside"),
        pytest.param(cbpf.assemble([statement(cbpf.LD_ABS, 2), RETURN]), id="load askew"),
        pytest.param(cbpf.assemble([statement(0x28, 0), RETURN]), id="load of a half word"),
        pytest.param(cbpf.assemble([statement(cbpf.LD_MEM, 0), RETURN]), id="scratch not written"),
        pytest.param(cbpf.assemble([statement(cbpf.ST, 16), RETURN]), id="no such scratch word"),
        pytest.param(cbpf.assemble([statement(0x34, 0), RETURN]), id="division by zero"),
        pytest.param(cbpf.assemble([statement(0x94, 3), RETURN]), id="modulo"),
        pytest.param(cbpf.assemble([statement(0x64, 32), RETURN]), id="long shift"),
        pytest.param(cbpf.assemble([statement(0xFFFF, 0), RETURN]), id="no operation"),
        pytest.param(
            cbpf.assemble(
                [
                    Instruction(cbpf.JEQ_K, 0, 1, 1),
                    statement(cbpf.ST, 0),
                    statement(cbpf.LD_MEM, 0),
                    RETURN,
                ]
            ),
            id="scratch written on one path only",
        ),
    ],
)
def test_what_the_kernel_would_refuse_is_refused(program: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        cbpf.interpret(program, X86_64, 0, [])


@given(
    st.lists(
        st.builds(
            Instruction,
            st.sampled_from(sorted(cbpf._JUMPS | cbpf._ARITHMETIC | cbpf._PLAIN | cbpf._SCRATCH))
            | st.sampled_from([cbpf.JA, cbpf.LD_ABS])
            | st.integers(min_value=0, max_value=2**16 - 1),
            st.integers(min_value=0, max_value=5),
            st.integers(min_value=0, max_value=5),
            st.integers(min_value=0, max_value=40) | WORD,
        ),
        max_size=12,
    ),
    st.lists(st.integers(min_value=0, max_value=2**64 - 1), max_size=6),
)
def test_every_program_ends_or_is_refused(instructions: list[Instruction], args: list[int]) -> None:
    program = cbpf.assemble(instructions)
    try:
        decoded = cbpf.disassemble(program)
    except ValueError:
        return
    assert cbpf.assemble(decoded) == program
    assert 0 <= cbpf.run(decoded, cbpf.pack(X86_64, 1, args)) < 2**32


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_end(program: bytes) -> None:
    try:
        answer = cbpf.interpret(program, X86_64, 0, [])
    except ValueError:
        return
    assert 0 <= answer < 2**32

"""Classic BPF as seccomp(2) takes it: instructions, the kernel's own checks, an interpreter.

What a filter should allow is no subject of this module; see `nsctl.kernel.seccomp`. Sources:
seccomp(2), linux/filter.h, linux/bpf_common.h, Documentation/networking/filter.rst, and for the
instructions that a system call filter may use net/core/filter.c and kernel/seccomp.c.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable, Iterable, Sequence

from nsctl.model.record import NamedTuple

MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS
INSTRUCTION_SIZE = 8

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6].
_DATA = struct.Struct("<iIQ6Q")
NUMBER_OFFSET = 0
ARCHITECTURE_OFFSET = 4
ARGUMENTS_OFFSET = 16

_FILTER = struct.Struct("<HBBI")  # struct sock_filter
_WORD = 0xFFFFFFFF
_SCRATCH_WORDS = 16  # BPF_MEMWORDS

LD_ABS = 0x20
LD_LEN = 0x80
LD_IMM = 0x00
LD_MEM = 0x60
LDX_LEN = 0x81
LDX_IMM = 0x01
LDX_MEM = 0x61
ST = 0x02
STX = 0x03
TAX = 0x07
TXA = 0x87
RET_K = 0x06
RET_A = 0x16
JA = 0x05
JEQ_K = 0x15
JGT_K = 0x25
JGE_K = 0x35
JSET_K = 0x45
AND_K = 0x54

_USE_X = 0x08  # the operand is X, not the constant
_JUMPS = frozenset({0x15, 0x25, 0x35, 0x45, 0x1D, 0x2D, 0x3D, 0x4D})
_DIV_K = 0x34
_DIV_X = 0x3C
_SHIFTS_K = frozenset({0x64, 0x74})
_NEG = 0x84
# The kernel turns shifts into its own BPF, whose shifts look at five bits of the operand.
_OPERATIONS: dict[int, Callable[[int, int], int]] = {
    0x04: operator.add,
    0x14: operator.sub,
    0x24: operator.mul,
    0x34: operator.floordiv,
    0x44: operator.or_,
    0x54: operator.and_,
    0x64: lambda left, right: left << (right & 31),
    0x74: lambda left, right: left >> (right & 31),
    0xA4: operator.xor,
}
_ARITHMETIC = frozenset(base | source for base in _OPERATIONS for source in (0, _USE_X))
_PLAIN = frozenset({LD_LEN, LD_IMM, LDX_LEN, LDX_IMM, TAX, TXA, RET_K, RET_A, _NEG})
_SCRATCH = frozenset({LD_MEM, LDX_MEM, ST, STX})


class Instruction(NamedTuple):
    """One struct sock_filter.

    Attributes:
        code: operation.
        true: for a conditional jump, how many instructions to skip where it holds.
        false: the same where it does not.
        k: constant operand.
    """

    code: int
    true: int
    false: int
    k: int


def statement(code: int, k: int) -> Instruction:
    """Make an instruction that does not jump on a condition.

    Args:
        code: operation.
        k: constant operand, 32 bits.

    Returns:
        The instruction.
    """
    return Instruction(code, 0, 0, k)


def assemble(instructions: Iterable[Instruction]) -> bytes:
    """Write instructions as the kernel takes them.

    Args:
        instructions: at most 4096, each jump within 255.

    Returns:
        An array of struct sock_filter.
    """
    return b"".join(_FILTER.pack(*instruction) for instruction in instructions)


def disassemble(program: bytes) -> list[Instruction]:
    """Read instructions and check them as the kernel does before it takes a filter.

    Args:
        program: an array of struct sock_filter, from wherever.

    Returns:
        The instructions; `run` ends on them for every input.

    Raises:
        ValueError: the kernel would refuse this program: empty, longer than 4096, an unknown
            operation, a load outside struct seccomp_data, a jump past the end, a scratch word
            read before it was written, a division by a constant zero, no return at the end.
    """
    if len(program) % INSTRUCTION_SIZE:
        raise ValueError("not a whole number of instructions")
    count = len(program) // INSTRUCTION_SIZE
    if not 0 < count <= MAX_INSTRUCTIONS:
        raise ValueError(f"{count} instructions, not 1 to {MAX_INSTRUCTIONS}")
    instructions = [Instruction(*fields) for fields in _FILTER.iter_unpack(program)]
    for place, instruction in enumerate(instructions):
        problem = _problem(instruction, count - place - 1)
        if problem:
            raise ValueError(f"instruction {place} (code {instruction.code:#x}): {problem}")
    if instructions[-1].code not in {RET_K, RET_A}:
        raise ValueError("the last instruction is no return")
    _check_scratch(instructions)
    return instructions


def _problem(instruction: Instruction, following: int) -> str:
    """Say what is wrong with an instruction that so many others follow; "" if nothing is."""
    code, true, false, k = instruction
    if code in _JUMPS:
        return "jumps past the end" if max(true, false) >= following else ""
    if code == JA:
        return "jumps past the end" if k >= following else ""
    if code == LD_ABS:
        return "" if k % 4 == 0 and k < _DATA.size else "loads from outside the data"
    if code in _SCRATCH:
        return "" if k < _SCRATCH_WORDS else "no such scratch word"
    if code in _ARITHMETIC:
        if code == _DIV_K and k == 0:
            return "divides by zero"
        return "shifts by more than 31" if code in _SHIFTS_K and k >= 32 else ""
    return "" if code in _PLAIN else "no such operation"


def _check_scratch(instructions: list[Instruction]) -> None:
    """Refuse a read of a scratch word that some path has not written (check_load_and_stores)."""
    everything = (1 << _SCRATCH_WORDS) - 1
    written_at = [everything] * len(instructions)
    written = 0
    for place, (code, true, false, k) in enumerate(instructions):
        written &= written_at[place]
        if code in {ST, STX}:
            written |= 1 << k
        elif code in {LD_MEM, LDX_MEM}:
            if not written >> k & 1:
                raise ValueError(f"instruction {place}: reads a scratch word never written")
        elif code == JA or code in _JUMPS:
            for skip in (k,) if code == JA else (true, false):
                written_at[place + 1 + skip] &= written
            written = everything


def pack(arch: int, nr: int, args: Sequence[int], instruction_pointer: int = 0) -> bytes:
    """Write what a filter sees of one system call.

    Args:
        arch: AUDIT_ARCH_* of the call's ABI (linux/audit.h).
        nr: number of the call, signed or unsigned 32 bits.
        args: at most six arguments, signed or unsigned 64 bits; those not given are 0.
        instruction_pointer: where the call was made.

    Returns:
        A struct seccomp_data.

    Raises:
        ValueError: more than six arguments.
    """
    if len(args) > 6:
        raise ValueError("a system call has at most six arguments")
    words = [*args, *[0] * (6 - len(args))]
    number = (nr & _WORD) - ((nr & 0x80000000) << 1)
    return _DATA.pack(number, arch, instruction_pointer, *(word & (2**64 - 1) for word in words))


def interpret(program: bytes, arch: int, nr: int, args: Sequence[int]) -> int:
    """Run a filter on one system call, as the kernel would.

    For many calls, `disassemble` once, then `pack` and `run` for each.

    Args:
        program: an array of struct sock_filter, from wherever.
        arch: AUDIT_ARCH_* of the call's ABI (linux/audit.h).
        nr: number of the call.
        args: at most six arguments; those not given are 0.

    Returns:
        What the filter returns: SECCOMP_RET_* and its data, as in seccomp(2).

    Raises:
        ValueError: a program that the kernel would refuse, or more than six arguments.
    """
    return run(disassemble(program), pack(arch, nr, args))


def run(instructions: Sequence[Instruction], data: bytes) -> int:
    """Run instructions that `disassemble` has checked.

    Args:
        instructions: what `disassemble` returned. Jumps only go forward, so it ends.
        data: a struct seccomp_data.

    Returns:
        The value of the return reached, 0 to 2**32 - 1.
    """
    words = struct.unpack(f"<{len(data) // 4}I", data)
    scratch = [0] * _SCRATCH_WORDS
    a = x = 0
    place = 0
    while True:
        code, true, false, k = instructions[place]
        place += 1
        if code == LD_ABS:
            a = words[k // 4]
        elif code in _JUMPS:
            place += true if _holds(code & ~_USE_X, a, x if code & _USE_X else k) else false
        elif code == RET_K:
            return k
        elif code == RET_A:
            return a
        elif code == JA:
            place += k
        elif code in _ARITHMETIC:
            if code == _DIV_X and x == 0:
                return 0  # the kernel ends the program so
            a = _calculate(code & ~_USE_X, a, x if code & _USE_X else k)
        else:
            a, x = _move(code, k, a, x, scratch)


def _holds(code: int, left: int, right: int) -> bool:
    if code == JEQ_K:
        return left == right
    if code == JGT_K:
        return left > right
    if code == JGE_K:
        return left >= right
    return left & right != 0


def _calculate(code: int, left: int, right: int) -> int:
    return _OPERATIONS[code](left, right) & _WORD


def _move(code: int, k: int, a: int, x: int, scratch: list[int]) -> tuple[int, int]:
    """Do what neither jumps nor calculates with an operand; give the new A and X."""
    if code == ST:
        scratch[k] = a
    elif code == STX:
        scratch[k] = x
    elif code == TXA:
        a = x
    elif code == TAX:
        x = a
    elif code == _NEG:
        a = -a & _WORD
    elif code in {LD_LEN, LDX_LEN}:
        a, x = (_DATA.size, x) if code == LD_LEN else (a, _DATA.size)
    elif code in {LD_IMM, LDX_IMM}:
        a, x = (k, x) if code == LD_IMM else (a, k)
    else:
        a, x = (scratch[k], x) if code == LD_MEM else (a, scratch[k])
    return a, x

"""bpf(2): programs, their types, and the arrays that they write to.

All is gone with the last descriptor of it: nothing is pinned, nothing stays. Source: linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Sequence

from nsctl.kernel.libc import syscall
from nsctl.model.record import NamedTuple

PROG_TYPE_RAW_TRACEPOINT = 17
PROG_TYPE_TRACING = 26
PROG_TYPE_SYSCALL = 31
TRACE_ITER = 28
F_SLEEPABLE = 0x10

_MAP_CREATE = 0
_PROG_LOAD = 5
_PROG_TEST_RUN = 10
_BTF_LOAD = 18
_LINK_CREATE = 28
_ITER_CREATE = 33
_MAP_TYPE_ARRAY = 2
_F_MMAPABLE = 0x400
# union bpf_attr for BPF_PROG_LOAD: type, count, instructions, licence, log level, size and
# buffer, kernel version, flags, name, interface, attach type, types, then size, place and number
# of the descriptions of functions, of lines (none), what it is attached to, and of relocations.
_LOAD = struct.Struct("=IIQQIIQII16sIIIIQIIQIIIIQQI4x")
_TEST_RUN = struct.Struct("=IIIIQQIIIIQQIII4x")
_FUNCTION = 8
_RELOCATION = 16
_INSTRUCTION = 8
_OFFSET, _VALUE = 2, 4
_LOADS_AND_STORES = frozenset({1, 2, 3})
# A call of no function: the kernel takes it where nothing leads to it.
_NEVER = struct.pack("=BBhi", 0x85, 0, 0, 0xBAD2310)
UNKNOWN = 0xFFFFFFFF
"""In place of a value that cannot be had."""
RETURN_ZERO = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0)) + bytes((0x95, 0, 0, 0, 0, 0, 0, 0))
"""The least program that there is: r0 = 0; exit."""


class Program(NamedTuple):
    """A program before it is loaded.

    Attributes:
        name: at most 15 bytes.
        type: BPF_PROG_TYPE_*.
        attach_type: BPF_* of enum bpf_attach_type, 0 for none.
        attach_to: function of the kernel that it is attached to, b"" for none.
        code: instructions, eight bytes each.
        functions: struct bpf_func_info for each function in it.
        relocations: struct bpf_core_relo for each place that depends on the kernel's structures.
        maps: where in the code which map is named: number of the instruction, of the map.
        patches: where in the code a value belongs that another program learns: number of the
            instruction, of the value.
    """

    name: bytes
    type: int
    attach_type: int = 0
    attach_to: bytes = b""
    code: bytes = RETURN_ZERO
    functions: bytes = b""
    relocations: bytes = b""
    maps: tuple[tuple[int, int], ...] = ()
    patches: tuple[tuple[int, int], ...] = ()


def _bpf(command: int, attributes: bytes) -> int:
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    return syscall("bpf", command, buffer, len(attributes))


def load_program(kind: int, instructions: bytes, flags: int = 0) -> int:
    """Load a program that needs nothing else; nothing runs it.

    Args:
        kind: BPF_PROG_TYPE_*.
        instructions: eight bytes each.
        flags: BPF_F_* bits.

    Returns:
        A descriptor which the caller closes; the program goes with it.

    Raises:
        OSError: EPERM without CAP_BPF (and CAP_PERFMON, by the type) in the initial user
            namespace, EINVAL for a type that the kernel does not know.
    """
    return load(Program(b"", kind, code=instructions), flags=flags)


def load(
    program: Program,
    *,
    types: int = 0,
    maps: Sequence[int] = (),
    values: Sequence[int] = (),
    attach_id: int = 0,
    flags: int = 0,
) -> int:
    """Load a program; the kernel puts its own structures' offsets in, and checks it.

    Args:
        program: what to load.
        types: descriptor from `load_types`, 0 for none.
        maps: descriptors of the maps that it names by number.
        values: what its code is patched with, by number; `UNKNOWN` for what cannot be had, and
            then it must not be reached.
        attach_id: from `find_function`, 0 for none.
        flags: BPF_F_* bits.

    Returns:
        A descriptor which the caller closes; the program goes with it.

    Raises:
        OSError: EPERM as `load_program`; EINVAL also where the kernel's structures lack a field,
            or a helper is not to be had (lockdown).
    """
    code = bytearray(program.code)
    for place, number in program.maps:
        struct.pack_into("=i", code, place * _INSTRUCTION + _VALUE, maps[number])
    for place, number in program.patches:
        _patch(code, place * _INSTRUCTION, values[number])
    instructions = ctypes.create_string_buffer(bytes(code), len(code))
    licence = ctypes.create_string_buffer(b"GPL")
    functions = ctypes.create_string_buffer(program.functions, len(program.functions) or 1)
    relocations = ctypes.create_string_buffer(program.relocations, len(program.relocations) or 1)
    count = len(program.relocations) // _RELOCATION
    attributes = _LOAD.pack(
        program.type,
        len(code) // _INSTRUCTION,
        ctypes.addressof(instructions),
        ctypes.addressof(licence),
        *(0, 0, 0, 0),
        flags,
        program.name,
        0,
        program.attach_type,
        types,
        _FUNCTION if program.functions else 0,
        ctypes.addressof(functions) if program.functions else 0,
        len(program.functions) // _FUNCTION,
        *(0, 0, 0),
        attach_id,
        0,
        count,
        0,
        ctypes.addressof(relocations) if count else 0,
        _RELOCATION if count else 0,
    )
    # A kernel that knows fewer fields takes more of them as long as they are zero.
    return _bpf(_PROG_LOAD, attributes.rstrip(b"\0").ljust(_FEWEST, b"\0"))


def reverse(relocations: bytes) -> bytes:
    """Bring a program's relocations into the opposite order; the kernel takes them in any."""
    places = range(len(relocations) - _RELOCATION, -1, -_RELOCATION)
    return b"".join([relocations[place : place + _RELOCATION] for place in places])


def _patch(code: bytearray, place: int, value: int) -> None:
    """Put a value where an instruction has an offset or a number."""
    if value == UNKNOWN:
        code[place : place + _INSTRUCTION] = _NEVER
    elif code[place] & 7 in _LOADS_AND_STORES:
        struct.pack_into("=h", code, place + _OFFSET, value)
    else:
        struct.pack_into("=i", code, place + _VALUE, value)


# Up to the name: what every kernel with BPF iterators has, and more than any of its fields.
_FEWEST = 72


def load_types(types: bytes) -> int:
    """Load the types that programs are written with (BPF_BTF_LOAD).

    Returns:
        A descriptor which the caller closes.

    Raises:
        OSError: EPERM without CAP_BPF, EINVAL where the kernel does not take them.
    """
    buffer = ctypes.create_string_buffer(types, len(types))
    return _bpf(_BTF_LOAD, struct.pack("=QQIIII", ctypes.addressof(buffer), 0, len(types), 0, 0, 0))


def create_array(size: int, count: int) -> int:
    """Make an array whose memory can be mapped.

    Args:
        size: of one element, in bytes; a multiple of eight.
        count: number of elements.

    Returns:
        A descriptor which the caller closes.

    Raises:
        OSError: EPERM without CAP_BPF, ENOMEM.
    """
    return _bpf(_MAP_CREATE, struct.pack("=IIIII", _MAP_TYPE_ARRAY, 4, size, count, _F_MMAPABLE))


def run(program: int, context: bytes = b"") -> bytes:
    """Run a program once, on this very process (BPF_PROG_TEST_RUN).

    Args:
        program: descriptor of one of the types raw tracepoint and syscall.
        context: what it is given.

    Returns:
        The context as the program left it.

    Raises:
        OSError: EINVAL where the type cannot be run so.
    """
    buffer = ctypes.create_string_buffer(context, len(context) or 1)
    place = ctypes.addressof(buffer) if context else 0
    _bpf(_PROG_TEST_RUN, _TEST_RUN.pack(program, *(0,) * 7, len(context), 0, place, *(0,) * 4))
    return buffer.raw[: len(context)]


def iterate(program: int) -> None:
    """Run a program for each object of the iterator that it is attached to.

    Raises:
        OSError: EINVAL where it is of no iterator.
    """
    link = _bpf(_LINK_CREATE, struct.pack("=IIII", program, 0, TRACE_ITER, 0))
    try:
        iterator = _bpf(_ITER_CREATE, struct.pack("=II", link, 0))
        try:
            # Our programs print nothing. One read ends where the kernel would give others a turn.
            while True:
                try:
                    if not os.read(iterator, 4096):
                        return
                except BlockingIOError:
                    continue
        finally:
            os.close(iterator)
    finally:
        os.close(link)


def has_types(path: str = "/sys/kernel/btf/vmlinux") -> bool:
    """Tell whether the kernel describes its own types (BTF), and they can be read.

    Raises:
        OSError: why not: ENOENT where there is no such description.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, 2) == b"\x9f\xeb"
    finally:
        os.close(fd)

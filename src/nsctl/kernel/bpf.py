"""BPF programs: bpf(2), as far as it takes to know whether the kernel would load one."""

from __future__ import annotations

import ctypes
import os
import struct

from nsctl.kernel.libc import syscall

PROG_TYPE_SYSCALL = 31
F_SLEEPABLE = 0x10

_PROG_LOAD = 5
# union bpf_attr for BPF_PROG_LOAD: type, count, instructions, licence, log level, size and
# buffer, kernel version, flags; the rest is zero.
_ATTRIBUTES = struct.Struct("=IIQQIIQII")
_SIZE = 128
_INSTRUCTION = 8
RETURN_ZERO = bytes((0xB7, 0, 0, 0, 0, 0, 0, 0)) + bytes((0x95, 0, 0, 0, 0, 0, 0, 0))
"""The least program that there is: r0 = 0; exit."""


def load_program(kind: int, instructions: bytes, flags: int = 0) -> int:
    """Load a program; nothing runs it.

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
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    attributes = _ATTRIBUTES.pack(
        kind,
        len(instructions) // _INSTRUCTION,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0,
        0,
        0,
        0,
        flags,
    )
    buffer = ctypes.create_string_buffer(attributes, _SIZE)
    return syscall("bpf", _PROG_LOAD, buffer, _SIZE)


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

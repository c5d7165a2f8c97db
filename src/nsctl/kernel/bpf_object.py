"""The packed programs in the package: what scripts/pack_bpf.py made of native/nsctl.bpf.c."""

from __future__ import annotations

import os
import struct
import sys

from nsctl.kernel.bpf import Program
from nsctl.model.record import NamedTuple

_MAGIC = b"nsctlbpf"
_COUNTS = struct.Struct("<II")
_HEADER = struct.Struct("<16s16s7I")
_PAIR = struct.Struct("<II")


class Packed(NamedTuple):
    """Programs that share their types.

    Attributes:
        types: what `nsctl.kernel.bpf.load_types` takes.
        programs: by name.
    """

    types: bytes
    programs: dict[str, Program]


def shipped() -> Packed:
    """Read the programs of the package.

    Raises:
        OSError: they are not there, or this machine is not little-endian with 64 bits, which
            they were made for.
    """
    import errno

    if sys.byteorder != "little" or sys.maxsize <= 1 << 32:
        raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
    path = os.path.join(os.path.dirname(os.path.dirname(__file__)), "native", "nsctl.bpf")
    with open(path, "rb") as file:
        return parse(file.read())


def parse(raw: bytes) -> Packed:
    """Take a packed object apart.

    Args:
        raw: the file.

    Returns:
        Types and programs.

    Raises:
        ValueError: it is of another form, or cut short.
    """
    if not raw.startswith(_MAGIC) or len(raw) < len(_MAGIC) + _COUNTS.size:
        raise ValueError("not a packed BPF object")
    count, size = _COUNTS.unpack_from(raw, len(_MAGIC))
    place = len(_MAGIC) + _COUNTS.size
    types = raw[place : place + size]
    place += size
    programs: dict[str, Program] = {}
    for _ in range(count):
        if len(raw) < place + _HEADER.size:
            raise ValueError("a packed BPF object cut short")
        name, attach_to, kind, attach_type, *sizes = _HEADER.unpack_from(raw, place)
        place += _HEADER.size
        blobs = []
        for length in sizes:
            blobs.append(raw[place : place + length])
            place += length
        code, functions, relocations, maps, patches = blobs
        name = name.rstrip(b"\0")
        programs[name.decode("ascii")] = Program(
            name,
            kind,
            attach_type,
            attach_to.rstrip(b"\0"),
            code,
            functions,
            relocations,
            _pairs(maps),
            _pairs(patches),
        )
    if place != len(raw):
        raise ValueError("a packed BPF object of another length")
    return Packed(types, programs)


def _pairs(raw: bytes) -> tuple[tuple[int, int], ...]:
    if len(raw) % _PAIR.size:
        raise ValueError("a packed BPF object with a pair cut short")
    return tuple(_PAIR.iter_unpack(raw))

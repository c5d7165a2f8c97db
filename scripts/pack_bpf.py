"""Packs what clang made of nsctl.bpf.c into what bpf(2) takes, so that nothing is parsed at run time.

    pack_bpf.py OBJECT PACKED

From the ELF object come the programs, each linked with the functions that it calls, their places
that the kernel relocates (CO-RE), and the types (BTF) without variables, lines and source text.
nsctl.kernel.bpf_object reads the packed form. The same object gives the same bytes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterable
from typing import NamedTuple

MAGIC = b"nsctlbpf"
# Which maps there are, in the order of nsctl.kernel.lists; a program names one by its number.
MAPS = ("run_map", "task_map", "cred_map", "file_map", "space_map", "bind_map")
# Section to the program's type and attach type (linux/bpf.h), and to the function attached to.
SECTIONS = {
    "iter/task": (26, 28, b"bpf_iter_task"),
    "raw_tp": (17, 0, b""),
    "syscall": (31, 0, b""),
}
R_BPF_64_64, R_BPF_64_32 = 1, 10
LD_IMM64, CALL = 0x18, 0x85
PSEUDO_MAP_FD, PSEUDO_CALL, PSEUDO_FUNC = 1, 1, 4
MOV_IMM, JEQ_IMM, STORE_WORD, EXIT = 0xB7, 0x15, 0x63, 0x95
LOADS_AND_STORES = {1, 2, 3}
BYTE_OFFSET, EXISTS = 0, 2
INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT = range(1, 12)
FUNC, FUNC_PROTO, VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(12, 20)
SIZES = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
MEMBERS = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}


class Section(NamedTuple):
    """A section of the object."""

    name: str
    kind: int
    info: int
    data: bytes


class Symbol(NamedTuple):
    """A symbol of the object."""

    name: str
    section: int
    value: int
    size: int
    is_function: bool


class Elf:
    """The parts of an ELF object that are used."""

    def __init__(self, raw: bytes) -> None:
        assert raw[:6] == b"\x7fELF\x02\x01", "not a 64-bit little-endian object"
        (offset,) = struct.unpack_from("<Q", raw, 40)
        size, count, names = struct.unpack_from("<HHH", raw, 58)
        headers = [struct.unpack_from("<IIQQQQII", raw, offset + i * size) for i in range(count)]
        data = [raw[header[4] : header[4] + header[5]] for header in headers]
        self.sections = [
            Section(text(data[names], header[0]), header[1], header[7], data[i])
            for i, header in enumerate(headers)
        ]
        table = next(i for i, section in enumerate(self.sections) if section.kind == 2)
        strings = data[headers[table][6]]
        self.symbols = [
            Symbol(text(strings, name), index, value, length, info & 15 == 2)
            for name, info, _, index, value, length in struct.iter_unpack("<IBBHQQ", data[table])
        ]

    def named(self, name: str) -> int:
        """Number of a section."""
        return next(i for i, section in enumerate(self.sections) if section.name == name)

    def relocations(self, target: int) -> dict[int, tuple[int, Symbol]]:
        """By offset, what is relocated in a section: kind and symbol."""
        found = {}
        for section in self.sections:
            if section.kind == 9 and section.info == target:
                for offset, info in struct.iter_unpack("<QQ", section.data):
                    found[offset] = info & 0xFFFFFFFF, self.symbols[info >> 32]
        return found


def text(strings: bytes, offset: int) -> str:
    """A string of a table."""
    return strings[offset : strings.index(b"\0", offset)].decode()


class Types:
    """BTF, of which variables and unused strings are dropped."""

    def __init__(self, raw: bytes, extension: bytes) -> None:
        header = struct.unpack_from("<HBBIIIII", raw)
        base = header[3]
        body = raw[base + header[4] :][: header[5]]
        self.strings = raw[base + header[6] :][: header[7]]
        self._kept = bytearray(b"\0")
        self._places: dict[int, int] = {0: 0}
        out = bytearray()
        offset = 0
        self.names: dict[int, str] = {}
        number = 0
        while offset < len(body):
            name, info = struct.unpack_from("<II", body, offset)
            kind, members = info >> 24 & 31, info & 0xFFFF
            size = 12 + SIZES.get(kind, 0) + MEMBERS.get(kind, 0) * members
            record = bytearray(body[offset : offset + size])
            offset += size
            number += 1
            if kind in {VAR, DATASEC}:
                # Nothing refers to it, but what stands behind it must keep its number.
                out += struct.pack("<III", 0, CONST << 24, 0)
                continue
            self.names[number] = text(self.strings, name)
            struct.pack_into("<I", record, 0, self.keep(name))
            if kind in MEMBERS:
                for member in range(members):
                    place = 12 + member * MEMBERS[kind]
                    (member_name,) = struct.unpack_from("<I", record, place)
                    struct.pack_into("<I", record, place, self.keep(member_name))
            out += record
        self._body = bytes(out)
        self._infos(extension)

    def keep(self, offset: int) -> int:
        """Keep a string; tell its new place."""
        if offset not in self._places:
            self._places[offset] = len(self._kept)
            self._kept += text(self.strings, offset).encode() + b"\0"
        return self._places[offset]

    def _infos(self, raw: bytes) -> None:
        """Read which functions and which relocations there are in each section."""
        _, _, _, base, *places = struct.unpack_from("<HBBIIIIIII", raw)
        functions, functions_size, _, _, relocations, relocations_size = places
        self.functions = self._by_section(raw[base + functions :][:functions_size], "<II")
        self.relocations = self._by_section(raw[base + relocations :][:relocations_size], "<IIII")

    def _by_section(self, raw: bytes, form: str) -> dict[str, list[tuple[int, ...]]]:
        (size,) = struct.unpack_from("<I", raw)
        assert size == struct.calcsize(form), "a record of another size"
        found: dict[str, list[tuple[int, ...]]] = {}
        offset = 4
        while offset < len(raw):
            name, count = struct.unpack_from("<II", raw, offset)
            offset += 8
            records = raw[offset : offset + count * size]
            found[text(self.strings, name)] = list(struct.iter_unpack(form, records))
            offset += count * size
        return found

    def packed(self) -> bytes:
        """What BPF_BTF_LOAD takes."""
        return (
            struct.pack(
                "<HBBIIIII", 0xEB9F, 1, 0, 24, 0, len(self._body), len(self._body), len(self._kept)
            )
            + self._body
            + bytes(self._kept)
        )


class Program:
    """One program, linked with the functions that it calls."""

    def __init__(self, elf: Elf, types: Types, section: str) -> None:
        self.code = bytearray()
        self.functions: list[tuple[int, int]] = []
        self.relocations: list[tuple[int, int, int, int]] = []
        self.maps: list[tuple[int, int]] = []
        self._elf, self._types = elf, types
        self._places: dict[tuple[int, int], int] = {}
        self._calls: list[tuple[int, int, int]] = []
        number = elf.named(section)
        entry = next(s for s in elf.symbols if s.section == number and s.is_function)
        self.name = entry.name
        self._add(entry)
        while self._calls:
            place, target, offset = self._calls.pop(0)
            callee = next(
                s
                for s in elf.symbols
                if s.section == target and s.value == offset and s.is_function
            )
            self._add(callee)
            relative = self._places[target, offset] - place - 1
            struct.pack_into("<i", self.code, place * 8 + 4, relative)

    def _add(self, function: Symbol) -> None:
        """Append a function, unless it is there."""
        if (function.section, function.value) in self._places:
            return
        base = len(self.code) // 8
        self._places[function.section, function.value] = base
        section = self._elf.sections[function.section]
        begin, end = function.value, function.value + function.size
        code = bytearray(section.data[begin:end])
        relocated = self._elf.relocations(function.section)
        for offset in range(begin, end, 8):
            if offset in relocated:
                self._relocate(code, offset - begin, base, *relocated[offset])
            elif section.data[offset : offset + 2] == bytes((CALL, PSEUDO_CALL << 4)):
                # Within its own section the compiler knows how far a call goes.
                (imm,) = struct.unpack_from("<i", section.data, offset + 4)
                place = base + (offset - begin) // 8
                self._calls.append((place, function.section, offset + (imm + 1) * 8))
        self.code += code
        for offset, kind in self._types.functions.get(section.name, ()):
            if offset == begin:
                self.functions.append((base, kind))
        for offset, kind, access, what in self._types.relocations.get(section.name, ()):
            if begin <= offset < end:
                place = base + (offset - begin) // 8
                self.relocations.append((place * 8, kind, self._types.keep(access), what))

    def _relocate(self, code: bytearray, offset: int, base: int, kind: int, symbol: Symbol) -> None:
        (imm,) = struct.unpack_from("<i", code, offset + 4)
        place = base + offset // 8
        if kind == R_BPF_64_64 and symbol.name in MAPS:
            assert code[offset] == LD_IMM64, "a map outside of ld_imm64"
            code[offset + 1] = code[offset + 1] & 15 | PSEUDO_MAP_FD << 4
            self.maps.append((place, MAPS.index(symbol.name)))
        elif kind == R_BPF_64_64:
            assert code[offset] == LD_IMM64, "a function's address outside of ld_imm64"
            code[offset + 1] = code[offset + 1] & 15 | PSEUDO_FUNC << 4
            self._calls.append((place, symbol.section, symbol.value + imm))
        else:
            assert (kind, code[offset]) == (R_BPF_64_32, CALL), "a relocation of another kind"
            code[offset + 1] = code[offset + 1] & 15 | PSEUDO_CALL << 4
            target = symbol.value + (imm + 1) * 8
            self._calls.append((place, symbol.section, target))

    def packed(self, section: str, places: Offsets) -> bytes:
        """What nsctl.kernel.bpf_object reads of one program."""
        kind, attach_type, attach_to = SECTIONS[section]
        patches = []
        for offset, type_, access, what in self.relocations:
            patches.append((offset // 8, places.of(type_, access, what, self._value(offset))))
        return pack(
            self.name,
            kind,
            attach_type,
            attach_to,
            bytes(self.code),
            self.functions,
            (),
            self.maps,
            patches,
        )

    def _value(self, offset: int) -> int:
        """What an instruction has in the place that is relocated: for the compiler's structures."""
        is_offset = self.code[offset] & 7 in LOADS_AND_STORES
        form, place = ("<h", offset + 2) if is_offset else ("<i", offset + 4)
        (value,) = struct.unpack_from(form, self.code, place)
        return int(value)


class Offsets:
    """The program that learns all that depends on the kernel's structures, each once.

    The kernel looks a structure up among all of its types, which takes long, and remembers few:
    so this is done in one program, in order of structures, and the others are patched with what
    it has learnt.
    """

    def __init__(self, types: Types) -> None:
        self._types = types
        self._asked: dict[tuple[int, int, int], int] = {}
        self._local: list[int] = []

    def of(self, type_: int, access: int, what: int, local: int) -> int:
        """The number of an answer; ``local`` is what it is for the compiler's structures."""
        assert what in {BYTE_OFFSET, EXISTS}, "a relocation of another kind"
        key = type_, access, what
        if key not in self._asked:
            self._asked[key] = len(self._local)
            self._local.append(local)
        number = self._asked[key]
        assert self._local[number] == local, "one place with two values"
        return number

    def packed(self, function: int) -> bytes:
        """The program: each answer goes to its place in the context, if it can be had.

        Args:
            function: type of a function such as it is; without one nothing is relocated.
        """
        code = bytearray()
        relocations = []

        def learn(key: tuple[int, int, int], local: int) -> None:
            relocations.append((len(code), *key))
            code.extend(struct.pack("<BBhi", MOV_IMM, 2, 0, local))

        asked = sorted(
            self._asked.items(), key=lambda item: (self._types.names[item[0][0]], item[1])
        )
        for (type_, access, what), number in asked:
            if what != EXISTS:
                learn((type_, access, EXISTS), 1)
                code.extend(struct.pack("<BBhi", JEQ_IMM, 2, 2, 0))
            learn((type_, access, what), self._local[number])
            code.extend(struct.pack("<BBhi", STORE_WORD, 2 << 4 | 1, number * 4, 0))
        code += struct.pack("<BBhi", MOV_IMM, 0, 0, 0) + struct.pack("<BBhi", EXIT, 0, 0, 0)
        kind, attach_type, attach_to = SECTIONS["syscall"]
        called = ((0, function),)
        return pack(
            "offsets", kind, attach_type, attach_to, bytes(code), called, relocations, (), ()
        )


def pack(
    name: str,
    kind: int,
    attach_type: int,
    attach_to: bytes,
    code: bytes,
    *tables: Iterable[tuple[int, ...]],
) -> bytes:
    """One program as it lies in the packed object."""
    blobs = [code]
    blobs += [b"".join(struct.pack(f"<{len(row)}I", *row) for row in table) for table in tables]
    sizes = struct.pack("<5I", *map(len, blobs))
    return (
        struct.pack("<16s16sII", name.encode(), attach_to, kind, attach_type)
        + sizes
        + b"".join(blobs)
    )


def main() -> int:
    """Pack an object."""
    source, target = sys.argv[1:]
    with open(source, "rb") as file:
        elf = Elf(file.read())
    types = Types(elf.sections[elf.named(".BTF")].data, elf.sections[elf.named(".BTF.ext")].data)
    offsets = Offsets(types)
    programs = {section: Program(elf, types, section) for section in SECTIONS}
    packed = [program.packed(section, offsets) for section, program in programs.items()]
    (_, function), *_ = programs["syscall"].functions
    packed.append(offsets.packed(function))
    described = types.packed()
    with open(target, "wb") as file:
        file.write(MAGIC + struct.pack("<II", len(packed), len(described)) + described)
        file.write(b"".join(packed))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Write src/nsctl/kernel/syscall_numbers.py anew from kernel headers.

Run it with the headers of Debian's packages linux-libc-dev, linux-libc-dev-arm64-cross and
linux-libc-dev-armhf-cross, which need not be installed: unpack them with ``dpkg -x`` and give the
directory. gcc serves as the preprocessor::

    python scripts/syscall_numbers.py --root DIR [--check]

Calls that those headers are too old for stand in `NEWER`, from the kernel's own tables
(scripts/syscall.tbl, arch/x86/entry/syscalls/*.tbl, arch/arm/tools/syscall.tbl). From 424 on all
architectures use the same numbers, so one list serves.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import subprocess
import sys
import textwrap

TARGET = pathlib.Path(__file__).parent.parent / "src/nsctl/kernel/syscall_numbers.py"

X32_BIT = 0x40000000

NEWER = {
    450: "set_mempolicy_home_node",
    451: "cachestat",
    452: "fchmodat2",
    453: "map_shadow_stack",
    454: "futex_wake",
    455: "futex_wait",
    456: "futex_requeue",
    457: "statmount",
    458: "listmount",
    459: "lsm_get_self_attr",
    460: "lsm_set_self_attr",
    461: "lsm_list_modules",
    462: "mseal",
    463: "setxattrat",
    464: "getxattrat",
    465: "listxattrat",
    466: "removexattrat",
    467: "open_tree_attr",
    468: "file_getattr",
    469: "file_setattr",
    470: "listns",
    471: "rseq_slice_yield",
}
NEWER_X86_64 = {335: "uretprobe", 336: "uprobe"}
NOT_X32 = {"map_shadow_stack"}

# name in the module: include directories below the root, header, definitions
SOURCES = {
    "X86_64": (
        ("usr/include/x86_64-linux-gnu", "usr/include"),
        "asm/unistd_64.h",
        (),
    ),
    "X32": (
        ("usr/include/x86_64-linux-gnu", "usr/include"),
        "asm/unistd_x32.h",
        (f"__X32_SYSCALL_BIT={X32_BIT}",),
    ),
    "I386": (
        ("usr/include/x86_64-linux-gnu", "usr/include"),
        "asm/unistd_32.h",
        (),
    ),
    "AARCH64": (
        ("usr/aarch64-linux-gnu/include",),
        "asm/unistd.h",
        ("__LP64__", "__BITS_PER_LONG=64"),
    ),
    "ARM": (
        ("usr/arm-linux-gnueabihf/include",),
        "asm/unistd.h",
        ("__ARM_EABI__",),
    ),
}
# Not calls: sizes, bases and helpers of the headers themselves.
NO_CALLS = {
    "syscalls",
    "arch_specific_syscall",
    "SYSCALL_BASE",
    "SYSCALL_MASK",
    "OABI_SYSCALL_BASE",
    "BASE",
}

HEAD = '''"""System call numbers by name, one table for each ABI that a filter can meet. Plain data.

Written by scripts/syscall_numbers.py from kernel headers; change that, not this. A table lists
names in the order of their numbers: a word of digits sets the number of the name after it, each
further name has the next one. `nsctl.kernel.seccomp_profile.numbers` reads them.
"""

from __future__ import annotations
'''


def preprocess(root: pathlib.Path, table: str, text: str, *options: str) -> str:
    """Run the C preprocessor over a few lines with one table's headers and nothing else."""
    directories, _, definitions = SOURCES[table]
    command = ["gcc", "-E", "-undef", "-nostdinc", *options]
    command += [f"-I{root / directory}" for directory in directories]
    command += [f"-D{definition}" for definition in definitions]
    return subprocess.run(
        [*command, "-"], input=text, capture_output=True, text=True, check=True
    ).stdout


def read(root: pathlib.Path, table: str) -> list[tuple[int, str]]:
    """Read one table: (number, name), sorted."""
    include = f"#include <{SOURCES[table][1]}>\n"
    macros = re.findall(
        r"^#define (__(?:ARM_)?NR_(\w+)) ", preprocess(root, table, include, "-dM"), re.MULTILINE
    )
    wanted = [(macro, name) for macro, name in macros if name not in NO_CALLS]
    lines = "".join(f"@{name} = {macro}\n" for macro, name in wanted)
    found = set()
    for name, expression in re.findall(
        r"^@(\w+) = ([-()+ 0-9a-fx]+)$",
        preprocess(root, table, include + lines, "-P"),
        re.MULTILINE,
    ):
        # The headers only ever add an offset to a base.
        terms = re.findall(r"0x[0-9a-f]+|[0-9]+", expression)
        found.add((sum(int(term, 0) for term in terms), name))
    if len(found) != len(wanted):
        missing = {name for _, name in wanted} - {name for _, name in found}
        sys.exit(f"{table}: could not evaluate {sorted(missing)}")
    offset = X32_BIT if table == "X32" else 0
    newer = NEWER | (NEWER_X86_64 if table == "X86_64" else {})
    if table == "X32":
        newer = {number: name for number, name in newer.items() if name not in NOT_X32}
    found |= {(number + offset, name) for number, name in newer.items()}
    return sorted(found)


def words(table: list[tuple[int, str]]) -> list[str]:
    """Write a table as words: digits where a run of numbers begins, then names."""
    result = []
    following = -1
    for number, name in table:
        if number != following:
            result.append(str(number))
        result.append(name)
        following = number + 1
    return result


def module(root: pathlib.Path) -> str:
    """Write the whole module."""
    parts = [HEAD]
    for table in SOURCES:
        text = textwrap.fill(
            " ".join(words(read(root, table))), 96, break_long_words=False, break_on_hyphens=False
        )
        parts.append(f'\n{table} = """\n{text}\n"""\n')
    return "".join(parts)


def main() -> int:
    """Write the module, or with --check compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=pathlib.Path, default=pathlib.Path("/"))
    parser.add_argument("--check", action="store_true", help="fail if the module is out of date")
    arguments = parser.parse_args()
    text = module(arguments.root)
    if arguments.check:
        if TARGET.read_text("utf-8") != text:
            print(f"{TARGET} is not what the headers give", file=sys.stderr)
            return 1
        return 0
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

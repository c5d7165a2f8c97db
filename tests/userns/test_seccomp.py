"""Filters in a real kernel: it answers as the interpreter says, and programs still run.

A filter needs no_new_privs and nothing else, so any user can load one; each is loaded in a child.
"""

from __future__ import annotations

import ast
import errno
import json
import os
import random
import signal
import sys

import pytest

from nsctl.kernel import cbpf, seccomp
from nsctl.kernel.cbpf import Instruction, statement
from nsctl.kernel.seccomp_profile import AARCH64, X86_64, Abi, numbers
from nsctl.model import capabilities
from support.users import OrdinaryUser

pytestmark = pytest.mark.userns

MACHINE = os.uname().machine
ABI: Abi = {"x86_64": X86_64, "aarch64": AARCH64}.get(MACHINE, X86_64)
ALLOW = 0x7FFF0000
ACTION = 0xFFFF0000
ERRNO = 0x00050000

LOADED = """
import ctypes, errno, os, sys
from nsctl.kernel import seccomp
from nsctl.kernel.libc import syscall
libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long
def call(number, *arguments):
    ctypes.set_errno(0)
    words = [ctypes.c_ulong(argument & (2**64 - 1)) for argument in arguments]
    result = libc.syscall(ctypes.c_ulong(number & (2**64 - 1)), *words)
    return ctypes.get_errno() if result == -1 else 0
def no_new_privs():
    syscall("prctl", 38, 1, 0, 0, 0)
"""

# Harmless whoever makes them: the arguments are refused by the kernel, or change nothing.
CALLS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("acct", (1,)),
    ("add_key", (0, 0, 0, 0, 0)),
    ("bpf", (0xFFFF, 0, 0)),
    ("chroot", (0,)),
    ("clock_settime", (0, 1)),
    ("clone3", (0, 0)),
    ("fanotify_init", (0xFFFFFFFF, 0)),
    ("fsconfig", (-1 & 2**32 - 1, 0, 0, 0, 0)),
    ("fsopen", (0, 0)),
    ("getpid", ()),
    ("init_module", (0, 0, 0)),
    ("io_uring_setup", (0, 0)),
    ("kcmp", (0, 0, 99, 0, 0)),
    ("kexec_load", (0, 0, 0, 0xFFFFFFFF)),
    ("keyctl", (0xFFFF, 0, 0, 0, 0)),
    ("listmount", (0, 0, 0, 0)),
    ("listns", (0, 0, 0, 0)),
    ("lookup_dcookie", (0, 0, 0)),
    ("mbind", (0, 0, 0xFFFF, 0, 0, 0)),
    ("mount", (0, 0, 0, 0, 0)),
    ("mount_setattr", (2**32 - 1, 0, 0, 0, 0)),
    ("move_mount", (2**32 - 1, 0, 2**32 - 1, 0, 0)),
    ("open_by_handle_at", (2**32 - 1, 0, 0)),
    ("open_tree", (2**32 - 1, 0, 0)),
    ("open_tree_attr", (2**32 - 1, 0, 0, 0, 0)),
    ("openat", (2**32 - 1, 0, 0, 0)),
    ("perf_event_open", (0, 0, 0, 0, 0)),
    ("personality", (0xFFFFFFFF,)),
    ("personality", (0x40000,)),
    ("personality", (2**32,)),
    ("pidfd_getfd", (2**32 - 1, 0, 0)),
    ("pidfd_open", (0, 0)),
    ("pivot_root", (0, 0)),
    ("process_vm_readv", (0, 0, 0, 0, 0, 1)),
    ("ptrace", (0xFFFF, 0, 0, 0)),
    ("quotactl", (0, 0, 0, 0)),
    ("reboot", (0, 0, 0, 0)),
    ("request_key", (0, 0, 0, 0)),
    ("seccomp", (0xFFFF, 0, 0)),
    ("sethostname", (0, 2**32 - 1)),
    ("setns", (2**32 - 1, 0)),
    ("set_mempolicy", (0xFFFF, 0, 0)),
    ("socket", (1, 0xFF, 0)),
    ("socket", (12, 2, 0)),
    ("socket", (38, 0xFF, 0)),
    ("socket", (40, 0xFF, 0)),
    ("socket", (2**32 + 40, 0xFF, 0)),
    ("socket", (41, 0xFF, 0)),
    ("statmount", (0, 0, 0, 0)),
    ("swapon", (0, 0)),
    ("syslog", (0xFFFF, 0, 0)),
    ("umount2", (0, 0)),
    ("unshare", (0,)),
    ("unshare", (0x10000000 | 1,)),
    ("userfaultfd", (0xFFFFFFFF,)),
    ("vhangup", ()),
)
TRY = """
import json
program, number_of_calls = sys.argv[1], json.loads(sys.argv[2])
if program:
    no_new_privs()
    seccomp.load(seccomp.Filter(bytes.fromhex(program), 0, ()))
print([call(number, *arguments) for number, arguments in number_of_calls])
"""


def tried(user: OrdinaryUser, program: bytes, calls: list[tuple[int, tuple[int, ...]]]) -> object:
    done = user.python(LOADED + TRY, program.hex(), json.dumps(calls))
    return ast.literal_eval(done.stdout)


@pytest.mark.parametrize(
    "held", [capabilities.DEFAULT, capabilities.DEFAULT | 1 << 21], ids=["default", "SYS_ADMIN"]
)
def test_the_kernel_answers_as_the_interpreter_says(ordinary_user: OrdinaryUser, held: int) -> None:
    program = seccomp.default_filter(held).program
    table = numbers(ABI)
    calls = [(table[name], arguments) for name, arguments in CALLS if name in table]
    calls += [(number, ()) for number in (400, 500, 999, -1, 2**31)]
    without = tried(ordinary_user, b"", calls)
    under = tried(ordinary_user, program, calls)
    assert isinstance(without, list)
    expected = []
    for (number, arguments), plain in zip(calls, without, strict=True):
        answer = seccomp.interpret(program, ABI.audit, number, arguments)
        assert answer == ALLOW or answer & ACTION == ERRNO
        expected.append(plain if answer == ALLOW else answer & 0xFFF)
    assert under == expected
    assert errno.EPERM in expected
    assert errno.ENOSYS in expected


@pytest.mark.skipif(MACHINE != "x86_64", reason="needs x86-64: its x32 and i386 calls")
def test_x32_numbers_do_not_exist_under_the_filter(ordinary_user: OrdinaryUser) -> None:
    program = seccomp.default_filter(capabilities.everything()).program
    calls: list[tuple[int, tuple[int, ...]]] = [(0x40000000 + 39, ()), (0x40000000 + 520, ())]
    assert tried(ordinary_user, program, calls) == [errno.ENOSYS, errno.ENOSYS]


INT_80 = """
import mmap
no_new_privs()
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes.fromhex("b814000000" "cd80" "c3"))  # mov eax, 20 (getpid); int 0x80; ret
address = ctypes.addressof(ctypes.c_char.from_buffer(code))
getpid = ctypes.CFUNCTYPE(ctypes.c_int)(address)
print(getpid() == os.getpid(), flush=True)
seccomp.load(seccomp.Filter(bytes.fromhex(sys.argv[1]), 0, ()))
print(getpid() == os.getpid(), flush=True)
"""


@pytest.mark.skipif(MACHINE != "x86_64", reason="needs x86-64: its i386 calls")
def test_a_foreign_architecture_is_killed_unless_the_profile_lists_it(
    ordinary_user: OrdinaryUser,
) -> None:
    native = seccomp.default_filter(capabilities.DEFAULT).program
    done = ordinary_user.python(LOADED + INT_80, native.hex(), check=None)
    if done.returncode == -signal.SIGSEGV:
        pytest.skip("needs a kernel with IA32_EMULATION")
    assert done.returncode == -signal.SIGSYS
    assert done.stdout == "True\n"
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86"]}
    both = seccomp.compile_profile(profile).program
    assert ordinary_user.python(LOADED + INT_80, both.hex()).stdout == "True\nTrue\n"


EXEC = """
no_new_privs()
seccomp.load(seccomp.Filter(bytes.fromhex(sys.argv[1]), 0, ()))
os.execv(sys.argv[2], sys.argv[2:])
"""
PYTHON = """
import socket, subprocess, tempfile, threading, time, selectors, os
thread = threading.Thread(target=time.sleep, args=(0,)); thread.start(); thread.join()
left, right = socket.socketpair(); left.send(b"x"); right.recv(1)
with tempfile.NamedTemporaryFile() as file: file.write(b"x"); file.flush(); os.fsync(file.fileno())
print(subprocess.run(["sh", "-c", "echo one; exit 3"], capture_output=True).returncode)
"""


def test_ordinary_programs_run_under_the_default_filter(ordinary_user: OrdinaryUser) -> None:
    program = seccomp.default_filter(0).program.hex()
    pipeline = "printf 'b\\na\\n' | sort | tr '\\n' ' '; ls / | wc -l >/dev/null; (exit 4); echo $?"
    done = ordinary_user.python(LOADED + EXEC, program, "/bin/sh", "-c", pipeline)
    assert done.stdout == "a b 4\n"
    done = ordinary_user.python(LOADED + EXEC, program, sys.executable, "-I", "-c", PYTHON)
    assert done.stdout == "3\n"


FALLBACK = """
no_new_privs()
for program in sys.argv[1:]:
    seccomp.load(seccomp.Filter(bytes.fromhex(program), 0, ()))
with open("/proc/self/status") as file:
    print([line for line in file if line.startswith("Seccomp_filters:")][0].split()[1])
"""


def test_a_filter_is_loaded_although_an_earlier_one_refuses_seccomp(
    ordinary_user: OrdinaryUser,
) -> None:
    refuses = seccomp.compile_profile(
        {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["seccomp"], "action": "SCMP_ACT_ERRNO"}],
        }
    ).program
    second = seccomp.default_filter(0).program
    done = ordinary_user.python(LOADED + FALLBACK, refuses.hex(), second.hex())
    assert done.stdout == "2\n"


def test_without_no_new_privs_the_refusal_says_what_would_help(
    ordinary_user: OrdinaryUser,
) -> None:
    code = """
from nsctl.errors import KernelRefusal
try:
    seccomp.load(seccomp.default_filter(0))
except KernelRefusal as error:
    print(error.errno, error.sentence, "/", error.hint)
"""
    done = ordinary_user.python(LOADED + code)
    words = f"cannot load a seccomp filter: {os.strerror(errno.EACCES)} (EACCES)"
    assert done.stdout == f"{errno.EACCES} {words} / set no_new_privs first\n"


ACCEPTED = """
no_new_privs()
for program in sys.stdin.read().split(","):
    try:
        seccomp.load(seccomp.Filter(bytes.fromhex(program), 0, ()))
    except Exception as error:
        print(error.errno)
    else:
        print(0)
"""


def printed(user: OrdinaryUser, code: str, rows: list[str]) -> list[int]:
    """Run code that reads rows and prints a number for each."""
    text = ",".join(rows).encode("ascii")
    done = user.run(sys.executable, "-c", LOADED + code, stdin=text, check=0)
    return [int(line) for line in done.stdout.split("\n")[:-1]]


def test_the_kernel_takes_the_instructions_that_we_take_and_no_others(
    ordinary_user: OrdinaryUser,
) -> None:
    answer = statement(cbpf.RET_K, ALLOW)
    programs = [
        # Behind a return, so that nothing of it runs.
        cbpf.assemble([answer, Instruction(code, true, 0, k), answer])
        for code in range(256)
        for true, k in ((0, 0), (0, 4), (0, 16), (0, 32), (0, 64), (1, 0))
    ]
    expected = []
    for program in programs:
        try:
            cbpf.disassemble(program)
        except ValueError:
            expected.append(errno.EINVAL)
        else:
            expected.append(0)
    assert printed(ordinary_user, ACCEPTED, [one.hex() for one in programs]) == expected
    assert 0 < expected.count(0) < len(expected)


RANDOM = """
no_new_privs()
rows = [row.split(":") for row in sys.stdin.read().split(",")]
for program, _ in rows:
    seccomp.load(seccomp.Filter(bytes.fromhex(program), 0, ()))
for place, (_, arguments) in enumerate(rows):
    print(call(400, *(int(argument) for argument in arguments.split("/")), place))
"""


def calculation(choose: random.Random, place: int) -> list[Instruction]:
    """Make a program that calculates an errno from five arguments, for the sixth being its own."""
    body = []
    written: set[int] = set()
    for _ in range(choose.randrange(1, 12)):
        kind = choose.randrange(6)
        word = choose.randrange(16)
        if kind == 0:
            body.append(statement(cbpf.LD_ABS, 16 + 4 * choose.randrange(10)))
        elif kind == 1:
            body.append(statement(choose.choice([cbpf.TAX, cbpf.TXA, 0x84, cbpf.LD_LEN]), 0))
        elif kind == 2:
            code = choose.choice([cbpf.ST, cbpf.STX])
            body.append(statement(code, word))
            written.add(word)
        elif kind == 3 and written:
            code = choose.choice([cbpf.LD_MEM, cbpf.LDX_MEM])
            body.append(statement(code, choose.choice(sorted(written))))
        elif kind == 4:
            code = choose.choice(sorted(cbpf._ARITHMETIC - {0x3C}))
            k = choose.choice([1, 2, 31, choose.getrandbits(32) or 1])
            body.append(statement(code, k & 31 if code in {0x64, 0x74} else k))
        else:
            # Skips nothing or the load that follows, by a comparison.
            code = choose.choice(sorted(cbpf._JUMPS))
            body.append(Instruction(code, choose.randrange(2), choose.randrange(2), 5))
            body.append(statement(choose.choice([cbpf.LD_IMM, cbpf.LDX_IMM]), 7))
    own = [
        statement(cbpf.LD_ABS, 0),
        Instruction(cbpf.JEQ_K, 1, 0, 400),
        statement(cbpf.RET_K, ALLOW),
        statement(cbpf.LD_ABS, 16 + 8 * 5),
        Instruction(cbpf.JEQ_K, 1, 0, place),
        statement(cbpf.RET_K, ALLOW),
    ]
    end = [
        statement(cbpf.AND_K, 0x7FF),
        statement(0x44, ERRNO),
        statement(cbpf.RET_A, 0),
    ]
    return [*own, *body, *end]


def test_random_programs_give_in_the_kernel_what_the_interpreter_gives(
    ordinary_user: OrdinaryUser,
) -> None:
    choose = random.Random(400)  # noqa: S311  (repeatable, not secret)
    rows = []
    expected = []
    for place in range(300):
        program = cbpf.assemble(calculation(choose, place))
        arguments = [choose.choice([0, 1, 5, choose.getrandbits(64)]) for _ in range(5)]
        rows.append(f"{program.hex()}:{'/'.join(str(argument) for argument in arguments)}")
        answer = cbpf.interpret(program, ABI.audit, 400, [*arguments, place])
        assert answer & ACTION == ERRNO
        expected.append(answer & 0xFFF)
    assert printed(ordinary_user, RANDOM, rows) == expected
    assert len(set(expected)) > 50

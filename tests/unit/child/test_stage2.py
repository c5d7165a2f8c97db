"""The program stage2 itself, without privileges: its tables, its parser, its objects."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from nsctl.child.plan import TAGS, Filter, Limit, Plan, decode
from nsctl.child.report import NUMBERS, RECORD, STEPS
from nsctl.child.stage2 import object_path, open_stage2
from nsctl.errors import NsctlError
from support.examples import Mutations

pytestmark = pytest.mark.unit

NATIVE = os.path.dirname(object_path("x86_64"))
ROOT = NATIVE.removesuffix("/src/nsctl/native")
PLAN_FD, REPORT_FD = 200, 201
"""Numbers that nothing else here has."""


def source(name: str) -> str:
    with open(os.path.join(NATIVE, name)) as file:
        return file.read()


def constants(name: str, prefix: str) -> list[str]:
    """The names in an enumeration of the C source, in order."""
    body = re.search(rf"enum {prefix.lower()} {{(.*?)}};", source(name), re.DOTALL)
    assert body is not None
    plain = re.sub(r"/\*.*?\*/", "", body[1], flags=re.DOTALL)
    return re.findall(rf"{prefix}_(\w+)", plain)


def test_both_last_stages_have_the_same_records() -> None:
    assert [*(tag.upper() for tag in TAGS[1:]), "END"] == constants("plan.h", "TAG")


def test_both_last_stages_have_the_same_steps() -> None:
    assert [*(step.name for step in STEPS), "END"] == constants("report.h", "STEP")


class Ended(NamedTuple):
    """How stage2 ended.

    Attributes:
        status: exit status, or minus the signal.
        report: what it reported: pairs of step and error number.
        output: what the command wrote.
    """

    status: int
    report: list[tuple[str, int]]
    output: bytes


@pytest.fixture(scope="module")
def program() -> Iterator[str]:
    if not object_path():
        pytest.skip(f"no stage2 for {os.uname().machine}")
    fd = open_stage2()
    yield f"/proc/self/fd/{fd}"
    os.close(fd)


def execute(text: bytes, *command: str) -> Ended:
    """Run stage2 on a plan that may be none."""
    report, theirs = os.pipe()
    description = os.memfd_create("plan")
    output = os.memfd_create("output")
    try:
        os.write(description, text)
        os.lseek(description, 0, os.SEEK_SET)
        null = os.open("/dev/null", os.O_RDWR)
        actions = [
            (os.POSIX_SPAWN_DUP2, null, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, null, 2),
            (os.POSIX_SPAWN_DUP2, description, PLAN_FD),
            (os.POSIX_SPAWN_DUP2, theirs, REPORT_FD),
        ]
        numbers = {"PLAN": str(PLAN_FD), "REPORT": str(REPORT_FD)}
        pid = os.posix_spawn(command[0], list(command), numbers, file_actions=actions)
        os.close(null)
        os.close(theirs)
        records = b""
        while more := os.read(report, 4096):
            records += more
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        told = [(STEPS[step].name, number) for step, number, _ in RECORD.iter_unpack(records)]
        return Ended(status, told, os.pread(output, 4096, 0))
    finally:
        for fd in (report, description, output):
            os.close(fd)


# Nothing in it can be executed, loaded or changed, nor could it with a few bits flipped.
HARMLESS = Plan(
    argv=(b"/\x01/\x01/nothing", b"argument"),
    env=(b"PATH=/\x01/\x01", b"A="),
    mode="init",
    setsid=True,
    keyring=b"nsctl-test",
    limits=(Limit(0xF00000F0, 1, 2),),
    umask=0o22,
    cwd=b"/\x01/\x01",
    no_new_privs=True,
    filters=(Filter(b"\xff" * 24), Filter(b"\xff" * 32, 2)),
    death_signal=9,
)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"nsctl s2",
        b"nsctl s3" + bytes(8),
        HARMLESS.encode()[:-1],
        HARMLESS.encode() + b"\0",
        HARMLESS.encode().replace(b"argument\0", b"argument."),
        bytes(16 << 20),
    ],
    ids=["empty", "short", "magic", "cut", "longer", "unterminated", "huge"],
)
def test_a_damaged_plan_is_reported_and_nothing_runs(program: str, text: bytes) -> None:
    assert execute(text, program) == Ended(125, [("PLAN", errno.EBADMSG)], b"")


def test_the_parser_in_c_refuses_what_the_one_in_python_refuses(
    program: str, mutations: Mutations
) -> None:
    simple = Plan((b"/\x01/nothing",)).encode()
    for number, damaged in enumerate(mutations([HARMLESS.encode(), simple])):
        # A size that fits every other time, or little else would be looked at.
        size = len(damaged) - 16
        fits = number % 2 and size >= 0
        text = damaged[:12] + size.to_bytes(4, "little") + damaged[16:] if fits else damaged
        try:
            plan = decode(text)
        except NsctlError:
            assert execute(text, program) == Ended(125, [("PLAN", errno.EBADMSG)], b""), text
            continue
        if plan.words or plan.mode == "enter":
            continue  # says it elsewhere, or leaves a child behind
        ended = execute(text, program)
        joined = (join.fd for join in plan.namespaces)
        taken = REPORT_FD in {*plan.own_descriptors, *(plan.keep or ()), *joined}
        assert (("PLAN", errno.EBADMSG) in ended.report) == taken, text


def test_every_cut_of_a_plan_is_refused(program: str) -> None:
    text = HARMLESS.encode()
    for size in range(len(text)):
        assert execute(text[:size], program).report == [("PLAN", errno.EBADMSG)]


@pytest.mark.parametrize(
    "arguments",
    [[], ["3"], ["3", "4", "5"], ["x", "4"], ["", "4"], ["3", "3"], ["2", "4"], ["9" * 30, "4"]],
    ids=" ".join,
)
def test_arguments_that_are_no_two_descriptors_end_it(program: str, arguments: list[str]) -> None:
    done = subprocess.run(
        [program, *arguments], check=False, pass_fds=[int(program.rpartition("/")[2])], timeout=30
    )
    assert done.returncode == 125


def test_a_command_gets_its_arguments_environment_and_status(program: str) -> None:
    script = b'echo "$0 $A $#"; exit 7'
    plan = Plan((b"sh", b"-c", script, b"zero", b"", b"two"), (b"PATH=/nowhere:/bin", b"A=1 =2"))
    assert execute(plan.encode(), program) == Ended(7, [("READY", 0)], b"zero 1 =2 2\n")


@pytest.fixture(scope="module")
def emulated() -> Iterator[tuple[str, str]]:
    emulator = shutil.which("qemu-aarch64-static")
    if emulator is None:
        pytest.skip("qemu-aarch64-static is missing (Debian: qemu-user-static)")
    fd = open_stage2("aarch64")
    yield emulator, f"/proc/{os.getpid()}/fd/{fd}"  # it is closed when the emulator is executed
    os.close(fd)


def test_the_arm64_object_runs_a_command(emulated: tuple[str, str]) -> None:
    plan = Plan((b"sh", b"-c", b"echo $A; exit 7"), (b"A=b",), setsid=True, umask=0o77, cwd=b"/")
    assert execute(plan.encode(), *emulated) == Ended(7, [("READY", 0)], b"b\n")


def test_the_arm64_object_reports_what_cannot_be_done(emulated: tuple[str, str]) -> None:
    missing = Plan((b"nothing-has-this-name",)).encode()
    assert execute(missing, *emulated) == Ended(127, [("READY", 0), ("EXEC", errno.ENOENT)], b"")
    assert execute(b"nonsense", *emulated) == Ended(125, [("PLAN", errno.EBADMSG)], b"")


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_an_object_is_static_small_and_has_no_executable_stack(machine: str) -> None:
    with open(object_path(machine), "rb") as file:
        content = file.read()
    assert len(content) < 20_000
    types = {}
    offset, count = int.from_bytes(content[32:40], "little"), content[56]
    for place in range(count):
        header = content[offset + 56 * place :][:8]
        types[int.from_bytes(header[:4], "little")] = int.from_bytes(header[4:], "little")
    interpreter, dynamic, stack, executable = 3, 2, 0x6474E551, 1
    assert interpreter not in types
    assert dynamic not in types
    assert not types[stack] & executable


def test_the_objects_are_what_the_source_gives() -> None:
    for compiler in ("x86_64-linux-gnu-gcc", "aarch64-linux-gnu-gcc"):
        if shutil.which(compiler) is None:
            pytest.skip(f"{compiler} is missing (Debian: gcc, gcc-aarch64-linux-gnu)")
        version = subprocess.run(
            [compiler, "-dumpfullversion"], capture_output=True, text=True, check=True
        ).stdout.strip()
        if version != "12.2.0":
            pytest.skip(f"{compiler} is {version}; the objects are those of Debian 12's 12.2.0")
    if shutil.which("make") is None:
        pytest.skip("make is missing")
    done = subprocess.run(
        ["make", "-s", "-f", "src/nsctl/native/build.mk", "native-check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_machine_without_an_object_is_named() -> None:
    assert object_path("pdp11") == ""
    with pytest.raises(NsctlError, match="there is none for pdp11"):
        open_stage2("pdp11")


def test_step_ready_is_zero() -> None:
    assert NUMBERS["READY"] == 0

"""Nothing that a test made may be left: not after it, and not after them all.

After each test the descriptors of the test process are those from before it. After the whole
session there must be no process, mount, name of a network namespace, network interface, nftables
rule, cgroup directory or descriptor that the tests made; what is left is named, and the session
fails.

**Whose is it?** Processes are found exactly. pytest runs as the only child of a supervisor, a
subreaper (PR_SET_CHILD_SUBREAPER): whatever a test starts stays a descendant of it, however it
was orphaned, and is reaped at once, as by any init. A variable of the environment (`MARKER`) finds
those that came about some other way. Namespaces live as long as their processes, descriptors and
mounts, so the report of a process says which it holds. Other objects bear no mark of their maker:
those with "nsctl" in their name, or in pytest's directory, count as the tests' own; other new ones
are mentioned, and count only with NSCTL_TEST_ALONE=1, on a machine where nothing else runs.

Things may end a little later than their maker, so there is a short time of grace.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import secrets
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Generator, Iterator
from types import FrameType
from typing import Final, NamedTuple, NoReturn

import pytest

MARKER: Final = "NSCTL_TEST_SESSION"
"""The environment variable that all processes of a session inherit, a random word."""

GRACE: Final = float(os.environ.get("NSCTL_TEST_GRACE") or 5.0)
"""Seconds that things may take to go away by themselves."""

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


# --- The supervisor -----------------------------------------------------------------------------


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def _children(pid: int) -> list[int]:
    """The children of a process, zombies included."""
    return [child.pid for child in _processes() if child.ppid == pid]


def _end_everything() -> None:
    """Kill and reap what the test process left, until nothing is left or the grace is over.

    Only own children are killed: their PIDs cannot be taken by another process before they are
    reaped, and what they leave becomes a child in turn.
    """
    deadline = time.monotonic() + GRACE
    while (children := _children(os.getpid())) and time.monotonic() < deadline:
        for child in children:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(child, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _terminate(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)


def _interrupt_when_terminated() -> None:
    """Let SIGTERM end the tests as a terminal's interrupt does, so that fixtures still clean up."""
    tests = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if os.getpid() != tests:  # a child that was forked and has not executed anything yet
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        signal.signal(number, lambda _number, _frame: None)  # it may come to a whole group, too
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)


def _supervise(tests: int) -> NoReturn:
    """Wait for the test process, reaping orphans meanwhile, and exit as it did."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's interrupt reaches the tests too
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, lambda _number, _frame: _terminate(tests))
    pid = status = 0
    while pid != tests:
        pid, status = os.waitpid(-1, 0)
    _end_everything()
    code = os.waitstatus_to_exitcode(status)
    os._exit(code if code >= 0 else 128 - code)


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Put a supervisor above this process before it starts anything."""
    os.environ[MARKER] = secrets.token_hex(8)
    if config.option.collectonly or config.option.help or threading.active_count() > 1:
        return
    parent = os.getpid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    tests = os.fork()
    if tests:
        _supervise(tests)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _interrupt_when_terminated()
    config.stash[_supervisor] = parent


_supervisor = pytest.StashKey[int]()


# --- What there is ------------------------------------------------------------------------------


class Thing(NamedTuple):
    """One object that may be left behind.

    Attributes:
        kind: what it is, as a person would say.
        name: what tells it from others of its kind, as long as it lives.
        ours: whether it is certainly the tests' own.
    """

    kind: str
    name: str
    ours: bool


class _Process(NamedTuple):
    pid: int
    ppid: int
    state: str
    comm: str


def _read(path: str) -> bytes:
    """A file of /proc, empty when its process is gone or closed to us."""
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _processes() -> Iterator[_Process]:
    for name in os.listdir("/proc"):
        if name.isdecimal() and (stat := _read(f"/proc/{name}/stat")):
            comm, _, rest = stat.partition(b" (")[2].rpartition(b") ")
            state, ppid = rest.split(b" ", 2)[:2]
            yield _Process(int(name), int(ppid), state.decode(), comm.decode(errors="replace"))


def _own_namespaces(pid: int) -> str:
    """The namespaces in which a process differs from this one."""
    different = []
    for kind in ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time"):
        with contextlib.suppress(OSError):
            if (link := os.readlink(f"/proc/{pid}/ns/{kind}")) != os.readlink(
                f"/proc/self/ns/{kind}"
            ):
                different.append(link)
    return f", holding {' '.join(different)}" if different else ""


def _our_processes(supervisor: int | None) -> list[_Process]:
    """Processes below the supervisor, and those that bear the mark; zombies hold nothing."""
    root = os.getpid() if supervisor is None else supervisor
    table = {process.pid: process for process in _processes()}
    mark = f"{MARKER}={os.environ[MARKER]}".encode()
    ours = []
    for process in table.values():
        if process.pid in {root, os.getpid()} or process.state in {"Z", "X"}:
            continue
        ancestor = process.pid
        while ancestor in table and ancestor != root:
            ancestor = table[ancestor].ppid
        if ancestor == root or mark in _read(f"/proc/{process.pid}/environ").split(b"\0"):
            ours.append(process)
    return ours


def _described(process: _Process) -> Thing:
    command = _read(f"/proc/{process.pid}/cmdline").rstrip(b"\0").split(b"\0")
    words = " ".join(repr(word.decode(errors="replace")) for word in command)
    held = _own_namespaces(process.pid)
    return Thing("process", f"{process.pid} {process.comm!r} ({words}){held}", ours=True)


def _mount_lines() -> list[list[str]]:
    text = _read("/proc/self/mountinfo").decode(errors="surrogateescape")
    return [line.split(" ") for line in text.split("\n") if line]


def _named(text: str) -> bool:
    """Whether something of this name is the tests' own; an ordinary user makes no such things."""
    return os.geteuid() == 0 and any(
        word in text for word in ("nsctl", "/pytest-of-", os.environ[MARKER])
    )


def _mounts() -> list[Thing]:
    things = []
    for fields in _mount_lines():
        mount_id, root, point = fields[0], fields[3], fields[4]
        kind, source = fields[fields.index("-") + 1 :][:2]
        name = f"{point} ({kind} of {source}, root {root}, mount id {mount_id})"
        things.append(Thing("mount", name, _named(name)))
    return things


def _namespace_names() -> list[Thing]:
    with contextlib.suppress(FileNotFoundError):
        paths = [f"/run/netns/{name}" for name in os.listdir("/run/netns")]
        return [Thing("name of a network namespace", path, _named(path)) for path in paths]
    return []


def _interfaces() -> list[Thing]:
    return [
        Thing("network interface", f"{name} (index {index})", _named(name))
        for index, name in socket.if_nameindex()
    ]


def _nftables_rules() -> list[Thing]:
    if os.geteuid() != 0 or not shutil.which("nft"):
        return []
    # Stateless, for counters change by themselves; with handles, so that equal rules differ.
    listed = subprocess.run(
        ["nft", "--stateless", "--handle", "list", "ruleset"], capture_output=True, check=False
    )
    things = []
    table = ""
    for line in listed.stdout.decode(errors="replace").split("\n"):
        table = line.strip(" {") if line.startswith("table ") else table
        if line.strip(" \t{}"):
            name = f"{line.strip()} in {table}"
            things.append(Thing("nftables rule", name, _named(name)))
    return things


def _inhabited_by_others(directory: str, pids: frozenset[int]) -> bool:
    """Whether a cgroup and those below it have members, none of which is among these."""
    members = {
        int(pid)
        for below, _, _ in os.walk(directory)
        for pid in _read(f"{below}/cgroup.procs").split()
    }
    return bool(members) and not members & pids


def _cgroups(pids: frozenset[int]) -> list[Thing]:
    """All cgroups; one that others own, or in which only others live, is not the tests' own."""
    things = []
    for fields in _mount_lines():
        if fields[fields.index("-") + 1] not in {"cgroup", "cgroup2"}:
            continue
        for directory, _, _ in os.walk(fields[4]):
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(directory)
                ours = "nsctl" in directory or os.environ[MARKER] in directory
                ours = ours and status.st_uid == os.geteuid()
                ours = ours and not _inhabited_by_others(directory, pids)
                things.append(Thing("cgroup", f"{directory} (inode {status.st_ino})", ours))
    return things


def _descriptors() -> list[Thing]:
    things = []
    # The standard streams change as pytest begins and ends to capture them.
    for name in set(os.listdir("/proc/self/fd")) - {"0", "1", "2"}:
        # The one that listdir itself used is gone by now.
        with contextlib.suppress(FileNotFoundError):
            target = os.readlink(f"/proc/self/fd/{name}")
            things.append(Thing("descriptor", f"{name} of the test process: {target!r}", ours=True))
    return things


def _everything(pids: frozenset[int] = frozenset()) -> list[Thing]:
    """All objects that there are, but for processes; `pids` are the tests' own ones."""
    lists = (_mounts, _namespace_names, _interfaces, _nftables_rules, _descriptors)
    return [*(thing for listing in lists for thing in listing()), *_cgroups(pids)]


# --- After all tests ----------------------------------------------------------------------------

_before = pytest.StashKey[frozenset[tuple[str, str]]]()
_strangers = pytest.StashKey[list[Thing]]()


def pytest_sessionstart(session: pytest.Session) -> None:
    """Note what there was before the tests."""
    session.config.stash[_before] = frozenset((thing.kind, thing.name) for thing in _everything())


def _left_over(config: pytest.Config) -> tuple[list[Thing], list[Thing]]:
    """What is new: the tests' own, and what may be anybody's."""
    processes = _our_processes(config.stash.get(_supervisor, None))
    before: frozenset[tuple[str, str]] = config.stash[_before]
    there = _everything(frozenset(process.pid for process in processes))
    left = [_described(process) for process in processes]
    left += [thing for thing in there if (thing.kind, thing.name) not in before]
    alone = os.environ.get("NSCTL_TEST_ALONE") == "1"
    ours = sorted(thing for thing in left if thing.ours or alone)
    return ours, sorted(set(left).difference(ours))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the session if the tests left something; every fixture is gone by now."""
    config = session.config
    if _before not in config.stash:
        return
    gc.collect()
    deadline = time.monotonic() + GRACE
    guilty, config.stash[_strangers] = _left_over(config)
    while guilty and time.monotonic() < deadline:
        time.sleep(0.05)
        guilty, config.stash[_strangers] = _left_over(config)
    if not guilty:
        return
    listing = "\n".join(f"  {thing.kind} {thing.name}" for thing in guilty)
    report = pytest.TestReport(
        nodeid="the whole session",
        location=("", None, "the whole session"),
        keywords={},
        outcome="failed",
        longrepr=f"The tests left behind:\n{listing}",
        when="teardown",
    )
    config.hook.pytest_runtest_logreport(report=report)
    session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Mention what is new on the machine and may be anybody's."""
    strangers = config.stash.get(_strangers, [])
    if strangers:
        terminalreporter.section("new since the tests began, perhaps not theirs")
        for thing in strangers:
            terminalreporter.line(f"{thing.kind} {thing.name}")


# --- After each test ----------------------------------------------------------------------------


_passed = pytest.StashKey[bool]()


@pytest.fixture(autouse=True)
def _no_descriptor_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """The descriptors after a test are those from before it."""
    before = frozenset(_descriptors())
    yield
    if frozenset(_descriptors()) <= before:
        return
    gc.collect()  # what a reference cycle still holds is not lost
    left = frozenset(_descriptors()) - before
    # The traceback of a failed test keeps its variables, and so their descriptors, alive.
    if left and request.node.stash.get(_passed, False):
        listing = "\n".join(f"  {thing.name}" for thing in sorted(left))
        pytest.fail(f"the test left descriptors open:\n{listing}", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Note on a test that it ended well."""
    report = yield
    if call.when == "call" and not report.failed:
        item.stash[_passed] = True
    return report

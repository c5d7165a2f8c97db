"""Processes and namespaces that a TARGET leads to are held fast, and never mistaken."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from nsctl import host
from nsctl.errors import NsctlError, TargetError, UnknownTarget
from nsctl.kernel import nsfs, pidfd
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.target import Target
from nsctl.targets import live
from nsctl.targets.live import HeldNamespace, Process

pytestmark = pytest.mark.unit


@pytest.fixture
def child() -> Iterator[int]:
    """A process of one's own, which ends with the test."""
    with subprocess.Popen(["sleep", "600"]) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _inode(pid: int) -> int:
    fd = os.pidfd_open(pid)
    try:
        return pidfd.inode(fd)
    finally:
        os.close(fd)


def _process(text: str) -> Process:
    found = live.resolve(text)
    assert isinstance(found, Process)
    return found


def test_a_number_is_held_by_a_pidfd_and_its_directory(child: int) -> None:
    found = _process(str(child))
    try:
        assert (found.pid, found.container, found.text) == (child, None, str(child))
        assert os.path.samestat(os.fstat(found.proc), os.stat(f"/proc/{child}"))
        assert os.get_inheritable(found.pidfd) is False
        assert os.get_inheritable(found.proc) is False
    finally:
        found.close()


def test_descriptors_are_closed_where_nothing_is_found(child: int) -> None:
    before = set(os.listdir("/proc/self/fd"))
    for text in ("4194303", f"{child}:1", "net:[1]", "/dev/null", "/nowhere/at/all"):
        with pytest.raises(NsctlError):
            live.resolve(text)
    assert set(os.listdir("/proc/self/fd")) == before


def test_a_process_that_has_ended_is_no_target() -> None:
    with subprocess.Popen(["true"]) as process:
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(UnknownTarget, match="it has ended"):
            live.resolve(str(process.pid))
    with pytest.raises(UnknownTarget, match="there is no such process"):
        live.resolve(str(process.pid))


def test_a_thread_is_told_from_a_process() -> None:
    told: list[int] = []
    ready, end = threading.Event(), threading.Event()

    def run() -> None:
        told.append(threading.get_native_id())
        ready.set()
        end.wait()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        ready.wait()
        with pytest.raises(TargetError, match=f"it is a thread of process {os.getpid()}"):
            live.resolve(str(told[0]))
    finally:
        end.set()
        thread.join()


def test_a_pinned_process_is_the_one_with_that_pidfd_or_namespace(child: int) -> None:
    inode = _inode(child)
    if not inode:
        pytest.skip("needs a kernel whose pidfds have inodes of their own (6.9)")
    for pin in (inode, os.stat(f"/proc/{child}/ns/net").st_ino):
        found = _process(f"{child}:{pin}")
        found.close()
        assert found.pid == child
    assert _inode(os.getpid()) != inode
    with pytest.raises(TargetError, match="another process's by now"):
        live.resolve(f"{child}:{_inode(os.getpid())}")


def test_a_pin_is_kept_for_the_snapshot_that_follows(child: int) -> None:
    inode = _inode(child)
    if not inode:
        pytest.skip("needs a kernel whose pidfds have inodes of their own (6.9)")
    pinned = live.pin(Target("pid", f"{child}:{inode}", pid=child, ino=inode))
    assert pinned.ino == os.stat(f"/proc/{child}/ns/mnt").st_ino
    with pytest.raises(TargetError):
        live.pin(Target("pid", f"{child}:1", pid=child, ino=1))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("form", ["path", "inode"])
def test_a_namespace_is_opened_by_path_and_by_inode(kind: NamespaceType, form: str) -> None:
    path = f"/proc/self/ns/{kind}"
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {kind.word} namespaces")
    ino = os.stat(path).st_ino
    found = live.resolve(path if form == "path" else f"{kind}:[{ino}]")
    assert isinstance(found, HeldNamespace)
    try:
        assert (nsfs.inode(found.fd), nsfs.get_nstype(found.fd), found.type) == (ino, kind, kind)
    finally:
        found.close()


def test_the_host_is_a_process_of_it() -> None:
    found = _process("@host")
    found.close()
    assert found.pid in {1, 2, os.getpid()}


def test_names_are_looked_up_without_a_look_at_every_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looked: list[int] = []
    # The whole rows are read by this one, which a snapshot calls for every process.
    from nsctl.discovery.tasks import TaskReader

    read = TaskReader.read

    def counted(self: TaskReader, pid: int) -> object:
        looked.append(pid)
        return read(self, pid)

    monkeypatch.setattr(TaskReader, "read", counted)
    processes = [subprocess.Popen(["sleep", "600"]) for _ in range(30)]
    try:
        host.list_running()
        assert not {process.pid for process in processes} & set(looked)
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_each_engine_is_asked_where_a_program_of_its_name_lives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What host believes of engines' programs is what their modules look for."""
    from importlib import import_module

    from nsctl.engines.survey import Survey

    wanted: dict[str, set[str]] = {}

    for engine in host._PROGRAMS:
        names: set[str] = set()

        def named(_self: Survey, *words: str, seen: set[str] = names) -> list[object]:
            seen.update(word.encode()[:15].decode() for word in words)
            return []

        monkeypatch.setattr(Survey, "named", named)
        monkeypatch.setattr(Survey, "host_view", lambda _self: None)
        from nsctl.discovery.draft import Draft
        from nsctl.kernel.procfs import ProcFs

        draft = Draft(ProcFs(), frozenset(), {})
        survey = Survey(ProcFs(), (), draft.reference, draft.reader)
        import_module(f"nsctl.engines.{engine}").containers(survey)
        wanted[engine] = names
    assert wanted == {
        engine: wanted[engine] & set(words) for engine, words in host._PROGRAMS.items()
    }
    assert all(wanted.values())


def test_the_programs_of_no_engine_are_needed_to_import_it() -> None:
    """The way to a process by its number is short: nothing of the engines is loaded for it."""
    code = (
        "import sys\n"
        "from nsctl.targets import live\n"
        "live.resolve(sys.argv[1]).close()\n"
        "print([name for name in sys.modules if name.startswith(('nsctl.engines', 'nsctl.host'))])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(os.getpid())], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"

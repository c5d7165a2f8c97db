"""Containers in the background: their logs, who attaches to them, how they end, what is copied."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]  # no stubs here
import pytest

from nsctl.errors import NsctlError, UnknownTarget, UsageError
from nsctl.report.schema import load_schema
from nsctl.run import afterwards, attach, copying, garbage, lifecycle
from nsctl.run.copying import Place
from nsctl.run.log import ERRORS, OUTPUT
from nsctl.run.store import opened
from support.containers import Box, box_in

pytestmark = pytest.mark.privileged


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


def said(box: Box, name: str) -> dict[int, bytes]:
    """All that a container has said until its end, by stream."""
    found = {OUTPUT: b"", ERRORS: b""}
    for record in afterwards.logs(name, box.store, follow=True):
        found[record.stream] += record.data
    return found


def ended(box: Box, name: str) -> int:
    return afterwards.wait(name, box.store)


def test_output_and_errors_are_kept_apart_and_outlive_the_container(box: Box) -> None:
    box.detach("sh", "-c", "echo out; echo err >&2; echo again; exit 3", name="web")
    assert said(box, "web") == {OUTPUT: b"out\nagain\n", ERRORS: b"err\n"}
    assert ended(box, "web") == 3
    assert said(box, "web")[OUTPUT] == b"out\nagain\n"
    assert afterwards.inspect("web", box.store)["exit_status"] == 3


def test_a_flood_of_output_is_bounded_and_its_end_is_kept(box: Box) -> None:
    script = "head -c 18000000 /dev/zero | tr '\\0' x; echo; echo last"
    box.detach("sh", "-c", script, name="web")
    assert ended(box, "web") == 0
    storage = Path(box.state("web").storage)
    sizes = [(storage / name).stat().st_size for name in ("log", "log.before")]
    assert max(sizes) <= 8 << 20
    assert said(box, "web")[OUTPUT].endswith(b"x\nlast\n")


def test_a_log_is_where_the_container_cannot_reach_it(box: Box) -> None:
    made = box.detach(name="web")
    log = Path(box.state("web").storage, "log")
    assert log.stat().st_mode & 0o777 == 0o600
    assert log.stat().st_uid == 0
    descriptors = [os.readlink(f"/proc/{made.pid}/fd/{name}") for name in ("1", "2")]
    assert all(link.startswith("pipe:") for link in descriptors)


def test_the_end_of_one_that_is_removed_is_told_to_who_waits(box: Box) -> None:
    box.detach("sh", "-c", "read x; exit 9", name="web", remove=True, interactive=True)
    with opened(box.store) as containers:
        state = box.state("web")
        heard: list[int | None] = []
        waiter = threading.Thread(target=lambda: heard.append(attach.end_of(containers, state)))
        with client_of(box, "web") as client:
            client.send(b"w")  # in its turn: who connected before has been let in
            waiter.start()
            while not waits_on_a_socket(waiter):
                os.sched_yield()
            client.send(b"ix\n")
            waiter.join(30)
    assert heard == [9]
    assert lifecycle.list_containers(box.store) == []


def waits_on_a_socket(thread: threading.Thread) -> bool:
    """Whether a thread sleeps in recv(2), as it does once it has connected."""
    if thread.native_id is None:
        return False
    text = Path(f"/proc/self/task/{thread.native_id}/syscall").read_text().split(" ")[0]
    return text in {"45", "47", "207", "212"}  # recvfrom, recvmsg of x86-64 and of arm64


@contextlib.contextmanager
def client_of(box: Box, name: str) -> Iterator[socket.socket]:
    """A client that has been greeted."""
    place = os.open(f"{box.store.state}/containers/{box.state(name).id}", os.O_PATH)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as client:
        client.connect(f"/proc/self/fd/{place}/attach")
        os.close(place)
        assert client.recv(10).startswith(b"h")
        yield client


def test_a_killed_one_has_the_signals_status(box: Box) -> None:
    box.detach(name="web")
    afterwards.kill("web", signal.SIGKILL, box.store)
    assert ended(box, "web") == 137
    with pytest.raises(UsageError):
        afterwards.kill("web", signal.SIGKILL, box.store)
    with pytest.raises(UnknownTarget):
        ended(box, "nobody")


def test_when_the_monitor_dies_the_container_goes_on_and_can_be_ended(box: Box) -> None:
    made = box.detach(name="web")
    monitor = int(Path(f"/proc/{made.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert "nsctl.run.monitor" in Path(f"/proc/{monitor}/cmdline").read_text()
    pidfd = os.pidfd_open(monitor)
    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    assert garbage.await_end(pidfd, 10)
    os.close(pidfd)
    assert afterwards.inspect("web", box.store)["state"] == "running"
    with pytest.raises(UsageError):
        attach.attach("web", box.store)
    lifecycle.stop("web", box.store, grace=0)
    with pytest.raises(NsctlError, match="nobody saw"):
        ended(box, "web")
    lifecycle.remove("web", box.store)
    assert box.left_over() == []


def test_who_attaches_has_its_input_and_output_and_its_exit_status(box: Box) -> None:
    script = "echo ready; while read line; do echo got $line; done; exit 4"
    box.detach("sh", "-c", script, name="web", interactive=True)
    reading, writing = os.pipe()
    errors_in, errors = os.pipe()
    theirs, ours = os.pipe()
    os.write(ours, b"a\nb\n")
    os.close(ours)
    try:
        status = attach.attach("web", box.store, streams=(theirs, writing, errors))
    finally:
        os.close(writing)
        os.close(errors)
        os.close(theirs)
    with open(reading, "rb") as file, open(errors_in, "rb") as failures:
        assert file.read().endswith(b"got a\ngot b\n")
        assert failures.read() == b""
    assert status == 4


def test_one_that_reads_nothing_is_let_go_and_the_container_goes_on(box: Box) -> None:
    script = "read x; head -c 20000000 /dev/zero | tr '\\0' x; echo done >/finished; exit 5"
    box.detach("sh", "-c", script, name="web", interactive=True)
    with client_of(box, "web") as idle:
        idle.send(b"igo\n")
        assert ended(box, "web") == 5


def test_nonsense_on_the_socket_harms_nobody(box: Box) -> None:
    box.detach("sh", "-c", "read x; echo got $x; sleep 1000", name="web", interactive=True)
    for message in (b"w", b"w123", b"zzz", b"q", b"i", b"x" * 32000):
        with client_of(box, "web") as client:
            client.send(message)
    with client_of(box, "web") as client:
        client.send(b"iyes\n")
        assert client.recv(100) == b"ogot yes\n"


def test_a_terminal_in_the_background_is_one(box: Box) -> None:
    box.detach("sh", "-c", "tty; stty size; echo $TERM; exit 0", name="web", terminal=True)
    assert said(box, "web")[OUTPUT].startswith(b"/dev/pts/0\r\n24 80\r\nxterm\r\n")


def test_files_go_in_and_come_out_with_the_right_owner(box: Box, tmp_path: Path) -> None:
    box.detach(name="web", uid=7)
    (tmp_path / "in/deep").mkdir(parents=True)
    (tmp_path / "in/deep/file").write_text("text")
    (tmp_path / "in/deep/file").chmod(0o6755)
    (tmp_path / "in/link").symlink_to("/etc/shadow")
    done = copying.copy(Place("", f"{tmp_path}/in"), Place("web", "/tmp"), box.store)
    assert done.files == 4
    copying.copy(Place("", f"{tmp_path}/in/."), Place("web", "/new"), box.store)
    uid = box.state("web").ids
    for place in ("upper/tmp/in/deep/file", "upper/new/deep/file"):
        status = Path(box.state("web").storage, place).stat()
        assert (status.st_uid, status.st_gid, status.st_mode & 0o7777) == (uid, uid, 0o755)
    copying.copy(Place("web", "/tmp/in"), Place("", f"{tmp_path}/out"), box.store)
    assert (tmp_path / "out/deep/file").read_text() == "text"
    assert (tmp_path / "out/deep/file").stat().st_uid == 0
    assert os.readlink(tmp_path / "out/link") == "/etc/shadow"
    copying.copy(Place("web", "new/deep/file"), Place("", f"{tmp_path}/alone"), box.store)
    assert (tmp_path / "alone").read_text() == "text"


def test_nothing_is_copied_from_or_to_outside_the_container(box: Box, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("host's")
    secret.chmod(0o644)
    made = box.detach(
        "sh",
        "-c",
        f"ln -s {tmp_path} /way; ln -s {secret} /file; ln -s /proc/1/root /magic; mkdir -p /a;"
        f" ln -s {tmp_path} /a/way; mkfifo /a/fifo; touch /ready; sleep 1000",
        name="web",
    )
    while not os.path.exists(f"/proc/{made.pid}/root/ready"):
        os.sched_yield()
    for path in ("/way/secret", "/../../../../etc/shadow", "/a/../../../way/secret"):
        with pytest.raises(NsctlError):
            copying.copy(Place("web", path), Place("", f"{tmp_path}/stolen"), box.store)
    assert not (tmp_path / "stolen").exists()
    # A link itself is copied as one.
    copying.copy(Place("web", "/file"), Place("", f"{tmp_path}/stolen"), box.store)
    assert (tmp_path / "stolen").is_symlink()
    done = copying.copy(Place("web", "/a"), Place("", f"{tmp_path}/tree"), box.store)
    assert done.skipped == ("/a/fifo",)
    assert (tmp_path / "tree/way").is_symlink()
    # What is copied in through such links stays inside too, or is refused.
    with pytest.raises(NsctlError):
        copying.copy(Place("", str(secret)), Place("web", "/way/planted"), box.store)
    with pytest.raises(NsctlError):
        copying.copy(Place("", str(secret)), Place("web", "/magic/planted"), box.store)
    # A link under the name that is written is replaced, never followed.
    (tmp_path / "file").write_text("new")
    copying.copy(Place("", f"{tmp_path}/file"), Place("web", "/"), box.store)
    assert Path(box.state("web").storage, "upper/file").read_text() == "new"
    assert secret.read_text() == "host's"


def test_a_hosts_directory_of_others_is_no_way_for_a_link(box: Box, tmp_path: Path) -> None:
    box.detach("sh", "-c", "echo text >/f; sleep 1000", name="web")
    victim = tmp_path / "victim"
    victim.write_text("kept")
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o777)
    (open_to_all / "f").symlink_to(victim)
    while not os.path.exists(f"/proc/{box.state('web').pid}/root/f"):
        os.sched_yield()
    copying.copy(Place("web", "/f"), Place("", str(open_to_all)), box.store)
    assert victim.read_text() == "kept"
    assert (open_to_all / "f").read_text() == "text\n"


def test_what_is_told_of_a_container_follows_its_schema(box: Box) -> None:
    box.detach(name="web", limits=(("pids", 30),))
    lifecycle.create(box.spec("true", name="idle"), box.store)
    rows = [afterwards.inspect(name, box.store) for name in ("web", "idle")]
    schema = load_schema("inspect")
    wanted = {"$ref": "#/$defs/container", "$defs": schema["$defs"]}
    for row in rows:
        jsonschema.validate(json.loads(json.dumps(row)), wanted)
    assert [row["state"] for row in rows] == ["running", "created"]
    assert rows[0]["limits"] == {"pids": 30}


def test_one_in_the_foreground_has_no_log_and_nothing_to_attach_to(box: Box) -> None:
    box.run("echo x", name="web", remove=False)
    with pytest.raises(UsageError, match="foreground"):
        list(afterwards.logs("web", box.store))
    with pytest.raises(UsageError, match="does not run"):
        attach.attach("web", box.store)


def test_fifty_commands_at_once_leave_everything_in_order(box: Box) -> None:
    """Starts, stops, removals, lists and looks at the same few names."""
    script = """
import os, sys, traceback
sys.path[:0] = [sys.argv[1]]
from support.containers import Box
from nsctl.errors import NsctlError
from nsctl.run import afterwards, lifecycle
box = Box.at(sys.argv[2])

def command(number):
    name = f"web{number % 4}"
    work = [
        lambda: box.detach("true", name=name),
        lambda: box.detach(name=name, remove=True),
        lambda: lifecycle.remove(name, box.store, force=True),
        lambda: lifecycle.stop(name, box.store, grace=0),
        lambda: afterwards.inspect(name, box.store),
    ][number % 5]
    try:
        work()
    except NsctlError as error:
        assert "Traceback" not in error.sentence
    lifecycle.list_containers(box.store)

# A process each, without fifty interpreters that start: all wait for the pipe's end.
reading, writing = os.pipe()
pids = []
for number in range(50):
    pid = os.fork()
    if not pid:
        status = 1
        try:
            os.close(writing)
            os.read(reading, 1)
            command(number)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    pids.append(pid)
os.close(writing)
sys.exit(sum(os.waitpid(pid, 0)[1] != 0 for pid in pids))
"""
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    words = (sys.executable, "-c", script, tests, box.base)
    done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    for row in lifecycle.list_containers(box.store):
        with contextlib.suppress(UnknownTarget):
            lifecycle.remove(row.name, box.store, force=True)
    assert box.left_over() == []

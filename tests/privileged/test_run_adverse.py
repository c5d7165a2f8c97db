"""Full disks, limits, closed pipes, absurd arguments: one clear sentence, and nothing is left."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.child.report import Failure
from nsctl.errors import NsctlError
from nsctl.model import capabilities
from nsctl.run import lifecycle
from support.containers import Box, box_in

pytestmark = pytest.mark.privileged


RUN = """
import sys
from nsctl.run import lifecycle
from support.containers import Box
box = Box.at(sys.argv[1])
box.store = box.store._replace(state=sys.argv[2])
sys.exit(lifecycle.run(box.spec("sh", "-c", sys.argv[3], name="web"), box.store))
"""


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


@contextlib.contextmanager
def filled(directory: str) -> Iterator[None]:
    """Leave no room on a file system of its own."""
    filler = Path(directory, "filler")
    with open(filler, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@pytest.fixture
def small(box: Box) -> Iterator[Box]:
    """A box whose state lies on a small file system."""
    place = f"{box.base}/small"
    os.mkdir(place)
    subprocess.run(("mount", "-t", "tmpfs", "-o", "size=256k", "small", place), check=True)
    box.store = box.store._replace(state=f"{place}/state")
    try:
        yield box
        box.clear()
    finally:
        subprocess.run(("umount", place), check=True)


def test_output_that_cannot_be_written_is_named_and_ends_the_container(box: Box) -> None:
    null = os.open("/dev/null", os.O_RDWR)
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        spec = box.spec("sh", "-c", "echo hi; sleep 1000", remove=True)
        with pytest.raises(NsctlError, match="cannot relay a standard stream: No space left"):
            lifecycle.run(spec, box.store, streams=(null, full, null))
    finally:
        os.close(null)
        os.close(full)
    assert box.left_over() == []


@pytest.mark.parametrize("letter", ["x", "\udcff", '"'])
def test_a_very_long_argument_arrives_whole(box: Box, letter: str) -> None:
    long = letter * 100_000
    done = box.run_spec(box.spec("sh", "-c", 'printf %s "$0" | wc -c', long, remove=True))
    assert done.output == "100000\n"
    with pytest.raises(Failure, match="File name too long"):
        box.run_spec(box.spec(f"/{long}", remove=True))


def test_a_refusal_names_the_command_and_the_directory(box: Box) -> None:
    with pytest.raises(Failure, match="cannot execute the command nosuch: No such") as caught:
        box.run_spec(box.spec("nosuch", remove=True))
    assert caught.value.exit_status == 127
    assert box.root in caught.value.hint
    with pytest.raises(Failure, match="change to the working directory /nosuch: No such"):
        box.run("true", cwd="/nosuch")


def test_containers_are_stopped_and_removed_where_no_state_can_be_written(small: Box) -> None:
    for name in ("web", "db"):
        small.detach(name=name)
    with filled(os.path.dirname(small.store.state)):
        with pytest.raises(NsctlError, match="No space left"):
            small.run("true")
        lifecycle.stop("web", small.store, grace=0)
        rows = {row.name: row.state for row in lifecycle.list_containers(small.store)}
        assert rows == {"web": "stopped", "db": "running"}
        for name in ("web", "db"):
            lifecycle.remove(name, small.store, force=True)
        assert small.left_over() == []


def test_a_command_keeps_its_exit_status_when_its_state_cannot_be_written(small: Box) -> None:
    reading, writing = os.pipe()
    ready, asked = os.pipe()
    script = "echo ready; read line; exit 5"
    child = subprocess.Popen(
        (
            sys.executable,
            "-c",
            RUN,
            small.base,
            small.store.state,
            script,
        ),
        stdin=ready,
        stdout=writing,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    os.close(writing)
    os.close(ready)
    try:
        assert os.read(reading, 6) == b"ready\n"
        while small.state("web").status != "running":
            assert child.poll() is None
        with filled(os.path.dirname(small.store.state)):
            os.write(asked, b"\n")
            assert child.wait() == 5
    finally:
        os.close(reading)
        os.close(asked)
        child.wait()


def test_no_grace_and_less_than_none_are_the_same(box: Box) -> None:
    for grace in (0.0, -5.0):
        made = box.detach("sh", "-c", "trap '' TERM; sleep 1000")
        lifecycle.stop(made.name, box.store, grace=grace)
        lifecycle.remove(made.name, box.store)


@pytest.mark.parametrize("word", ["nan", "-5", "inf", "soon"])
def test_the_command_line_takes_no_time_that_is_none(word: str) -> None:
    done = subprocess.run(
        (sys.executable, "-m", "nsctl", "stop", "-t", word, "x"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == f"nsctl: --time takes a number of seconds, not {word!r}\n"


def test_a_limit_of_user_namespaces_is_named(box: Box) -> None:
    script = (
        "echo 0 >/proc/sys/user/max_user_namespaces && exec "
        f"{sys.executable} -m nsctl run --rm {box.root} true"
    )
    done = subprocess.run(
        ("unshare", "-Urm", "sh", "-c", f"mount -t tmpfs none /run && {script}"),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": box.base},
    )
    assert done.returncode == 125
    assert "user.max_user_namespaces" in done.stderr, done.stderr


def test_nothing_is_built_before_the_eyes_of_who_could_take_it_over(box: Box) -> None:
    held = capabilities.DEFAULT | 1 << capabilities.NUMBERS["CAP_SYS_PTRACE"]
    box.detach(name="tracer", capabilities=held, namespaces={"user": "host"})
    box.detach(name="apart", capabilities=held)
    for namespaces in ({}, {"user": "host"}):
        with pytest.raises(NsctlError, match=r"tracer is in it, has CAP_SYS_PTRACE"):
            box.run("true", namespaces={"pid": "container:tracer", **namespaces})
    assert box.run("true", namespaces={"pid": "container:apart"}).status == 0


@pytest.mark.parametrize("number", [8, 10, 12, 14, 18, 22])
def test_too_few_descriptors_are_one_sentence(box: Box, number: int) -> None:
    script = (
        "import resource, subprocess, sys\n"
        "from nsctl.errors import KernelRefusal\n"
        "from nsctl.run import lifecycle\n"
        "from support.containers import Box\n"
        "box = Box.at(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[2]),) * 2)\n"
        "try:\n"
        "    lifecycle.run(box.spec('true', remove=True), box.store)\n"
        "except KernelRefusal as error:\n"
        "    assert 'EMFILE' in error.sentence, error.sentence\n"
    )
    subprocess.run(
        (sys.executable, "-c", script, box.base, str(number)),
        stdin=subprocess.DEVNULL,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    lifecycle.list_containers(box.store)
    assert box.left_over() == []

"""The same file elsewhere: attacks on the way, and answers against what is there."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.discovery.take import take
from nsctl.errors import KernelRefusal
from nsctl.model.part import Part
from nsctl.paths.translate import outside
from nsctl.report.schema import load_schema
from nsctl.targets.live import Process, resolve
from support.overlays import Box, box

pytestmark = pytest.mark.privileged

_LAYERS = r"""
mkdir -p lower/d lower/etc vol; echo low > lower/d/low; echo gone > lower/d/gone; echo v > vol/f
echo secret > secret; echo host > lower/etc/shadow-of-its-own
--
echo up > merged/d/up; rm merged/d/gone; chown 1000:1000 merged/d/up
ln -s /d/up merged/abs; ln -s ../../../../../../secret merged/out; ln -s /nowhere merged/dangling
ln -s loop merged/loop; mkfifo merged/pipe
mkdir merged/vol merged/proc merged/tmp; mount --bind vol merged/vol; mount -t tmpfs t merged/tmp
echo t > merged/tmp/t; mount -t proc p merged/proc; mkdir merged/ro
mount --bind lower/d merged/ro; mount -o remount,bind,ro merged/ro
/usr/bin/python3 -c "import socket; socket.socket(socket.AF_UNIX).bind('merged/sock')"
"""


@pytest.fixture(scope="module")
def target() -> Iterator[Box]:
    with box(_LAYERS) as made:
        yield made


def run(*words: str, status: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        [sys.executable, "-m", "nsctl", "path", *words],
        capture_output=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == status, done.stderr
    return done


def document(*words: str, status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(*words, "-J", status=status).stdout)
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema("path"))
    assert not [error.message for error in validator.iter_errors(found)]
    return found


def of(target: Box, path: str, status: int = 0) -> dict[str, Any]:
    return document(f"{target.pid}:{path}", status=status)


def test_each_path_leads_to_the_file(target: Box) -> None:
    seen = os.stat(f"/proc/{target.pid}/root/d/up")
    found = of(target, "/d/up")
    assert found["file"]["layers"] == ["upper"]
    assert (found["file"]["uid"], found["file"]["uid_inside"]) == (1000, 1000)
    assert found["paths"]
    for row in found["paths"]:
        assert Path(row["path"]).read_text() == "up\n"
        assert os.stat(row["path"]).st_mtime_ns == seen.st_mtime_ns
    assert found["paths"][-1]["path"] == f"/proc/{target.pid}/root/d/up"


def test_a_file_of_a_lower_layer_is_told_from_one_of_the_upper(target: Box) -> None:
    assert of(target, "/d/low")["file"]["layers"] == ["lower 1"]
    assert of(target, "/d")["file"]["layers"] == ["upper", "lower 1"]


def test_a_deleted_file_is_found_in_the_layer_that_has_it_still(target: Box) -> None:
    done = run(f"{target.pid}:/d/gone", status=1)
    assert b"the container deleted it" in done.stderr
    assert of(target, "/d/gone", status=1)["deleted"]


def test_a_relative_path_and_dots_are_taken_from_the_root(target: Box) -> None:
    for path in ("d/up", "/d/../d/./up", "/../../d/up", "//d//up"):
        assert of(target, path)["file"]["resolved"] == "/d/up"


def test_no_link_leads_out(target: Box) -> None:
    assert of(target, "/abs")["file"]["resolved"] == "/d/up"
    for path in ("/out", "/dangling", "/loop"):
        found = of(target, path)
        assert found["file"]["dangling"]
        assert found["file"]["type"] == "symbolic link"
        assert not any("secret" in row["path"] for row in found["paths"])
    run(f"{target.pid}:/out/x", status=1)


@pytest.mark.parametrize("path", ["/proc/1/root/etc/passwd", "/proc/self/exe/x", "/loop/x"])
def test_magic_links_are_not_followed(target: Box, path: str) -> None:
    error = run(f"{target.pid}:{path}", status=1).stderr
    assert b"Traceback" not in error
    assert error.startswith(b"nsctl: cannot find ")


@pytest.mark.parametrize(
    ("path", "kind"), [("/pipe", "fifo"), ("/sock", "socket"), ("/proc/version", "file")]
)
def test_what_is_no_regular_file_is_found_without_being_opened(
    target: Box, path: str, kind: str
) -> None:
    found = of(target, path)
    assert found["file"]["type"] == kind
    assert found["paths"][-1]["by"] == "process"


def test_a_tmpfs_is_reached_through_the_process_alone(target: Box) -> None:
    paths = [row["path"] for row in of(target, "/tmp/t")["paths"]]
    assert paths[-1] == f"/proc/{target.pid}/root/tmp/t"
    assert {Path(path).read_text() for path in paths} == {"t\n"}


def test_missing_files_have_one_sentence(target: Box) -> None:
    for path in ("/nothing", "/d/up/below", "/" + "x" * 300, "/" + "y/" * 2500):
        error = run(f"{target.pid}:{path}", status=1).stderr
        assert error.count(b"\n") == 1
        assert error.startswith(b"nsctl: cannot find ")


def test_a_path_as_long_as_the_kernel_takes(target: Box) -> None:
    path = "/" + "./" * 2044 + "d/up"
    assert len(path) == 4093
    assert of(target, path)["file"]["resolved"] == "/d/up"
    assert of(target, "/" + "/" * 4090 + "d")["file"]["resolved"] == "/d"


def test_the_best_path_alone_is_its_very_bytes() -> None:
    name = b"n\xff\x1b[31m\n x"
    program = (
        f"import os; os.mkdir(b'merged/' + bytes.fromhex('{name.hex()}')); "
        f"open(b'merged/' + bytes.fromhex('{name.hex()}') + b'/f', 'w').write('it')"
    )
    with box(f'true\n--\n/usr/bin/python3 -c "{program}"') as target:
        word = os.fsdecode(b"%d:/" % target.pid + name + b"/f")
        first = run("-1", word).stdout
        assert Path(os.fsdecode(first.removesuffix(b"\n"))).read_text() == "it"
        text = run(word).stdout
        assert b"\x1b" not in text
        assert b"\xff" not in text


def test_the_way_back(target: Box) -> None:
    root = f"/proc/{target.pid}/root"
    for path, expected in (("/d/up", "/d/up"), ("/vol/f", "/vol/f"), ("/tmp/t", "/tmp/t")):
        found = document(root + path, "--in", str(target.pid))
        assert expected in [row["path"] for row in found["paths"]]


def test_what_the_container_does_not_see_is_said_with_status_1(target: Box) -> None:
    with tempfile.NamedTemporaryFile() as file:
        error = run(file.name, "--in", str(target.pid), status=1).stderr
        assert b"none of its mounts shows that file" in error
    run("/nothing/here", "--in", str(target.pid), status=1)


def test_hosts_files_in_a_process_of_the_host_are_where_they_are() -> None:
    with tempfile.NamedTemporaryFile() as file:
        found = document(file.name, "--in", str(os.getpid()))
        assert file.name in [row["path"] for row in found["paths"]]
        back = document(f"{os.getpid()}:{file.name}")
        assert back["paths"][0]["path"] == file.name


@pytest.mark.parametrize("words", [("web",), (":/x",), ("1:",), ("/x",), ("a:/b", "--from", "f")])
def test_what_is_no_target_and_path_is_refused(words: tuple[str, ...]) -> None:
    assert run(*words, status=2).stderr.startswith(b"nsctl: ")


def test_a_link_that_changes_all_the_time_never_leads_out() -> None:
    """Somebody inside swaps a directory for a link to outside while it is resolved."""
    script = r"""
mkdir -p lower/real; echo inside > lower/real/f; mkdir outside; echo outside > outside/f
--
mkdir merged/x; echo inside > merged/x/f; ln -s ../../../../../../../../..$PWD/outside merged/y
/usr/bin/python3 - <<'END' &
import ctypes, os
libc = ctypes.CDLL(None)
parent = os.getppid()
while os.getppid() == parent:
    libc.renameat2(-100, b"merged/x", -100, b"merged/y", 2)
END
"""
    snapshot = take((Part.TASKS,))
    seen = set()
    with box(script) as target:
        process = resolve(str(target.pid))
        assert isinstance(process, Process)
        try:
            for _ in range(20):
                try:
                    found = outside(process, b"/x/f", snapshot)
                except KernelRefusal as error:
                    seen.add(error.errno)
                    continue
                assert not any(b"outside" in str(spot["path"]).encode() for spot in found.spots)
                seen.add(found.missing)
        finally:
            process.close()
    assert seen <= {0, errno.ENOENT, errno.ELOOP, errno.EAGAIN}

"""Containers from archives, layouts and names: unpacked once, kept while used, gone when killed."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nsctl.errors import NsctlError, UnknownTarget, UsageError
from nsctl.run import lifecycle, sources
from support.containers import Box, box_in

pytestmark = pytest.mark.privileged


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    with box_in(tmp_path) as made:
        yield made


@pytest.fixture
def archive(box: Box, tmp_path: Path) -> Path:
    path = tmp_path / "root.tar.gz"
    subprocess.run(["tar", "-C", box.root, "-czf", str(path), "."], check=True)
    return path


def layout_of(box: Box, place: Path) -> str:
    """An image layout of one layer, with a configuration."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        tar.add(box.root, ".")
    blobs = place / "blobs/sha256"
    blobs.mkdir(parents=True)

    def blob(content: bytes) -> str:
        digest = hashlib.sha256(content).hexdigest()
        (blobs / digest).write_bytes(content)
        return f"sha256:{digest}"

    config = {
        "config": {
            "Env": ["PATH=/bin", "A=1"],
            "Entrypoint": ["/bin/sh", "-c"],
            "Cmd": ["id -u; pwd; echo $A"],
            "User": "5",
            "WorkingDir": "/not/yet/there",
        },
        "rootfs": {"diff_ids": [f"sha256:{hashlib.sha256(raw.getvalue()).hexdigest()}"]},
    }
    manifest = {
        "config": {"digest": blob(json.dumps(config).encode())},
        "layers": [{"digest": blob(gzip.compress(raw.getvalue(), mtime=0))}],
    }
    entry = {
        "digest": blob(json.dumps(manifest).encode()),
        "annotations": {"org.opencontainers.image.ref.name": "box:1"},
    }
    (place / "index.json").write_text(json.dumps({"manifests": [entry]}))
    (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    return str(place)


def test_an_archive_runs_from_a_file_and_from_standard_input(box: Box, archive: Path) -> None:
    root = sources.open_root(str(archive), box.store)
    assert box.run("echo $0; ls /bin/busybox", rootfs=root.path).output == "sh\n/bin/busybox\n"
    with archive.open("rb") as file:
        again = sources.open_root("-", box.store, file.fileno())
    # The same content is the same image.
    assert again.path == root.path
    assert len(sources.image_store(box.store).images()) == 1


def test_what_an_image_says_is_done(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nsctl.cli import run as command
    from nsctl.cli.getopt import parse

    monkeypatch.setattr(command, "default_store", lambda: box.store)
    layout = layout_of(box, tmp_path / "layout")
    given = parse(command.OPTIONS, ["--rm", f"oci:{layout}:box:1"], stop_at_operand=True)
    spec, _ = command._spec(given)
    assert box.run_spec(spec).output == "5\n/not/yet/there\n1\n"
    assert spec.image == "box:1"
    for words, argv in (
        (["box:1", "echo hi"], ("/bin/sh", "-c", "echo hi")),
        (["--entrypoint", "/bin/ls", "box:1"], ("/bin/ls",)),
        (["--entrypoint", "", "box:1", "id"], ("id",)),
    ):
        assert command._spec(parse(command.OPTIONS, words, stop_at_operand=True))[0].argv == argv


def test_an_image_in_use_stays_and_one_without_a_name_goes(box: Box, archive: Path) -> None:
    images = sources.image_store(box.store)
    made = sources.import_source(str(archive), box.store, "mine")
    box.detach(name="web", rootfs=made.root)
    with sources.roots_in_use(box.store) as in_use, pytest.raises(NsctlError, match="uses it"):
        images.remove("mine", in_use)
    images.tag("mine", "yours:2")
    with sources.roots_in_use(box.store) as in_use:
        assert images.remove("mine", in_use) == ""
        assert images.prune(in_use) == []
    lifecycle.remove("web", box.store, force=True)
    with sources.roots_in_use(box.store) as in_use:
        assert images.remove("yours:2", in_use) == made.id
    assert images.images() == []
    with pytest.raises(UnknownTarget):
        sources.open_root("mine", box.store)


def test_set_user_id_files_lie_where_nobody_else_comes(box: Box, tmp_path: Path) -> None:
    raw = tmp_path / "suid.tar"
    with tarfile.open(raw, "w") as tar:
        member = tarfile.TarInfo("bin/su")
        member.mode, member.size = 0o4755, 1
        tar.addfile(member, io.BytesIO(b"x"))
    root = sources.open_root(f"tar:{raw}", box.store)
    assert os.stat(f"{root.path}/bin/su").st_mode & 0o4000
    store = os.stat(f"{box.store.storage}/images")
    assert (store.st_mode & 0o777, store.st_uid) == (0o700, 0)


def test_what_could_be_two_things_or_nothing_is_refused(
    box: Box, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources.import_source(str(archive), box.store, "both")
    (tmp_path / "both").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sources, "default_store", lambda: box.store)
    with pytest.raises(UsageError, match="both"):
        sources.split("both")
    assert sources.split("./both") == ("dir", "./both")
    assert sources.split("image:both") == ("image", "both")
    for text in ("/nowhere/at/all", "dir:", "oci:/nowhere:x", "tar:/nowhere", "nobody-has-this"):
        with pytest.raises(NsctlError):
            sources.open_root(text, box.store)


@pytest.mark.parametrize("bytes_read", [1, 20_000, 400_000])
def test_an_import_that_is_killed_leaves_nothing_behind_the_next_command(
    box: Box, archive: Path, bytes_read: int
) -> None:
    """The importer reads from a pipe that never ends, so it is killed in the middle of its work."""
    script = (
        "import sys; sys.path[:0] = [sys.argv[1]]\n"
        "from support.containers import Box\n"
        "from nsctl.run import sources\n"
        "sources.import_source('-', Box.at(sys.argv[2]).store, 'x', 0)\n"
    )
    tests = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    with subprocess.Popen(
        [sys.executable, "-c", script, tests, box.base], stdin=subprocess.PIPE
    ) as importer:
        assert importer.stdin is not None
        importer.stdin.write(archive.read_bytes()[:bytes_read])
        importer.stdin.flush()
        place = f"{box.store.storage}/images"
        while importer.poll() is None:
            with contextlib.suppress(FileNotFoundError):
                if any(name.startswith(".new-") for name in os.listdir(place)):
                    break
            os.sched_yield()
        importer.send_signal(signal.SIGKILL)
        importer.wait()
    assert any(name.startswith(".new-") for name in os.listdir(place))
    lifecycle.list_containers(box.store)
    assert [name for name in os.listdir(place) if name != "names.json"] == []

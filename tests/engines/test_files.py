"""Changes, paths and storage of containers, against what their engines and the kernel say."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nsctl.report.schema import load_schema
from support.engines.docker import Client, Docker
from support.engines.lxc import FIRST_ID, MAPPED, Lxc
from support.engines.needs import nsctl, require
from support.engines.podman import UID, Podman
from support.engines.stage import Stage

pytestmark = pytest.mark.engines

_DOCKER = ("dockerd", "containerd", "runc", "iptables")
# What was copied up and not changed is where Podman and Docker differ; nothing of it here.
_WORK = """
echo x > /etc/new; echo y >> /etc/passwd; rm /etc/group; mkdir -p /srv/a/b; echo 1 > /srv/a/b/c
rm /bin/ls; mkfifo /tmp/p; ln /etc/new /etc/hard; ln -s /nowhere /etc/link; chmod 700 /root
mkdir '/srv/with blank'; ln -s ../../../../../../etc/shadow /srv/out
"""
_REPLACED = "rm -r /var; mkdir /var; echo 1 > /var/z; rm /bin/cat; mkdir /bin/cat"


def lines(text: str) -> list[str]:
    return sorted(line for line in text.split("\n") if line)


def document(view: str, *words: str, schema: str = "", status: int = 0) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(nsctl(view, *words, "-J", status=status))
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema(schema or view))
    assert not [f"{error.json_path} {error.message}" for error in validator.iter_errors(found)]
    return found


def changes(target: str) -> list[str]:
    document("mounts", target, "--changes", schema="changes")
    return lines(nsctl("mounts", target, "--changes"))


def pid_of(docker: Client, name: str) -> int:
    return int(docker("inspect", "-f", "{{.State.Pid}}", name))


def path_rows(word: str, *more: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = document("path", word, *more)["paths"]
    return rows


# --- Docker --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def moved() -> Iterator[Docker]:
    require(*_DOCKER)
    with Stage("files") as stage:
        docker = Docker(stage, data_root=str(stage.directory / "moved"))
        volume = stage.directory / "volume"
        volume.mkdir()
        (volume / "f").write_text("volume")
        options = ("-v", f"{volume}:/vol", "--tmpfs", "/tt", "--network", "none")
        docker.run("fweb", *options)
        docker("exec", "fweb", "sh", "-c", _WORK + _REPLACED)
        yield docker


def test_changes_are_what_docker_diff_says(moved: Docker) -> None:
    assert changes("fweb") == lines(moved("diff", "fweb"))


def test_changes_over_an_image_of_several_layers(moved: Docker) -> None:
    moved("commit", "fweb", "bb:2")
    moved("run", "-d", "--name", "fsecond", "--network", "none", "bb:2")
    moved("exec", "fsecond", "sh", "-c", "echo back > /etc/group; rm -r /srv; echo 2 > /bin/cat/x")
    assert changes("fsecond") == lines(moved("diff", "fsecond"))


def test_of_a_container_that_does_not_run_the_layers_are_those_of_its_engine(
    moved: Docker,
) -> None:
    moved("create", "--name", "fnew", "bb:1")
    moved("run", "--name", "fended", "--network", "none", "bb:1", "sh", "-c", _WORK)
    for name in ("fnew", "fended"):
        assert changes(name) == lines(moved("diff", name))
    assert "A /etc/new" in changes("docker://fended")
    found = document("mounts", "fended", "--changes", schema="changes")["layers"]
    assert found["upper"] == moved("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "fended")
    assert (found["verified"], len(found["lower"])) == (False, 2)
    for words in (("path", "fended:/etc/new"), ("storage", "fended"), ("mounts", "fended")):
        nsctl(*words, status=2)


def test_a_file_is_found_on_the_host_and_back(moved: Docker) -> None:
    pid = pid_of(moved, "fweb")
    seen = os.stat(f"/proc/{pid}/root/etc/passwd")
    rows = path_rows("fweb:/etc/passwd")
    (upper,) = [row for row in rows if row["by"] == "upper"]
    data = str(moved.stage.directory / "moved")
    # The daemon's own mount namespace has it, and so has the host's at the same place.
    assert upper["path"].startswith(f"{data}/overlay2/")
    assert upper["pid"] is None
    for row in rows:
        assert os.stat(row["path"]).st_mtime_ns == seen.st_mtime_ns
        assert Path(row["path"]).read_bytes().endswith(b"y\n")
    assert [row["path"] for row in path_rows(upper["path"], "--in", "fweb")] == ["/etc/passwd"]
    (lower,) = [row for row in path_rows("fweb:/bin/busybox") if row["by"].startswith("lower")]
    assert os.path.getsize(lower["path"]) == os.path.getsize("/bin/busybox")
    assert [row["path"] for row in path_rows(lower["path"], "--in", "fweb")] == ["/bin/busybox"]


def test_volumes_tmpfs_links_and_deleted_files(moved: Docker) -> None:
    volume = f"{moved.stage.directory}/volume/f"
    assert path_rows("fweb:/vol/f")[0]["path"] == volume
    assert path_rows(volume, "--in", "fweb")[0]["path"] == "/vol/f"
    (only,) = path_rows("fweb:/tt")
    assert only["by"] == "process"
    outward = document("path", "fweb:/srv/out")
    assert outward["file"]["dangling"]
    assert document("path", "fweb:/etc/group", status=1)["deleted"]
    nsctl("path", "/etc/shadow", "--in", "fweb", status=1)


def test_the_moved_root_is_found_with_all_that_leads_there(moved: Docker) -> None:
    found = document("storage", "fweb")
    (root,) = found["storage"]
    data = f"{moved.stage.directory}/moved"
    assert (root["engine"], root["path"], root["seen_from"]) == ("docker", data, None)
    steps = {step["path"]: step for step in (*root["steps"], *root["inner"])}
    for path in ("/", "/tmp", data, f"{data}/overlay2"):
        status = os.lstat(path)
        assert int(steps[path]["mode"], 8) == status.st_mode & 0o7777
        assert (steps[path]["uid"], steps[path]["gid"]) == (status.st_uid, status.st_gid)
    assert root["closed_at"] == data
    (container,) = found["containers"]
    layers = moved("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "fweb")
    assert container["layers"][0]["path"] == layers
    assert found["audit"]["rules"] or found["audit"]["cause"]


def test_who_has_files_open_from_outside_is_told_and_nobody_else(moved: Docker) -> None:
    pid = pid_of(moved, "fweb")
    upper = moved("inspect", "-f", "{{.GraphDriver.Data.UpperDir}}", "fweb")
    inside = subprocess.Popen(
        ["nsenter", "-t", str(pid), "-m", "-p", "/bin/busybox", "sleep", "60"]
    )
    with (
        open(f"/proc/{pid}/root/etc/passwd", "ab") as merged,
        open(f"{upper}/etc/new", "rb") as new,
    ):
        there = subprocess.Popen(["sleep", "60"], cwd=f"{upper}/srv")
        holding = subprocess.Popen(["sleep", "60"], stdout=merged, stdin=new)
        try:
            rows = document("storage", "fweb")["opened"]
        finally:
            for process in (there, holding, inside):
                process.kill()
                process.wait()
    seen = {(row["pid"], row["how"], row["path"], row["layer"], row["writable"]) for row in rows}
    assert (there.pid, "cwd", "/srv", "upper", False) in seen
    assert (holding.pid, "fd 1", "/etc/passwd", "merged", True) in seen
    assert (holding.pid, "fd 0", "/etc/new", "upper", False) in seen
    assert pid not in {row["pid"] for row in rows}
    # The tests' own process holds the two files as well.
    engine = {row["pid"] for row in rows if row["engine"]}
    outside = {row["pid"] for row in rows if not row["engine"]}
    assert outside <= {there.pid, holding.pid, os.getpid(), inside.pid}
    assert not engine & outside


@pytest.fixture(scope="module")
def remapped() -> Iterator[Docker]:
    require(*_DOCKER)
    with Stage("filesmap") as stage:
        # Elsewhere than on the stage's own /var/lib, which is an overlay, and none can lie on that.
        docker = Docker(stage, data_root=str(stage.directory / "data"), remap=True)
        docker.run("fmap", "--network", "none")
        docker("exec", "fmap", "sh", "-c", _WORK)
        yield docker


def test_a_remapped_container_has_owners_inside_and_outside(remapped: Docker) -> None:
    assert changes("fmap") == lines(remapped("diff", "fmap"))
    found = document("path", "fmap:/etc/new")
    assert (found["file"]["uid_inside"], found["file"]["uid"]) == (0, 300_000)
    (upper,) = [row for row in found["paths"] if row["by"] == "upper"]
    assert upper["uid"] == 300_000
    remapped("run", "--name", "fmapped", "--network", "none", "bb:1", "sh", "-c", _WORK)
    assert changes("fmapped") == lines(remapped("diff", "fmapped"))
    (root,) = document("storage", "fmap")["storage"]
    assert root["path"] == f"{remapped.stage.directory}/data"
    assert any(step["path"].endswith("/300000.300000") for step in root["inner"])


# --- Podman, LXC ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def rootless() -> Iterator[Podman]:
    require("podman", "conmon", "runc", "newuidmap")
    with Stage("filespod") as stage:
        podman = Podman(stage, rootless=True)
        podman.run("fpod", "--network", "none")
        podman("exec", "fpod", "sh", "-c", _WORK)
        yield podman


def test_a_rootless_container_is_read_by_its_users_attributes(rootless: Podman) -> None:
    name = next(
        row["name"]
        for row in json.loads(nsctl("containers", "-J"))["containers"]
        if row["name"].startswith("fpod")
    )
    mine = changes(name)
    theirs = lines(rootless("diff", "fpod"))
    assert [line for line in mine if line not in theirs] == []
    # Podman lists directories of which the time alone has changed.
    assert all(line.startswith("C ") for line in theirs if line not in mine)
    rootless("create", "--name", "fmade", "--network", "none", "bb:1")
    # Nothing is mounted: where its layers are would be an ordinary user's word to root.
    nsctl("mounts", f"fmade@{UID}", "--changes", status=2)
    found = document("path", f"{name}:/etc/new")
    assert (found["file"]["uid_inside"], found["file"]["uid"]) == (0, UID)
    assert found["file"]["layers"] == ["upper"]
    (upper,) = [row for row in found["paths"] if row["by"] == "upper"]
    assert upper["path"].startswith(f"{rootless.graph}/overlay/")
    (root,) = document("storage", name)["storage"]
    assert (root["engine"], root["path"], root["user"]) == ("podman", rootless.graph, UID)


def test_a_root_without_layers_is_said_and_an_id_mapped_mount_told() -> None:
    require("lxc-start", "lxc-info", "newuidmap")
    with Stage("fileslxc") as stage:
        lxc = Lxc(stage)
        lxc.start("flxc", "lxc.net.0.type = empty", *MAPPED)
        nsctl("mounts", "flxc", "--changes", status=1)
        found = document("path", "flxc:/etc/passwd")
        assert found["file"]["idmapped"]
        assert (found["file"]["uid_inside"], found["file"]["uid"]) == (0, FIRST_ID)
        first = found["paths"][0]
        assert (first["path"], first["uid"]) == (f"{lxc.root}/etc/passwd", 0)
        back = path_rows(f"{lxc.root}/etc/passwd", "--in", "flxc")
        assert [(row["path"], row["uid_inside"]) for row in back] == [("/etc/passwd", 0)]
        (container,) = document("storage", "flxc")["containers"]
        assert (container["layers"], container["root"]) == ([], "ext4")

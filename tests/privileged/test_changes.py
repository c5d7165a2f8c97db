"""What a container changed, on overlays of every make, against what the kernel shows of them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nsctl.discovery.take import take
from nsctl.engines import own
from nsctl.engines.roots import own_roots
from nsctl.errors import NsctlError
from nsctl.model.part import Part
from nsctl.paths.changes import find_changes, find_stopped_changes
from nsctl.run import lifecycle
from nsctl.targets.live import Process, resolve
from support.containers import box_in
from support.overlays import Box, box

pytestmark = pytest.mark.privileged


def changes(target: Box | str, *words: str, status: int = 0) -> subprocess.CompletedProcess[str]:
    code = "import sys; from nsctl.cli.main import main; sys.exit(main(sys.argv[1:]))"
    name = target if isinstance(target, str) else str(target.pid)
    done = subprocess.run(
        [sys.executable, "-c", code, "mounts", name, "--changes", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == status, done.stderr
    return done


def said(target: Box) -> list[str]:
    return changes(target).stdout.splitlines()


def document(target: Box) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(changes(target, "-J").stdout)
    return loaded


def test_whiteouts_opaque_directories_and_additions() -> None:
    script = """
    mkdir -p lower/d/sub lower/op lower/keep; echo 1 > lower/d/a; echo 1 > lower/d/b
    echo 1 > lower/op/x; echo 1 > lower/op/y; echo 1 > lower/keep/k
    --
    rm merged/d/a; rm -r merged/d/sub; echo more >> merged/d/b; rm -r merged/op; mkdir merged/op
    echo 2 > merged/op/x; mkdir -p merged/new/deep; mkfifo merged/new/pipe; ln merged/d/b merged/hard
    ln -s /nowhere merged/link; mknod merged/dev c 1 3; chmod 700 merged/keep
    """
    with box(_unindented(script)) as target:
        assert said(target) == [
            *("C /d", "D /d/a", "C /d/b", "D /d/sub", "A /dev", "A /hard", "C /keep", "A /link"),
            *("A /new", "A /new/deep", "A /new/pipe", "C /op", "C /op/x", "D /op/y"),
        ]
        rows = {row["path"]: row for row in document(target)["changes"]}
        assert rows["/op/y"]["by"] == "opaque"
        assert rows["/d/a"]["by"] == "whiteout"
        assert rows["/new/pipe"]["type"] == "fifo"


@pytest.mark.parametrize("prefix", ["trusted", "user"])
def test_the_other_kind_of_whiteout_and_what_overlayfs_keeps_besides(prefix: str) -> None:
    """A regular file of no size with an attribute, in a directory that is marked with "x"."""
    marks = " ".join(
        f"{path}={name}={value}"
        for path, name, value in (
            *(("upper/d", "opaque", "x"), ("upper/d/gone", "whiteout", "y")),
            *(("upper/origin", "origin", "z"), ("upper/origin", "impure", "y")),
            # Of an overlay in this one: here it is an ordinary file.
            *(("upper/nested", "overlay.whiteout", "y"), ("upper/nestdir", "overlay.opaque", "y")),
        )
    )
    program = (
        "import os, sys; [os.setxattr(p, f'{sys.argv[1]}.overlay.{n}', v.encode()) "
        "for p, n, v in (word.split('=') for word in sys.argv[2:])]"
    )
    script = f"""
    mkdir -p lower/d lower/nestdir upper/d upper/nestdir; echo 1 > lower/d/gone; echo 1 > lower/d/kept
    echo 1 > lower/origin; echo 1 > lower/nestdir/kept; : > upper/d/gone; : > upper/nested
    touch -r lower/origin upper/origin; echo 22 > upper/origin
    /usr/bin/python3 -c "{program}" {prefix} {marks}
    --
    """
    option = ",userxattr" if prefix == "user" else ""
    with box(_unindented(script), mount=f"mount -t overlay o -o $OPTIONS{option} merged") as target:
        assert not os.path.exists(f"/proc/{target.pid}/root/d/gone")
        assert said(target) == ["C /d", "D /d/gone", "A /nested", "C /origin"]


def test_renamed_directories_and_files_of_which_attributes_alone_were_copied_up() -> None:
    script = """
    mkdir -p lower/old/in lower/other; echo 1 > lower/old/f; echo 1 > lower/old/in/g
    echo 1 > lower/other/o; echo content > lower/meta
    --
    mv merged/old merged/new; rm merged/new/f; mv merged/other merged/new/other; chmod 600 merged/meta
    """
    options = "$OPTIONS,redirect_dir=on,metacopy=on"
    with box(_unindented(script), mount=f"mount -t overlay o -o {options} merged") as target:
        assert said(target) == [
            *("C /meta", "A /new", "A /new/in", "A /new/in/g", "A /new/other", "A /new/other/o"),
            *("D /old", "D /other"),
        ]
        rows = {row["path"]: row["by"] for row in document(target)["changes"]}
        assert (rows["/meta"], rows["/new"]) == ("metacopy", "redirect")


@pytest.mark.parametrize(
    ("name", "mount"),
    [
        ("plain", "$1/{}"),
        ("with blank", "$1/{}"),
        ("with:colon", "$1/{}"),
        ("with,comma", "$1/{}"),
        ("back\\slash", "$1/{}"),
        ("relative", "{}"),
    ],
)
def test_the_upper_layer_is_found_whatever_its_name(name: str, mount: str) -> None:
    """Mounted by mount(2), in whose text backslashes stand before commas and colons."""
    escaped = name.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
    upper = mount.format(escaped)
    script = f"mkdir '{name}'; mkdir lower/d\n--\necho 1 > merged/d/new"
    call = (
        "import ctypes, os, sys; libc = ctypes.CDLL(None, use_errno=True); "
        "sys.exit(libc.mount(b'o', b'merged', b'overlay', 0, os.fsencode(sys.argv[1])) "
        "and os.strerror(ctypes.get_errno()))"
    )
    where, _, rest = upper.rpartition("/")
    start = '"$PWD"/' if where else ""
    options = f"lowerdir=lower,workdir=work,upperdir={start}'{rest}'"
    command = f'/usr/bin/python3 -c "{call}" {options}'
    with box(script, mount=command) as target:
        assert said(target) == ["C /d", "A /d/new"]


def test_a_hundred_lower_layers() -> None:
    script = """
    for n in $(seq 100); do mkdir -p l$n/d; echo $n > l$n/d/f$n; done
    LOWER=lower; for n in $(seq 100); do LOWER=$LOWER:l$n; done
    --
    rm merged/d/f7; echo x >> merged/d/f100
    """
    command = "mount -t overlay o -o lowerdir=$LOWER,upperdir=upper,workdir=work merged"
    with box(_unindented(script), mount=command) as target:
        assert said(target) == ["C /d", "C /d/f100", "D /d/f7"]
        assert len(document(target)["layers"]["lower"]) == 101


def test_names_of_every_byte_are_escaped() -> None:
    script = r"""
    mkdir lower/d
    --
    /usr/bin/python3 - <<'END'
    import os
    for byte in range(1, 256):
        if byte != 47:
            open(b"merged/d/x" + bytes([byte]), "w").close()
    os.mkdir(b"merged/d/" + b"\x1b[31m\n")
    END
    """
    with box(_unindented(script)) as target:
        lines = said(target)
        assert len(lines) == 1 + 254 + 1
        assert all(line.isprintable() for line in lines)
        assert "A /d/\\x1b[31m\\x0a" in lines
        rows = document(target)["changes"]
        assert bytes.fromhex(next(row["path_raw"] for row in rows if "path_raw" in row))


def test_what_is_mounted_over_the_root_hides_nothing_and_volumes_do_not_count() -> None:
    script = """
    mkdir lower/vol lower/d; echo 1 > lower/d/f
    --
    echo 2 > merged/d/g; mount -t tmpfs t merged/vol; echo 1 > merged/vol/x
    mount -t tmpfs t merged/d; echo 1 > merged/d/hidden
    """
    with box(_unindented(script)) as target:
        assert said(target) == ["C /d", "A /d/g"]


def test_a_mount_on_a_layer_is_no_part_of_it_and_is_said() -> None:
    script = """
    mkdir -p lower/d upper/d; echo 1 > lower/d/f
    --
    echo 2 > merged/d/g; echo 3 > merged/h; mount -t tmpfs t upper/d; echo 1 > upper/d/not-there
    """
    with box(_unindented(script)) as target:
        done = changes(target)
        assert done.stdout.splitlines() == ["A /h"]
        assert "/d (Invalid cross-device link)" in done.stderr
        changes(target, "--strict", status=3)


def test_a_root_that_is_no_overlay_or_has_no_upper_layer_is_said() -> None:
    with box("true\n--\n", mount="mount --bind lower merged") as target:
        error = changes(target, status=1).stderr
        assert "its root is tmpfs" in error
        assert "no overlay" in error
    with box("mkdir l2\n--\n", mount="mount -t overlay o -o lowerdir=lower:l2 merged") as target:
        done = changes(target)
        assert done.stdout == ""
        assert "no upper layer" in done.stderr


def test_a_directory_that_lies_in_another_overlay_is_no_root_of_layers() -> None:
    script = """
    mkdir o m2
    --
    mkdir merged/made; cp -r lower/bin merged/made; umount merged 2>/dev/null || umount -l merged
    mount -t overlay o -o $OPTIONS m2; mount --bind m2/made merged
    """
    with box(_unindented(script)) as target:
        assert "a directory of another overlay (/made)" in changes(target, status=1).stderr


def test_an_overlay_that_is_mounted_over_one_of_its_own_layers_is_not_taken_for_that() -> None:
    script = """
    echo 1 > lower/f
    --
    echo 2 > merged/g; mount --bind merged lower
    """
    with box(_unindented(script)) as target:
        assert "its layers are not where its mount says" in changes(target, status=1).stderr


_UNDONE = """
mkdir -p store/one/diff store/one/work store/l store/base/diff point; cp -r lower/. store/base/diff
ln -s ../base/diff store/l/A; mkdir store/base/diff/d; echo 1 > store/base/diff/d/f
mount --bind store/base/diff point
OPTIONS=lowerdir=point,upperdir=store/one/diff,workdir=store/one/work
mount -t overlay o -o $OPTIONS merged; umount -l point
"""


def test_a_lower_layer_whose_mount_was_undone_is_found_where_the_engine_wrote_it_down() -> None:
    """As engines do with id-mapped layers: the path in the mount's options is then empty."""
    script = _UNDONE + "printf l/A > store/one/lower\n--\necho 2 > merged/d/g; rm merged/d/f"
    with box(script, mount="true") as target:
        assert said(target) == ["C /d", "D /d/f", "A /d/g"]
        (lower,) = document(target)["layers"]["lower"]
        assert lower.endswith("/store/l/A")


def test_one_that_nobody_wrote_down_is_not_taken_for_empty() -> None:
    with box(_UNDONE + "\n--\necho 2 > merged/d/g", mount="true") as target:
        assert "its layers are not where its mount says" in changes(target, status=1).stderr


def test_an_overlay_whose_upper_layer_lies_on_another_overlay() -> None:
    script = """
    mkdir -p lower/d outer/l/up outer/l/wk outer/u outer/w outer/m; echo 1 > lower/d/f
    echo 1 > lower/d/g
    mount -t overlay o -o lowerdir=outer/l,upperdir=outer/u,workdir=outer/w outer/m
    --
    rm merged/d/f; rm -r merged/d; mkdir merged/d; echo 2 > merged/d/g
    """
    command = (
        "mount -t overlay o -o lowerdir=lower,upperdir=outer/m/up,workdir=outer/m/wk,userxattr "
        "merged || mount -t overlay o -o lowerdir=lower,upperdir=upper,workdir=work merged"
    )
    with box(_unindented(script), mount=command) as target:
        assert said(target) == ["C /d", "D /d/f", "C /d/g"]


def test_ids_are_those_of_the_layer(tmp_path: Path) -> None:
    del tmp_path
    with box("mkdir lower/d\n--\necho 1 > merged/d/f; chown 1234:5678 merged/d/f") as target:
        (row,) = [row for row in document(target)["changes"] if row["path"] == "/d/f"]
        assert (row["uid"], row["gid"], row["size"]) == (1234, 5678, 2)


def test_a_layer_that_never_answers_is_given_up() -> None:
    """The lower layer has a directory that is a FUSE whose requests nobody reads."""
    if not os.path.exists("/dev/fuse"):
        pytest.skip("needs /dev/fuse")
    code = (
        "import time\n"
        "from nsctl.paths import ask\n"
        "import sys\n"
        "answer = ask.ask('inside', {'pid': 0, 'proc': -1, 'path': sys.argv[1].encode(),"
        " 'views': [[0]], 'parents': [], 'image': b''}, (), 1.0)\n"
        "print(answer.silent, len(answer.pieces))\n"
    )
    hang = (
        "import ctypes, os, sys, subprocess\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(name, *a):\n"
        "    if getattr(libc, name)(*a): raise OSError(ctypes.get_errno(), name)\n"
        "call('unshare', 0x20000)\n"
        "call('mount', None, b'/', None, ctypes.c_ulong(0x44000), None)\n"
        "fd = os.open('/dev/fuse', os.O_RDWR)\n"
        "o = b'fd=%d,rootmode=40000,user_id=0,group_id=0' % fd\n"
        "call('mount', b'h', b'/mnt', b'fuse', ctypes.c_ulong(0), o)\n"
        f"p = subprocess.run([{sys.executable!r}, '-c', sys.argv[1], '/mnt/x'], timeout=20,"
        " capture_output=True, text=True)\n"
        "print(p.stdout, p.stderr)\n"
    )
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", hang, code], capture_output=True, text=True, check=True, timeout=30
    )
    assert done.stdout.startswith("True 0"), done.stdout + done.stderr
    assert time.monotonic() - began < 15


def _steps(seed: int) -> str:
    """Random work in a merged tree; what fails does not matter."""
    chosen = random.Random(seed)  # noqa: S311  (a test's choices are to be the same each time)
    names = [f"{a}/{b}" for a in "abc" for b in "xyz"] + list("abc")
    lines = []
    for _ in range(40):
        one, other = chosen.choice(names), chosen.choice(names)
        lines.append(
            chosen.choice(
                [
                    *(
                        f"test -p {one} || echo {chosen.random()} > {one}",
                        f"rm -r {one}",
                        f"mkdir -p {one}",
                    ),
                    *(f"mv -T {one} {other}", f"chmod 7{chosen.randint(0, 7)}5 {one}"),
                    *(f"ln {one} {other}", f"ln -s {other} {one}", f"mkfifo {one}"),
                ]
            )
        )
    return "; ".join(f"({line}) 2>/dev/null || true" for line in lines)


@pytest.mark.parametrize("options", ["", ",redirect_dir=on,metacopy=on", ",userxattr"])
@pytest.mark.parametrize("seed", range(3))
def test_after_random_work_they_are_the_difference_of_the_two_trees(
    options: str, seed: int
) -> None:
    script = f"""
    mkdir l2; (cd l2; {_steps(seed + 100)}); (cd lower; {_steps(seed + 200)}; rm -rf bin/x)
    mkdir -p base; mount -t overlay b -o lowerdir=lower:l2 base
    --
    (cd merged; {_steps(seed)}); mkdir -p merged/tree; mount --bind base merged/tree
    """
    mount = f"mount -t overlay o -o lowerdir=lower:l2,upperdir=upper,workdir=work{options} merged"
    with box(_unindented(script), mount=mount) as target:
        root = f"/proc/{target.pid}/root"
        before, after = _tree(f"{root}/tree"), _tree(root)
        made = dict(before)
        for row in document(target)["changes"]:
            path = row["path"]
            if row["kind"] == "D" or row["type"] != "directory":
                made = {each: v for each, v in made.items() if not each.startswith(path + "/")}
            if row["kind"] == "D":
                del made[path]
            elif path in after:
                assert (path in before) == (row["kind"] == "C")
                made[path] = after[path]
            else:
                assert path == "/tree"
        assert made == after


def _tree(root: str) -> dict[str, tuple[int, int]]:
    """Type, mode and size of all below a root, but for what the box itself has there."""
    found = {}
    for top, names, files in os.walk(root):
        inner = top[len(root) :]
        names[:] = [name for name in names if (inner, name) not in {("", "tree"), ("", "bin")}]
        for name in (*names, *files):
            status = os.lstat(f"{top}/{name}")
            size = 0 if os.path.isdir(f"{top}/{name}") else status.st_size
            found[f"{inner}/{name}"] = (status.st_mode, size)
    return found


def _unindented(script: str) -> str:
    return "\n".join(line.removeprefix("    ") for line in script.split("\n"))


def test_one_of_ours_has_the_same_changes_once_it_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = """
    echo new > /etc/new; rm /bin/ls; chown 5:5 /etc/passwd; mkdir /tmp/d; chmod 700 /etc
    touch /bin/x; rm /bin/x; rm -r /opt; mkdir /opt; chown 0:7 /; sleep 1000
    """
    snapshot = take((Part.TASKS,))
    with box_in(tmp_path) as ours:
        Path(ours.root, "opt/gone").mkdir(parents=True)
        made = ours.detach("sh", "-c", script, name="ended")
        _until(lambda: os.path.exists(f"/proc/{made.pid}/root/tmp/d"))
        _until(lambda: os.stat(f"/proc/{made.pid}/root").st_gid % 65536 == 7)
        process = resolve(str(made.pid))
        assert isinstance(process, Process)
        try:
            running = find_changes(process._replace(container=made), take((Part.TASKS,)))
        finally:
            process.close()
        lifecycle.stop("ended", ours.store, grace=0)
        (row,) = lifecycle.list_containers(ours.store)
        assert not row.pid
        # Its storage is one of those of which `nsctl storage` tells.
        monkeypatch.setattr(own, "directory_of", lambda *_: ours.store.state)
        (root,) = own_roots()
        assert root.path == os.path.dirname(ours.state("ended").storage)
        ended = find_stopped_changes(row, [root], snapshot)
        assert ended.changes == running.changes
        assert {change.path for change in ended.changes} >= {b"/etc/new", b"/bin/ls", b"/opt/gone"}
        # That is what it was made from: a directory whose owner was copied up is no change.
        assert (ended.upper, ended.lower) == (running.upper, (os.fsencode(ours.root),))
        assert (ended.mounter, ended.verified) == (0, False)
        for wrong in (row._replace(image="image"), row._replace(id="0" * 32)):
            with pytest.raises(NsctlError, match="it does not run"):
                find_stopped_changes(wrong, [root], snapshot)


def _until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        time.sleep(0.02)
    pytest.fail("the container did not do its work")

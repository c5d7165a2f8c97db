"""Namespaces that bind mounts in any mount namespace keep alive: each is made and found."""

from __future__ import annotations

from pathlib import Path

import pytest

from nsctl.discovery.take import take
from nsctl.engines import own
from nsctl.model.namespace import Holder
from nsctl.model.part import Part
from nsctl.relate.members import memberships
from nsctl.run import lifecycle
from support.containers import box_in
from support.holding import holding, look, number, row_of, tell
from support.users import Nsctl

pytestmark = [pytest.mark.privileged, pytest.mark.usefixtures("each_source")]

_BIND = """
def private():
    unshare(MNT)
    mount("none", "/", None, 0x4000 | 1 << 18)
    mount("none", "/mnt", "tmpfs", 0)
def bind(kind, path):
    open(path, "x").close()
    mount(f"/proc/thread-self/ns/{kind}", path, None, 0x1000)
def bound(path):
    return elsewhere(UTS, "uts", lambda: bind("uts", path))[0]
"""


def test_a_bind_mount_in_another_mount_namespace_is_found_with_its_place(nsctl: Nsctl) -> None:
    code = _BIND + 'private(); ready(uts=bound("/mnt/a b"), mnt=number("mnt"))'
    with holding(code) as (_, made, _ask):
        row = look(nsctl, "uts", made["uts"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "bind", "path": "/mnt/a b", "mntns": made["mnt"]}]
        assert row["ons"] == number("user")
        assert row["ns_id"]
        assert row["nsfs_paths"] == []


def test_every_place_where_it_is_mounted_is_told(nsctl: Nsctl) -> None:
    code = (
        _BIND
        + """
private()
uts = bound("/mnt/a")
open("/mnt/b", "x").close()
mount("/mnt/a", "/mnt/b", None, 0x1000)
first = number("mnt")
kept = own("mnt")
unshare(MNT)
ready(uts=uts, mnt=[first, number("mnt")])
"""
    )
    with holding(code) as (_, made, _ask):
        row = look(nsctl, "uts", made["uts"])
        told = {(holder["path"], holder["mntns"]) for holder in row["holders"]}
        assert told == {(path, ino) for path in ("/mnt/a", "/mnt/b") for ino in made["mnt"]}


def test_a_process_with_another_root_does_not_hide_what_is_mounted(nsctl: Nsctl) -> None:
    code = (
        _BIND
        + """
private()
uts = bound("/mnt/out-of-sight")
os.mkdir("/mnt/root")
mnt = number("mnt")
os.chroot("/mnt/root")
ready(uts=uts, mnt=mnt)
"""
    )
    with holding(code) as (pid, made, _ask):
        assert b"nsfs" not in _mountinfo(pid)
        row = look(nsctl, "uts", made["uts"])
        assert row["holders"] == [
            {"kind": "bind", "path": "/mnt/out-of-sight", "mntns": made["mnt"]}
        ]
        assert row["ons"] == number("user")


def _mountinfo(pid: int) -> bytes:
    with open(f"/proc/{pid}/mountinfo", "rb") as file:
        return file.read()


def test_a_mount_namespace_without_a_process_is_searched_too(nsctl: Nsctl) -> None:
    code = (
        _BIND
        + """
found = {}
def make():
    mount("none", "/", None, 0x4000 | 1 << 18)
    mount("none", "/mnt", "tmpfs", 0)
    found.update(uts=bound("/mnt/a"))
    return own("mnt")
back = own("mnt")
unshare(MNT)
fd = make()
mnt = number("mnt")
call("setns", back, MNT)
ready(mnt=mnt, fd=fd, **found)
"""
    )
    with holding(code) as (pid, made, _ask):
        document = tell(nsctl)
        row = row_of(document, "mnt", made["mnt"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "fd", "pid": pid, "fd": made["fd"]}]
        row = row_of(document, "uts", made["uts"])
        assert row["holders"] == [{"kind": "bind", "path": "/mnt/a", "mntns": made["mnt"]}]
        assert row["ons"] == number("user")


def test_a_mount_namespace_that_is_mounted_in_another_is_searched_too(nsctl: Nsctl) -> None:
    code = (
        _BIND
        + """
private()
outer = own("mnt")
# Only an older mount namespace may hold a younger one.
unshare(MNT)
mount("none", "/", None, 0x4000 | 1 << 18)
mount("none", "/mnt", "tmpfs", 0)
uts = bound("/mnt/deep")
inner = own("mnt")
ino = number("mnt")
call("setns", outer, MNT)
open("/mnt/inner", "x").close()
mount(f"/proc/self/fd/{inner}", "/mnt/inner", None, 0x1000)
os.close(inner)
ready(uts=uts, inner=ino, outer=number("mnt"))
"""
    )
    with holding(code) as (_, made, _ask):
        document = tell(nsctl)
        row = row_of(document, "mnt", made["inner"])
        assert row["holders"] == [{"kind": "bind", "path": "/mnt/inner", "mntns": made["outer"]}]
        assert row["ons"] == number("user")
        row = row_of(document, "uts", made["uts"])
        assert row["holders"] == [{"kind": "bind", "path": "/mnt/deep", "mntns": made["inner"]}]
        assert row["ons"] == number("user")


def test_a_mount_namespace_that_only_the_kernel_lists_is_a_row(nsctl: Nsctl) -> None:
    code = (
        _BIND
        + """
# A socket's message is no holder that anything finds behind another message.
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
def send(*fds):
    ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
send(0)
back = own("mnt")
unshare(MNT)
mnt, fd = number("mnt"), own("mnt")
call("setns", back, MNT)
send(fd)
os.close(fd)
ready(mnt=mnt)
"""
    )
    with holding(code) as (_, made, _ask):
        row = look(nsctl, "mnt", made["mnt"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "kernel"}]
        assert row["ons"] == number("user")
        assert row["ns_id"]
        shown = nsctl("show", f"mnt:[{made['mnt']}]", check=0).stdout
        assert "only the kernel's own lists lead to it" in shown


def test_the_name_of_a_network_tells_whose_it_was(nsctl: Nsctl) -> None:
    code = (
        _BIND
        + """
private()
mount("none", "/run", "tmpfs", 0)
os.makedirs("/run/docker/netns")
os.makedirs("/run/netns")
named = elsewhere(NET, "net", lambda: bind("net", "/run/netns/blue"))[0]
boxed = elsewhere(NET, "net", lambda: bind("net", "/run/docker/netns/3f2a9c"))[0]
ready(named=named, boxed=boxed)
"""
    )
    with holding(code) as (_, made, _ask):
        document = tell(nsctl, columns="ns,type,whose")
        named = row_of(document, "net", made["named"])["whose"]
        assert (named["name"], named["engine"], named["was"]) == ("blue", "netns", True)
        boxed = row_of(document, "net", made["boxed"])["whose"]
        assert (boxed["kind"], boxed["engine"], boxed["was"]) == ("container", "docker", True)
        assert "3f2a9c" in boxed["name"]
        text = nsctl("ls", "-l", "net", check=0, columns=200).stdout
        assert "- was blue (netns)" in text
        shown = nsctl("show", f"net:[{made['named']}]", check=0).stdout
        assert "it was blue (netns)'s" in shown


def test_the_state_of_a_container_tells_whose_its_namespaces_were(tmp_path: Path) -> None:
    code = """
fds = {kind: os.open(f"/proc/{sys.argv[1]}/ns/{kind}", os.O_RDONLY) for kind in ("mnt", "net")}
ready(**{kind: os.fstat(fd).st_ino for kind, fd in fds.items()})
"""
    with box_in(tmp_path) as box:
        made = box.detach(name="web")
        with holding(code, str(made.pid)) as (pid, held, _ask):
            lifecycle.stop("web", box.store)
            parts = (Part.RELATIONS, Part.DESCRIPTORS, Part.CONTAINERS)
            places = (box.store.state,)
            snapshot = take(parts, sources={"nsctl": lambda _: own.containers(places)})
        found = {row.namespace.id.ino: row for row in memberships(snapshot)}
        for kind in ("mnt", "net"):
            row = found[held[kind]]
            assert row.tasks == ()
            assert [(holder.kind, holder.pid) for holder in row.holders] == [("fd", pid)]
            assert row.was is not None
            assert (row.was.engine, row.was.name) == ("nsctl", "web")
            # Its user namespace is kept by those that it owns, and was the container's too.
            assert found[row.namespace.owner].was == row.was
            assert found[row.namespace.owner].holders == (Holder("kernel"),)

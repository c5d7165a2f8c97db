"""Trying things: each function does the least that shows whether something is there for us.

They run in a process that ends afterwards, see `nsctl.diagnose.helper`: what they mount, join or
give up goes with it. A function returns what it found in words, or None; it raises what the
kernel said.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from nsctl.diagnose.helper import die_with
from nsctl.kernel import (
    bpf,
    cbpf,
    cgroupfs,
    executable,
    kcmp,
    listns,
    lists,
    lists_refusal,
    mount,
    mountinfo,
    nsfs,
    nsfs_handle,
    pidfd,
    pidfd_namespaces,
    process,
    seccomp,
    seccomp_profile,
    socketns,
    statmount,
    unshare,
)
from nsctl.kernel.procfs import ProcFs
from nsctl.model.namespace import TYPES, NamespaceType

Probe = Callable[[], str | None]

_CLONE_NEWUSER = NamespaceType.USER.clone_flag
_CLONE_NEWNS = NamespaceType.MNT.clone_flag
# Somewhere that is a directory everywhere; in the probe's own mount namespace it is covered.
_PLACES = ("/tmp", "/mnt", "/run", "/dev")  # noqa: S108  (mount points, in a namespace of our own)

_P = ParamSpec("_P")
_R = TypeVar("_R")


class Failed(Exception):
    """A step of a probe failed.

    Args:
        step: what was tried, in words.
        number: the error number.
    """

    def __init__(self, step: str, number: int) -> None:
        super().__init__(step, number)
        self.step = step
        self.number = number


def _step(words: str, call: Callable[_P, _R], *args: _P.args, **kwargs: _P.kwargs) -> _R:
    try:
        return call(*args, **kwargs)
    except OSError as error:
        raise Failed(words, error.errno or errno.EIO) from error


def _own(kind: NamespaceType) -> int:
    return os.open(f"/proc/self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC)


def namespace_types() -> str | None:
    """Which of the eight types there are."""
    lacking = [str(kind) for kind in TYPES if not os.path.exists(f"/proc/self/ns/{kind}")]
    if lacking:
        raise Failed(f"no {', '.join(lacking)}", errno.ENOENT)
    return None


def new_namespaces() -> None:
    """Whether new namespaces of each type but the user's can be made."""
    for kind in TYPES:
        if kind is not NamespaceType.USER:
            _step(f"unshare {kind}", unshare.unshare, kind.clone_flag)


def _enter_user_namespace() -> None:
    """Make a user namespace in which this process is root."""
    uid, gid = os.geteuid(), os.getegid()
    _step("unshare user", unshare.unshare, _CLONE_NEWUSER)
    directory = os.open("/proc/self", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    _step("write setgroups", unshare.deny_setgroups, directory)
    _step("write uid_map", unshare.write_id_map, directory, "uid", f"0 {uid} 1\n")
    _step("write gid_map", unshare.write_id_map, directory, "gid", f"0 {gid} 1\n")
    os.close(directory)


def user_namespace() -> None:
    """Whether a user namespace can be made, mapped, and is of use."""
    _enter_user_namespace()
    # Some make it and take its powers away.
    for kind in TYPES:
        if kind is not NamespaceType.USER and os.path.exists(f"/proc/self/ns/{kind}"):
            _step(f"unshare {kind} in it", unshare.unshare, kind.clone_flag)


def time_offsets() -> None:
    """Whether the clocks of a time namespace can be set off."""
    fd = _step("open timens_offsets", unshare.open_time_offsets)
    _step("unshare time", unshare.unshare, NamespaceType.TIME.clone_flag)
    _step("set a clock off", unshare.write_time_offset, fd, "boottime", 1_000_000_000)


def namespaces_by_pidfd() -> None:
    """Namespaces of a process through its pidfd."""
    target = os.pidfd_open(os.getpid())
    for kind in TYPES:
        if os.path.exists(f"/proc/self/ns/{kind}"):
            os.close(_step(str(kind), pidfd_namespaces.open_namespace, target, kind))


def descriptors_by_pidfd() -> None:
    """Duplicating another process's descriptor; here our own."""
    os.close(pidfd.pidfd_getfd(os.pidfd_open(os.getpid()), 0))


def namespace_ids() -> str | None:
    """64-bit ids of namespaces."""
    lacking = [kind for kind in TYPES if nsfs.get_id(_own(kind)) is None]
    if lacking:
        raise Failed(f"none for {', '.join(lacking)}", errno.ENOTTY)
    return None


def mount_namespace_list() -> None:
    """The kernel's list of mount namespaces."""
    nsfs.open_neighbour(_own(NamespaceType.MNT), nsfs.NS_MNT_GET_NEXT)


def _list_mounts(ns_id: int) -> None:
    first = next(statmount.listmount(ns_id))
    statmount.statmount(first, ns_id)


def own_mounts() -> None:
    """Mounts of the own mount namespace as the kernel lists them."""
    _list_mounts(nsfs.get_mnt_info(_own(NamespaceType.MNT)).ns_id)


def foreign_mounts() -> None:
    """The same of another mount namespace: the one that the probe has left."""
    ns_id = _step("ask its id", nsfs.get_mnt_info, _own(NamespaceType.MNT)).ns_id
    _step("unshare mnt", unshare.unshare, _CLONE_NEWNS)
    try:
        _list_mounts(ns_id)
    except OSError as error:
        # Without the right to, kernels before 7.0 say that there is no such namespace; this one
        # was there a moment ago.
        hidden = error.errno == errno.ENOENT
        raise Failed("list its mounts", errno.EPERM if hidden else error.errno or 0) from error


def namespace_list() -> None:
    """The kernel's list of namespaces."""
    listns.listns(limit=1)


def namespace_handles() -> None:
    """File handles of namespaces."""
    handle = _step("make a handle", nsfs_handle.name_to_handle, _own(NamespaceType.NET))
    _step("open it", nsfs_handle.open_by_handle, handle)


def socket_namespaces() -> None:
    """The network namespace of a socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as one:
        socketns.socket_netns(one.fileno())


def compare_tables() -> None:
    """Whether two threads share a table of descriptors."""
    kcmp.files_order(os.getpid(), os.getpid())


def bpf_programs() -> None:
    """Loading the kind of BPF program that walks the kernel's lists; nothing runs it."""
    bpf.load_program(bpf.PROG_TYPE_SYSCALL, bpf.RETURN_ZERO, bpf.F_SLEEPABLE)


def kernel_types() -> None:
    """The kernel's description of its own types."""
    if not bpf.has_types():
        raise Failed("what is there is of another form", errno.ENOENT)


def kernel_lists() -> str:
    """Walking the kernel's own lists, as a snapshot of a big host does."""
    try:
        found = lists.read(0, files=lists.SOME_FILES)
    except OSError as error:
        cause, _ = lists_refusal.explain(error, process.capget().effective)
        raise Failed(f"they {cause}", error.errno or 0) from error
    if found.level:
        raise Failed(
            "they are those of the caller's PID namespace, not the initial one", errno.EPERM
        )
    said = ["processes", "descriptors"]
    if found.spaces:
        said.append("namespaces")
    if found.binds is not None:
        said.append("bind mounts of namespaces")
    return f"for a fast snapshot: {', '.join(said)}"


def control_groups() -> str:
    """Which hierarchies of control groups are mounted."""
    lines = mountinfo.parse(ProcFs().read("self/mountinfo", 1 << 28))
    found = cgroupfs.hierarchies(lines)
    if not found:
        raise Failed("none is mounted here", errno.ENOENT)
    versions = {row.version for row in found}
    first = [row.name for row in found if row.version == 1]
    if versions == {2}:
        return "version 2 (unified)"
    layout = "hybrid: version 2 and" if 2 in versions else "version 1:"
    return f"{layout} {len(first)} of version 1"


def _cover() -> str:
    """Cover a directory with a tmpfs, in a mount namespace of the probe's own.

    Returns:
        The directory, with the directories ``lower``, ``upper``, ``work`` and ``all`` in it.
    """
    place = next((name for name in _PLACES if os.path.isdir(name)), "/")
    _step("unshare mnt", unshare.unshare, _CLONE_NEWNS)
    root = os.open("/", os.O_PATH | os.O_CLOEXEC)
    _step(
        "make the mounts private",
        mount.mount_setattr,
        root,
        propagation=mount.MS_PRIVATE,
        recursive=True,
    )
    fs = _step("open a tmpfs", mount.fsopen, "tmpfs")
    _step("make a tmpfs", mount.fsconfig_create, fs)
    tree = _step("mount a tmpfs", mount.fsmount, fs)
    target = os.open(place, os.O_PATH | os.O_CLOEXEC)
    _step("attach a tmpfs", mount.move_mount, tree, target)
    for name in ("lower", "upper", "work", "all"):
        os.mkdir(f"{place}/{name}")
    return place


def _known_overlay() -> None:
    """Stop where opening an overlay would make the kernel load a module."""
    lines = ProcFs().read("filesystems").split(b"\n")
    if b"overlay" not in {line.rpartition(b"\t")[2] for line in lines}:
        raise Failed("not built in or loaded", errno.ENODEV)


def _overlay(place: str, *flags: str) -> None:
    fs = _step("open an overlay", mount.fsopen, "overlay")
    for flag in flags:
        _step(f"set {flag}", mount.fsconfig_set_flag, fs, flag)
    _step("set lowerdir", mount.fsconfig_set_string, fs, "lowerdir", f"{place}/lower")
    _step("set upperdir", mount.fsconfig_set_string, fs, "upperdir", f"{place}/upper")
    _step("set workdir", mount.fsconfig_set_string, fs, "workdir", f"{place}/work")
    _step("make an overlay", mount.fsconfig_create, fs)
    _step("mount an overlay", mount.fsmount, fs)


def overlay() -> None:
    """OverlayFS, for who has CAP_SYS_ADMIN."""
    _known_overlay()
    _overlay(_cover())


def overlay_of_user() -> None:
    """OverlayFS inside a user namespace, with attributes of the user's own."""
    _known_overlay()
    _enter_user_namespace()
    _overlay(_cover(), "userxattr")


def mapped_mounts() -> None:
    """A mount whose ids are mapped, of a tmpfs, with a user namespace of a child's own."""
    fs = _step("open a tmpfs", mount.fsopen, "tmpfs")
    _step("make a tmpfs", mount.fsconfig_create, fs)
    tree = _step("mount a tmpfs", mount.fsmount, fs)
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        die_with(parent)
        try:
            _enter_user_namespace()
            os.write(writing, b"\0")
        except Failed as failure:
            os.write(writing, bytes((failure.number & 0xFF,)))
        signal.pause()
        os._exit(0)
    try:
        answer = os.read(reading, 1)
        if answer != b"\0":
            raise Failed("make a user namespace to map by", answer[0])
        ids = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
        _step(
            "map its ids",
            mount.mount_setattr,
            tree,
            attr_set=mount.MOUNT_ATTR_IDMAP,
            userns_fd=ids,
        )
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def seccomp_filters() -> None:
    """A filter of system calls that allows all of them."""
    process.set_no_new_privs()
    program = cbpf.assemble([cbpf.statement(cbpf.RET_K, seccomp_profile.ALLOW)])
    seccomp.load(seccomp.Filter(program, 0, ()))


def sealed_programs() -> str:
    """An executable file in memory that nobody can change, as the last stage of a container."""
    try:
        setting = ProcFs().read("sys/vm/memfd_noexec").rstrip(b"\n").decode("ascii", "replace")
        said = f"vm.memfd_noexec is {setting}"
    except FileNotFoundError:
        said = "this kernel has no vm.memfd_noexec"
    os.close(_step(said, executable.sealed_copy, "nsctl-probe", b"\x7fELF"))
    return f"for the last stage, which nobody can overwrite; {said}"


PROBES: dict[str, Probe] = {
    "namespace-types": namespace_types,
    "new-namespaces": new_namespaces,
    "user-namespace": user_namespace,
    "clock-offsets": time_offsets,
    "pidfd-namespaces": namespaces_by_pidfd,
    "pidfd-getfd": descriptors_by_pidfd,
    "namespace-ids": namespace_ids,
    "mount-namespace-list": mount_namespace_list,
    "listmount": own_mounts,
    "listmount-foreign": foreign_mounts,
    "listns": namespace_list,
    "namespace-handles": namespace_handles,
    "socket-namespaces": socket_namespaces,
    "kcmp": compare_tables,
    "bpf": bpf_programs,
    "btf": kernel_types,
    "kernel-lists": kernel_lists,
    "cgroup-layout": control_groups,
    "overlay": overlay,
    "overlay-userxattr": overlay_of_user,
    "idmapped-mounts": mapped_mounts,
    "seccomp": seccomp_filters,
    "sealed-memfd": sealed_programs,
}
"""All probes, by name."""

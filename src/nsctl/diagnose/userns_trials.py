"""Trying to make a user namespace, in ways that tell refusals apart.

Like `nsctl.diagnose.probes`, these run in a process that ends afterwards. The order in which a
kernel refuses is that of its own code: seccomp, the switch of Debian's kernels, unknown flags, how
deep namespaces nest, limits, a changed root, ids without a map, security modules
(user_namespaces(7), unshare(2)).
"""

from __future__ import annotations

import errno
import json
import os
import signal

from nsctl.diagnose.probes import Failed, Probe, user_namespace
from nsctl.kernel import lsm, nsfs, statx, unshare
from nsctl.kernel.libc import syscall
from nsctl.kernel.mountinfo import parse
from nsctl.kernel.procfs import ProcFs, parse_id_map, parse_status
from nsctl.model.namespace import IdExtent, NamespaceType
from nsctl.model.record import NamedTuple

_CLONE_NEWUSER = NamespaceType.USER.clone_flag
_CLONE_NEWNS = NamespaceType.MNT.clone_flag
# The lowest bits are the signal of clone(2): unshare(2) knows no flag there.
_NO_FLAG = 0x1
_PROCESSES = 512

SYSCTLS = (
    "kernel/unprivileged_userns_clone",
    "kernel/apparmor_restrict_unprivileged_userns",
    "kernel/apparmor_restrict_unprivileged_unconfined",
    "user/max_user_namespaces",
)
"""Switches by their names below /proc/sys."""


class Facts(NamedTuple):
    """What a process that wants a user namespace has against it.

    Attributes:
        uid: its effective user id.
        gid: its effective group id.
        caps: its effective capabilities.
        types: the kernel has user namespaces.
        initial: its user namespace maps all ids to themselves, as the initial one does.
        unmapped: which of its ids have no map: "uid", "gid".
        mapped: the first user and group id that have one, where some have.
        seccomp: 0 off, 1 strict, 2 filter; None where the kernel does not say.
        chroot: why its root directory is not that of its mount namespace, "" where nothing says
            that.
        sysctls: values by name; a switch that is not there is left out.
        lsms: security modules, None where they cannot be told.
        label: its label in the security module that has labels, "" for none.
        enforcing: SELinux's policy is enforced; None where there is no SELinux.
        procfs: there is a procfs to read all this from; where not, the rest is a guess.
    """

    uid: int = 0
    gid: int = 0
    caps: int = 0
    types: bool = True
    initial: bool = True
    unmapped: tuple[str, ...] = ()
    mapped: tuple[int, int] | None = None
    seccomp: int | None = 0
    chroot: str = ""
    sysctls: tuple[tuple[str, str], ...] = ()
    lsms: tuple[str, ...] | None = ()
    label: str = ""
    enforcing: bool | None = None
    procfs: bool = True


def facts() -> Facts:
    """Gather them for the calling process; without a procfs there are fewer."""
    proc = ProcFs()
    uid, gid = os.geteuid(), os.getegid()
    try:
        held = parse_status(proc.read("self/status")).credentials
        uids = parse_id_map(proc.read("self/uid_map"))
        gids = parse_id_map(proc.read("self/gid_map"))
    except OSError:
        chroot = _changed_root(proc)
        return Facts(uid, gid, chroot=chroot, lsms=lsm.modules(), procfs=False)
    pairs = (("uid", uid, uids), ("gid", gid, gids))
    return Facts(
        uid=uid,
        gid=gid,
        caps=held.caps.effective,
        types=os.path.exists(f"{proc.root}/self/ns/user"),
        initial=tuple(uids) == tuple(gids) == (IdExtent(0, 0, 4294967295),),
        unmapped=tuple(name for name, number, maps in pairs if not _is_mapped(number, maps)),
        mapped=(uids[0].inside, gids[0].inside) if uids and gids else None,
        seccomp=held.seccomp,
        chroot=_changed_root(proc),
        sysctls=tuple(_switches(proc)),
        lsms=lsm.modules(),
        label=_label(proc),
        enforcing=_enforcing(),
    )


def _is_mapped(number: int, maps: tuple[IdExtent, ...]) -> bool:
    return any(0 <= number - each.inside < each.length for each in maps)


def _switches(proc: ProcFs) -> list[tuple[str, str]]:
    found = []
    for name in SYSCTLS:
        try:
            raw = proc.read(f"sys/{name}")
        except OSError:  # not on this kernel, or for others only
            continue
        found.append((name, raw.rstrip(b"\n").decode("ascii", "replace")))
    return found


def _label(proc: ProcFs) -> str:
    try:
        raw = proc.read("self/attr/current")
    except OSError:  # no module that has labels
        return ""
    return raw.rstrip(b"\n\0").decode("utf-8", "replace")


def _enforcing() -> bool | None:
    for path in ("/sys/fs/selinux/enforce", "/selinux/enforce"):
        try:
            with open(path, "rb") as file:
                return file.read(2)[:1] == b"1"
        except OSError:
            continue
    return None


def _changed_root(proc: ProcFs) -> str:
    """Tell whether the root directory is another than the mount namespace's, and how that shows."""
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if statx.is_mount_root(root) is False:
            return "the root directory is not the root of a mount"
    finally:
        os.close(root)
    # The root of a mount may still be a place in a tree. Of the mounts of a namespace one at most
    # lies out of sight of its own root: that of the initial RAM file system.
    try:
        seen = proc.read("self/mountinfo", 1 << 28).count(b"\n")
        own = os.open(f"{proc.root}/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        try:
            hidden = nsfs.get_mnt_info(own).mounts - seen
        finally:
            os.close(own)
    except OSError:  # no procfs, or a kernel before 6.12
        return ""
    return f"{hidden} mounts of the mount namespace lie outside of it" if hidden > 1 else ""


def seen_elsewhere() -> str:
    """Whether another process of the mount namespace sees our root below its own.

    Returns:
        How that shows, "" where none does.
    """
    proc = ProcFs()
    own = next((number for number, point in _table(proc, "self") if point == b"/"), 0)
    mount_ns = _mount_namespace(proc, "self")
    for pid in proc.pids()[:_PROCESSES] if own else ():
        below = any(number == own and point != b"/" for number, point in _table(proc, str(pid)))
        if below and _mount_namespace(proc, str(pid)) in {None, mount_ns}:
            return f"process {pid} sees it below its own root"
    return ""


def _table(proc: ProcFs, pid: str) -> list[tuple[int, bytes]]:
    """Mount id and mount point of each mount that a process sees."""
    try:
        lines = parse(proc.read(f"{pid}/mountinfo", 1 << 24))
    except OSError:  # gone, or hidden
        return []
    return [(line.mount_id, line.mount_point) for line in lines]


def _mount_namespace(proc: ProcFs, pid: str) -> str | None:
    try:
        return os.readlink(f"{proc.root}/{pid}/ns/mnt")
    except OSError:  # gone, or another user's
        return None


def create() -> None:
    """The call that matters."""
    unshare.unshare(_CLONE_NEWUSER)


def nothing() -> None:
    """The same call with nothing to do: only a filter of system calls refuses it."""
    unshare.unshare(0)


def no_flag() -> None:
    """The same call with a flag that does not exist: what comes before that is looked at refuses."""
    try:
        unshare.unshare(_CLONE_NEWUSER | _NO_FLAG)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def clone() -> None:
    """Another call to the same end: if this one works, only a filter tells them apart."""
    child = syscall("clone", _CLONE_NEWUSER | signal.SIGCHLD, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)


def own_root() -> None:
    """In the mount namespace's own root, for who may go back to it."""
    try:
        # By a pidfd, for the changed root may have no procfs.
        unshare.setns(os.pidfd_open(os.getpid()), _CLONE_NEWNS)
    except OSError as error:
        raise Failed("go back to the root of the mount namespace", error.errno or 0) from error
    create()


def other_user() -> None:
    """As another user that has a map: limits count for each user apart."""
    uids = parse_id_map(ProcFs().read("self/uid_map"))
    own = os.geteuid()
    mapped = (each.inside + step for each in uids for step in range(min(each.length, 2)))
    other = next((number for number in mapped if number != own), None)
    if other is None:
        raise Failed("become another user", errno.ESRCH)
    try:
        os.setresuid(other, other, other)
    except OSError as error:
        raise Failed("become another user", error.errno or 0) from error
    create()


def tell() -> str:
    """The facts, for whoever asked."""
    return json.dumps(facts())


TRIALS: dict[str, Probe] = {
    "userns-facts": tell,
    "userns-create": create,
    "userns-use": user_namespace,
    "userns-elsewhere": seen_elsewhere,
    "userns-nothing": nothing,
    "userns-no-flag": no_flag,
    "userns-clone": clone,
    "userns-own-root": own_root,
    "userns-other-user": other_user,
}
"""All of them, by name."""

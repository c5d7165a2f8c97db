"""Bind mounts of namespaces in every mount namespace, also in those that no process is in.

What a mount namespace holds is read from the mountinfo of a process or thread in it; the kernel's
count of its mounts tells whether that is all, for a changed root directory cuts it. Where it is
not, and where there is no process, the kernel lists the mounts itself (listmount(2)). It also
lists the mount namespaces, to who may ask, so that those are found which nothing else leads to.
"""

from __future__ import annotations

import contextlib
import errno
import os

from nsctl.discovery.draft import Draft
from nsctl.discovery.members import Members
from nsctl.errors import NsctlError, refused, vanished
from nsctl.kernel import nsfs
from nsctl.kernel.mountinfo import NsfsMount, nsfs_mounts, parse_nsfs_root
from nsctl.kernel.nsfs import MountNamespaceInfo
from nsctl.kernel.procfs import read_file
from nsctl.model.namespace import TYPES, Holder, NamespaceType
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.child.foreign_files import Answer

_MNT = TYPES.index(NamespaceType.MNT)
_KINDS = {str(kind): kind for kind in NamespaceType}
_CAP_SYS_ADMIN = 21
_ASKED = 3
# As many as a step may keep open, see Draft.keep.
_OPENED = 256
_NO_REQUEST = frozenset({errno.ENOTTY, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})
CLOSED = frozenset({errno.ENOENT, errno.EPERM, errno.EACCES, *_NO_REQUEST})
"""What listmount(2) and statmount(2) say of a mount namespace that the caller has no rights over."""


class _Table(NamedTuple):
    """Bind mounts that were found in one mount namespace, and whether these are all."""

    mounts: list[NsfsMount]
    whole: bool


def run(draft: Draft) -> None:
    """Read every mount namespace."""
    tables: dict[int, list[str]] = {}
    for task in draft.tasks:
        if task.ns[_MNT] > 0 and not task.kernel and task.state not in "ZX":
            tables.setdefault(task.ns[_MNT], []).append(str(task.pid))
    for ino, directories in draft.mount_tables.items():
        tables.setdefault(ino, []).extend(directories)
    listed = _list_kernels(draft)
    members = Members(draft)
    cut: list[int] = []
    for ino in sorted({*tables, *listed, *_known(draft)}):
        info = listed.get(ino) or _ask(members, ino)
        table = _read(draft, ino, tables.get(ino, []), info)
        if not table.whole:
            cut.append(ino)
        for mount in table.mounts:
            _note(draft, ino, mount)
    _note_cut(draft, cut)
    _open_unreached(draft, members)


def _known(draft: Draft) -> list[int]:
    """Mount namespaces that processes are not needed to find: held by threads, bind mounts."""
    return [ino for kind, ino in draft.namespaces if kind is NamespaceType.MNT]


def _list_kernels(draft: Draft) -> dict[int, MountNamespaceInfo]:
    """Let the kernel list all mount namespaces, noting those that are news, or why it does not.

    Returns:
        By inode, what each says of itself; empty where the kernel would not list them.
    """
    if not draft.own_numbers:
        _note_unlisted(draft, "this procfs is of another PID namespace")
        return {}
    found: dict[int, MountNamespaceInfo] = {}
    try:
        _walk(draft, found)
    except OSError as error:
        if error.errno in _NO_REQUEST:
            _note_unlisted(draft, "this kernel does not list them")
        elif not refused(error):
            raise
        elif draft.reader.caps >> _CAP_SYS_ADMIN & 1:
            _note_unlisted(
                draft, "the kernel lists them in the initial user and PID namespaces only"
            )
        else:
            _note_unlisted(draft, "the kernel lists them to root only", "CAP_SYS_ADMIN")
    return found


def list_namespaces(draft: Draft) -> dict[int, MountNamespaceInfo] | None:
    """Let the kernel list all mount namespaces; those that are news are noted.

    Returns:
        By inode, what each says of itself; None where the kernel would not list them.
    """
    if not draft.own_numbers:
        return None
    found: dict[int, MountNamespaceInfo] = {}
    try:
        _walk(draft, found)
    except OSError as error:
        if error.errno in _NO_REQUEST or refused(error):
            return None
        raise
    return found


def _walk(draft: Draft, found: dict[int, MountNamespaceInfo]) -> None:
    """Go through the kernel's list of mount namespaces, from the reader's own both ways."""
    own = os.open(f"{draft.proc.root}/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _take(draft, own, found)
        for request in (nsfs.NS_MNT_GET_NEXT, nsfs.NS_MNT_GET_PREV):
            current = os.dup(own)
            try:
                while (following := nsfs.open_neighbour(current, request)) is not None:
                    os.close(current)
                    current = following
                    _take(draft, current, found)
            finally:
                os.close(current)
    finally:
        os.close(own)


def _take(draft: Draft, fd: int, found: dict[int, MountNamespaceInfo]) -> None:
    ino = nsfs.inode(fd)
    found[ino] = nsfs.get_mnt_info(fd)
    if (NamespaceType.MNT, ino) not in draft.namespaces:
        draft.add_namespace(NamespaceType.MNT, ino)
        draft.keep(NamespaceType.MNT, ino, fd)


def _note_unlisted(draft: Draft, cause: str, needs: str = "") -> None:
    draft.gaps.append(
        Gap(
            Part.MOUNTED,
            "nsfs",
            "mount namespaces that no process is in",
            PartState.PARTIAL,
            cause,
            needs,
        )
    )


def _read(
    draft: Draft, ino: int, directories: list[str], info: MountNamespaceInfo | None
) -> _Table:
    """Find the bind mounts of namespaces in one mount namespace.

    Args:
        draft: the draft.
        ino: the mount namespace.
        directories: below the procfs, of processes and threads in it.
        info: what it says of itself, where that is known.
    """
    best = _Table([], whole=False)
    for directory in directories[:_ASKED]:
        table = _through(draft, ino, directory, info)
        if table is not None:
            best = table if table.whole else best._replace(mounts=best.mounts + table.mounts)
        if best.whole:
            return best
    if info is None:
        return best
    try:
        return _Table(_of_kernel(info.ns_id), whole=True)
    except OSError as error:
        if error.errno not in CLOSED:
            raise
        return best


def _ask(members: Members, ino: int) -> MountNamespaceInfo | None:
    with members.open(NamespaceType.MNT, ino) as fd:
        if fd is None:
            return None
        try:
            return nsfs.get_mnt_info(fd)
        except OSError as error:
            if error.errno not in _NO_REQUEST:
                raise
            return None


def _through(
    draft: Draft, ino: int, directory: str, info: MountNamespaceInfo | None
) -> _Table | None:
    """Read the table that one process sees, None where it is gone or elsewhere."""
    try:
        fd = draft.proc.open(directory)
    except OSError as error:
        if vanished(error) or refused(error):
            return None
        raise
    try:
        raw = read_file("mountinfo", fd, limit=1 << 28)
        if os.readlink("ns/mnt", dir_fd=fd) != f"mnt:[{ino}]":
            return None
        lacking = info.mounts - raw.count(b"\n") if info else 0
        at_root = os.readlink("root", dir_fd=fd) == "/"
    except OSError as error:
        # A zombie has no mounts, and a root that is longer than the kernel tells is no answer.
        unclear = error.errno in {errno.EINVAL, errno.ENAMETOOLONG}
        if vanished(error) or refused(error) or unclear:
            return None
        raise
    finally:
        os.close(fd)
    # Nothing but the count tells of a root that is not that of the namespace.
    return _Table(nsfs_mounts(raw), whole=lacking <= 0 and (at_root or info is not None))


def _of_kernel(ns_id: int) -> list[NsfsMount]:
    from nsctl.kernel import statmount

    mounts = []
    for mnt_id in statmount.listmount(ns_id):
        with contextlib.suppress(FileNotFoundError):  # unmounted meanwhile
            mount = statmount.statmount(mnt_id, ns_id)
            root = parse_nsfs_root(mount.root) if mount.fs_type == b"nsfs" else None
            if root is not None:
                mounts.append(NsfsMount(*root, mount.point, mount.old_id))
    return mounts


def _note(draft: Draft, mntns: int, mount: NsfsMount) -> None:
    kind = _KINDS.get(mount.type)
    if kind is None:  # a type that nsctl does not know
        return
    draft.nsfs_mounts.add(mount.mount_id)
    draft.nsfs_names.add(os.fsdecode(mount.point.rpartition(b"/")[2]))
    fresh = (kind, mount.ino) not in draft.namespaces
    draft.hold(kind, mount.ino, Holder("bind", path=mount.point, mntns=mntns))
    if fresh:
        draft.unreached[kind, mount.ino] = (mntns, mount.point)


def _note_cut(draft: Draft, cut: list[int]) -> None:
    if cut:
        count = len(cut)
        admin = draft.reader.caps >> _CAP_SYS_ADMIN & 1
        draft.gaps.append(
            Gap(
                Part.MOUNTED,
                draft.proc.root,
                f"bind mounts in {count} mount namespace{'s' if count > 1 else ''}",
                PartState.PARTIAL,
                "their processes see a part of the mounts, or there is none, and the kernel "
                "does not list them",
                "" if admin else "CAP_SYS_ADMIN",
            )
        )


def _open_unreached(draft: Draft, members: Members) -> None:
    """Open what only a bind mount in another mount namespace leads to, and keep it open."""
    if not draft.unreached:
        return
    from nsctl.child.foreign_files import BindRequest

    keys: list[tuple[NamespaceType, int]] = []
    requests: list[BindRequest] = []
    failed = 0
    with contextlib.ExitStack() as opened:
        for key, (mntns, point) in draft.unreached.items():
            fd = opened.enter_context(members.open(NamespaceType.MNT, mntns))
            if fd is None or len(draft.kept) + len(keys) >= _OPENED:
                failed += 1
            else:
                keys.append(key)
                requests.append(BindRequest(fd, point))
        kept = 0
        with contextlib.suppress(NsctlError, OSError):  # what it did not answer is counted
            for key, answer in zip(keys, draft.foreign.ask(requests), strict=True):
                kept += _keep(draft, key, answer)
        failed += len(keys) - kept
    if failed:
        admin = draft.reader.caps >> _CAP_SYS_ADMIN & 1
        draft.gaps.append(
            Gap(
                Part.MOUNTED,
                draft.proc.root,
                f"{failed} namespace{'s' if failed > 1 else ''} bind-mounted elsewhere",
                PartState.PARTIAL,
                "the mount namespace cannot be entered, or the path leads elsewhere",
                "" if admin else "CAP_SYS_ADMIN",
            )
        )


def _keep(draft: Draft, key: tuple[NamespaceType, int], answer: Answer) -> bool:
    """Keep what was opened, if it is the namespace that was meant."""
    try:
        found = [fd for fd in answer.fds if nsfs.inode(fd) == key[1]]
        if found:
            draft.keep(*key, found[0])
        return bool(found)
    finally:
        answer.close()

"""What root believes of the containers that other users' nsctl says it has.

Their directories are found by their uid, and may be forged: to take root's processes or those of
other containers, to be mistaken for root's containers, to stop or slow root's commands. So control
groups and namespaces that a user names are not believed at all, a process only if it lives in a
user namespace that he made; his containers are called NAME@UID; and reading has a time limit.
"""

from __future__ import annotations

import os
import stat
import time

from nsctl.engines import own
from nsctl.errors import NsctlError, refused, vanished
from nsctl.kernel import nsfs, procfs
from nsctl.model.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PREFIX = "nsctl-"
_DIGITS = 10
_SECONDS = 1.0
_SHARES = 5


def directories() -> list[str]:
    """All places where root can find containers of other users.

    Only what belongs to the user whose uid the path has, as with nsctl's own: a place that somebody
    else made is nobody's, and not worth a word.
    """
    found = [(name, f"/run/user/{name}/nsctl") for name in _names("/run/user")]
    found += [
        (name.removeprefix(_PREFIX), f"/tmp/{name}")  # noqa: S108  (owner and mode are checked at every use)
        for name in _names("/tmp")  # noqa: S108
        if name.startswith(_PREFIX)
    ]
    return [path for uid, path in found if _is_uid(uid) and _belongs(path, int(uid))]


def _is_uid(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _belongs(path: str, uid: int) -> bool:
    try:
        status = os.lstat(path)
    except OSError:
        return False
    return uid != 0 and status.st_uid == uid and stat.S_ISDIR(status.st_mode)


def _names(directory: str) -> list[str]:
    try:
        return sorted(os.listdir(directory))
    except OSError:
        return []


def containers(
    places: Iterable[str] | None = None, seconds: float = _SECONDS
) -> Iterator[Container]:
    """Read the containers of other users.

    Args:
        places: their state directories; `directories` by default. What one of them damages hides
            only his own.
        seconds: after which reading stops.

    Yields:
        One row a container.

    Raises:
        NsctlError: after the last row, where a place could not be read; it tells of the first.
    """
    failed: list[NsctlError] = []
    end = time.monotonic() + seconds
    for place in directories() if places is None else places:
        if time.monotonic() >= end:
            cause = f"reading them all would take longer than {seconds:g} s"
            failed.append(NsctlError("read", place, cause))
            break
        try:
            # One alone may not use up what is there for all.
            yield from _containers(place, min(end, time.monotonic() + seconds / _SHARES))
        except NsctlError as error:
            failed.append(error)
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise NsctlError("", "", failed[0].sentence + more)


def _containers(place: str, end: float) -> list[Container]:
    """Read those of one directory, all or none."""
    proc = procfs.ProcFs()
    found = []
    for row, owner in own.rows(place, proc):
        if time.monotonic() >= end:
            break  # not an error yet: it would keep what is being read open
        found.append(_believed(row, owner, proc))
    else:
        return found
    raise NsctlError("read", f"the state directory {place}", "it takes too long")


def _believed(row: Container, owner: int, proc: procfs.ProcFs) -> Container:
    """Leave of another user's container what he can say without harm."""
    row = row._replace(name=f"{row.name}@{owner}", cgroups=(), mnt_ns_id=0)
    if row.pid and not _is_his(row.pid, owner, proc):
        return row._replace(pid=0, start=0, state="stopped")
    return row


def _is_his(pid: int, owner: int, proc: procfs.ProcFs) -> bool:
    """Whether a process lives in a user namespace that an ordinary user made.

    All his containers do. His other processes have descendants that are not his: what he starts
    through su(1) or sudo(8).
    """
    try:
        directory = proc.open(pid)
        try:
            fd = os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
        finally:
            os.close(directory)
        try:
            return nsfs.get_owner_uid(fd) == owner
        finally:
            os.close(fd)
    except OSError as error:
        if vanished(error) or refused(error):
            return False
        raise

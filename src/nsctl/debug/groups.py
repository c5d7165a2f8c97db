"""The control group of a debug shell: made for it in every hierarchy, emptied and removed behind it.

Its name says whose debug shell it is, so that every list of processes can (`nsctl.relate.debugged`),
and which process made it, so that what a killed one left is found.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

from nsctl.errors import translate
from nsctl.kernel import cgroupfs, mountinfo, procfs
from nsctl.model.record import NamedTuple
from nsctl.relate import debugged

_MOUNTS_LIMIT = 1 << 28
_SECONDS = 30.0
_PAUSE = 0.005
_CLEAN_LOOKS = 3


class Groups(NamedTuple):
    """Groups of one debug shell.

    Attributes:
        directories: one in each hierarchy; () for an ordinary user, who may make none.
    """

    directories: tuple[str, ...]

    def join(self, pid: int) -> None:
        """Move a process into them.

        Args:
            pid: a child of the caller that nobody has waited for.
        """
        for directory in self.directories:
            try:
                cgroupfs.write(f"{directory}/cgroup.procs", str(pid))
            except OSError as error:
                raise translate(error, "move", f"the shell into {directory}") from error


def make(target: str) -> Groups:
    """Make the groups of a debug shell of the calling process.

    Args:
        target: the TARGET as it was typed.

    Raises:
        KernelRefusal: they cannot be made.
    """
    if os.geteuid() != 0:
        return Groups(())
    tops = _tops()
    for top in tops:
        _remove_leftovers(top)
    start = procfs.parse_stat(procfs.read_file("/proc/self/stat")).start
    name = debugged.name_of(target, os.getpid(), start)
    made: list[str] = []
    for top in tops:
        directory = f"{top}/{name}"
        try:
            cgroupfs.make(directory)
        except OSError as error:
            remove(tuple(made))
            raise translate(error, "make", f"the control group {directory}") from error
        made.append(directory)
    return Groups(tuple(made))


def _tops() -> list[str]:
    """The directory of all debug shells, in each hierarchy that may be written."""
    raw = procfs.read_file("/proc/self/mountinfo", limit=_MOUNTS_LIMIT)
    found = []
    for row in cgroupfs.hierarchies(mountinfo.parse(raw)):
        if not row.writable:
            continue
        # A mount that another hides leads to another file system.
        with contextlib.suppress(OSError):
            found.append(cgroupfs.group(row, "/" + debugged.TOP))
    return found


def _remove_leftovers(top: str) -> None:
    """Remove what debug shells have left whose nsctl was killed."""
    try:
        names = os.listdir(top)
    except FileNotFoundError:
        return
    except OSError as error:
        raise translate(error, "read", f"the control group {top}") from error
    for name in names:
        made_by = debugged.maker_of(name)
        if made_by is not None and not _lives(*made_by):
            remove((f"{top}/{name}",))


def _lives(pid: int, start: int) -> bool:
    try:
        return procfs.parse_stat(procfs.read_file(f"/proc/{pid}/stat")).start == start
    except (OSError, ValueError):
        return False


def remove(directories: tuple[str, ...]) -> None:
    """End whatever is left in groups, and remove them.

    Args:
        directories: of the groups; one that is gone is no error.

    Raises:
        KernelRefusal: a process in one does not end.
    """
    deadline = time.monotonic() + _SECONDS
    for directory in directories:
        for group in cgroupfs.groups(directory):
            while not _emptied(group) and time.monotonic() < deadline:
                time.sleep(_PAUSE)
        try:
            cgroupfs.remove(directory, max(deadline - time.monotonic(), 0))
            cgroupfs.remove_if_empty(os.path.dirname(directory))
        except OSError as error:
            raise translate(error, "remove", f"the control group {directory}") from error


def _emptied(group: str) -> bool:
    """Kill what is in a group; True where nothing is."""
    members = cgroupfs.processes(group)
    if members:
        try:
            # At once, so that nothing can fork ahead of it (cgroup-v2.rst, since 5.14).
            cgroupfs.write(f"{group}/cgroup.kill", "1")
        except OSError as error:
            if error.errno not in {errno.ENOENT, errno.EOPNOTSUPP, errno.ENODEV}:
                raise translate(error, "end", f"what is left in {group}") from error
            for pid in members:
                _kill(group, pid)
    return not members


def _kill(group: str, pid: int) -> None:
    """Kill one member, by a pidfd that was opened before it was seen to be one still."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return  # it has ended
    try:
        if pid in cgroupfs.processes(group):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    finally:
        os.close(pidfd)


def end_members(mounts: int) -> None:
    """End whatever is left in a mount namespace, where there is no control group to tell.

    Args:
        mounts: descriptor of the namespace, which keeps its number from being given away.

    Raises:
        KernelRefusal: /proc cannot be read.
    """
    wanted = os.fstat(mounts)
    deadline = time.monotonic() + _SECONDS
    clean = 0
    # One that is just being executed may not be looked at for an instant.
    while clean < _CLEAN_LOOKS and time.monotonic() < deadline:
        ended = [pid for pid in procfs.ProcFs().pids() if _end_member(pid, wanted)]
        clean = 0 if ended else clean + 1
        time.sleep(_PAUSE)


def _end_member(pid: int, wanted: os.stat_result) -> bool:
    """Kill a process if it is in a mount namespace; True where it was."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return False  # it has ended, or is a thread
    try:
        found = os.stat(f"/proc/{pid}/ns/mnt")
        if (found.st_dev, found.st_ino) != (wanted.st_dev, wanted.st_ino):
            return False
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except OSError:
        return False  # it has ended, or is somebody else's
    finally:
        os.close(pidfd)
    return True

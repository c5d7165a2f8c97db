"""Ranges of ids that an ordinary user was given, mapped by newuidmap(1) and newgidmap(1).

All of a user's containers share the one range: subuid(5) is written for users, not for containers. What
such a container leaves belongs to ids that the user is not, so it is removed from inside a user
namespace with the same map.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys

from nsctl.errors import NsctlError, translate
from nsctl.kernel import procfs, unshare
from nsctl.kernel.remove import remove_tree
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_PROGRAMS = ("newuidmap", "newgidmap")
_BOOT = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from nsctl.run.subordinate import main; main(sys.argv[2])"
)
_READY, _MAPPED = b"r", b"m"


class Maps(NamedTuple):
    """The maps of a user namespace: the user as root, and the range behind.

    Attributes:
        uids: its uid_map.
        gids: its gid_map.
        length: how many ids mean something inside, as users and as groups.
    """

    uids: str
    gids: str
    length: int


def maps_of(files: Sequence[str], uid: int, gid: int) -> Maps | None:
    """Find what an ordinary user may map.

    Args:
        files: paths of subuid(5) and subgid(5).
        uid: the user.
        gid: the user's group.

    Returns:
        The maps; None where there is no range in both, or the two programs cannot be used.
    """
    if uid == 0 or len(files) != 2 or not all(map(_is_usable, _PROGRAMS)):
        return None
    if procfs.parse_status(procfs.ProcFs().read("self/status")).credentials.no_new_privs:
        return None
    try:
        name = pwd.getpwuid(uid).pw_name.encode()
    except KeyError:
        return None  # as for the programs themselves
    users, groups = (_first(path, {name, b"%d" % uid}) for path in files)
    if users is None or groups is None:
        return None
    (first_uid, uids), (first_gid, gids) = users, groups
    texts = (f"0 {uid} 1\n1 {first_uid} {uids}\n", f"0 {gid} 1\n1 {first_gid} {gids}\n")
    return Maps(*texts, 1 + min(uids, gids))


def _is_usable(program: str) -> bool:
    """Whether a program is there that can do more than its caller: by set-user-ID, or by its file's."""
    for directory in os.get_exec_path():
        path = os.path.join(directory, program)
        if os.access(path, os.X_OK):
            return bool(os.stat(path).st_mode & stat.S_ISUID) or "security.capability" in (
                os.listxattr(path)
            )
    return False


def _first(path: str, names: set[bytes]) -> tuple[int, int] | None:
    """The first range of somebody."""
    try:
        with open(path, "rb") as file:
            raw = file.read()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise translate(error, "read", path) from error
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) == 3 and fields[0] in names and fields[1].isdigit() and fields[2].isdigit():
            first, count = int(fields[1]), int(fields[2])
            if count:
                return first, count
    return None


def write_maps(pid: int, uids: str, gids: str) -> None:
    """Write the maps of a process that is in a new user namespace.

    Args:
        pid: of it; it must be dumpable.
        uids: its uid_map.
        gids: its gid_map.

    Raises:
        NsctlError: a program refused.
    """
    quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)]
    for program, text in zip(_PROGRAMS, (uids, gids), strict=True):
        words = [program, str(pid), *text.split()]
        try:
            child = os.posix_spawnp(program, words, os.environ, file_actions=quiet)
        except OSError as error:
            raise translate(error, "execute", program) from error
        if os.waitpid(child, 0)[1]:
            raise NsctlError(
                "map", "your subordinate ids", f"{program} refused", "see nsctl doctor userns"
            )


def remove(path: str, maps: Maps) -> None:
    """Remove a directory in which files belong to subordinate ids.

    Args:
        path: of the directory.
        maps: those of the container that wrote it.

    Raises:
        NsctlError: it cannot be removed.
    """
    import subprocess

    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-B", "-c", _BOOT, root, path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd="/",
    ) as helper:
        try:
            if helper.stdout is not None and helper.stdout.read(1) == _READY:
                write_maps(helper.pid, maps.uids, maps.gids)
                _, text = helper.communicate(_MAPPED)
            else:
                _, text = helper.communicate()
        except BaseException:
            helper.kill()
            raise
    if helper.returncode:
        cause = text.decode(errors="replace").strip() or "its helper was killed"
        raise NsctlError("remove", path, cause)


def main(path: str) -> None:
    """The helper's part: leave for a user namespace, wait for its maps, and remove."""
    try:
        unshare.unshare(NamespaceType.USER.clone_flag)
        os.write(1, _READY)
        if os.read(0, 1) == _MAPPED:
            remove_tree(path)
    except OSError as error:
        sys.exit(os.strerror(error.errno or 0))

"""Containers that nsctl itself made: the format of their state on disk, and rows from it.

``run/`` writes what is described here. Each container has a directory DIRECTORY/containers/ID of
mode 0700 with a file ``state.json``, replaced whole, and an empty file ``lock``, which whoever
works on the container holds with flock(2).

The files of another user are hostile: his directory must be his, the files plain and small, and a
process is believed to be the container's only if it runs as that user and began when the state
says. What more root asks before it believes him stands in ``own_of_others``.
"""

from __future__ import annotations

import errno
import os
import stat

from nsctl.engines.fields import load
from nsctl.errors import NsctlError, refused, translate, vanished
from nsctl.kernel import procfs
from nsctl.model.container import Container
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

ENGINE = "nsctl"
VERSION = 1
STATE_LIMIT = 4 << 20
"""Bytes of a state file; an environment and arguments may be 2 MiB (execve(2)), escaped."""

STATUSES = ("creating", "created", "starting", "running", "stopped", "removing")
"""All that ``State.status`` can be; "creating", "starting" and "removing" only while somebody
holds the lock: found without, they are left over from one who was killed."""

_NAME_SIZE = 63
_IN_NAMES = str.maketrans("", "", "_.-")
_ID_SIZE = 32
_UNSIGNED = 1 << 64
_OPEN_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class State(NamedTuple):
    """All that is known of one container of ours, as its state file keeps it.

    Attributes:
        id: 32 hexadecimal digits, never used again.
        name: unique among the containers of one directory.
        status: one of `STATUSES`.
        created: seconds since the epoch.
        boot_id: in which boot the processes and groups below live.
        spec: what was asked for, as ``nsctl.run.spec`` writes it.
        ids: first outside id of its own range, or -1 where it has none.
        id_count: length of that range, 0 where it has none.
        storage: the directory with its changes.
        cgroup: its group's path in every hierarchy, "" where it has none.
        cgroup_dirs: directories of that group.
        pid: its first process while "running", else 0.
        start: that process's start in clock ticks, as the writer's /proc showed it.
        mnt_ns_id: the kernel's id of its mount namespace, 0 where unknown.
        exit_status: of its command, once that ended and somebody saw it; -1 unknown.
    """

    id: str
    name: str
    status: str
    created: float
    boot_id: str
    spec: dict[str, object]
    ids: int = -1
    id_count: int = 0
    storage: str = ""
    cgroup: str = ""
    cgroup_dirs: tuple[str, ...] = ()
    pid: int = 0
    start: int = 0
    mnt_ns_id: int = 0
    exit_status: int = -1


_TYPES: dict[str, type | tuple[type, ...]] = {
    "id": str,
    "name": str,
    "status": str,
    "created": (int, float),
    "boot_id": str,
    "spec": dict,
    "ids": int,
    "id_count": int,
    "storage": str,
    "cgroup": str,
    "cgroup_dirs": list,
    "pid": int,
    "start": int,
    "mnt_ns_id": int,
    "exit_status": int,
}


def is_name(text: str) -> bool:
    """Tell whether a container can be called so: up to 63 of letters, digits, "_", "." and "-".

    The first is a letter or digit.
    """
    plain = text.translate(_IN_NAMES)
    known = plain.isascii() and plain.isalnum() and text[0].isalnum()
    return known and len(text) <= _NAME_SIZE


def _is_id(text: str) -> bool:
    return len(text) == _ID_SIZE and not text.strip("0123456789abcdef")


def encode(state: State) -> bytes:
    """Write a state as its file holds it."""
    import json  # whoever has no container of ours does without it

    return json.dumps({"version": VERSION, **state._asdict()}).encode()


def decode(raw: bytes, path: str) -> State:
    """Read a state file's content.

    Args:
        raw: the content.
        path: whence, for the error.

    Returns:
        The state.

    Raises:
        NsctlError: it is damaged or of another version.
    """
    try:
        fields = load(raw)
    except (ValueError, RecursionError) as error:
        raise _damaged(path, "it is not JSON") from error
    if not isinstance(fields, dict):
        raise _damaged(path, "it is no object")
    if fields.pop("version", None) != VERSION:
        raise _damaged(path, f"it is not of version {VERSION}")
    if fields.keys() != _TYPES.keys():
        raise _damaged(path, "its keys are not those of this version")
    for key, kind in _TYPES.items():
        if not isinstance(fields[key], kind) or isinstance(fields[key], bool):
            raise _damaged(path, f"{key} is of another type")
        # NaN is in no range either.
        if isinstance(fields[key], (int, float)) and not -1 <= fields[key] < _UNSIGNED:
            raise _damaged(path, f"{key} is no number that it can be")
    if fields["status"] not in STATUSES:
        raise _damaged(path, "there is no such status")
    if not is_name(fields["name"]) or not _is_id(fields["id"]):
        raise _damaged(path, "its name or id is none that nsctl gives")
    # Whatever stands for a surrogate has one of these: an escape, or the first byte of one.
    if (b"\\ud" in raw.lower() or b"\xed" in raw) and not _is_text(fields):
        raise _damaged(path, "it has a text that no bytes stand for")
    if not all(isinstance(group, str) for group in fields["cgroup_dirs"]):
        raise _damaged(path, "cgroup_dirs is of another type")
    return State(**fields | {"cgroup_dirs": tuple(fields["cgroup_dirs"])})


def _is_text(value: object) -> bool:
    """Whether all texts are such as os.fsdecode gives: JSON can write lone surrogates too."""
    try:
        if isinstance(value, dict):
            return all(_is_text(key) and _is_text(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(_is_text, value))
        if isinstance(value, str):
            value.encode("utf-8", "surrogateescape")
    except (UnicodeEncodeError, RecursionError):
        return False
    return True


def _damaged(path: str, cause: str) -> NsctlError:
    return NsctlError("read", f"the container state {path}", cause)


def directory_of(uid: int, runtime_dir: str = "") -> str:
    """Where a user's containers have their state.

    Args:
        uid: the user.
        runtime_dir: $XDG_RUNTIME_DIR; one that is not absolute counts as none.

    Returns:
        The directory, which need not exist.
    """
    if uid == 0:
        return "/run/nsctl"
    if runtime_dir.startswith("/"):
        return f"{runtime_dir}/nsctl"
    return f"/tmp/nsctl-{uid}"  # noqa: S108  (owner and mode are checked at every use)


def open_directory(path: str) -> tuple[int, int]:
    """Open a directory of ours, if it is what it must be.

    Args:
        path: the directory that `directory_of` gives, or another in its place.

    Returns:
        Its descriptor, which the caller closes, and its owner.

    Raises:
        FileNotFoundError: it does not exist.
        NsctlError: it is a link, or open to others; nothing in it can be trusted.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        hint = "where somebody else made it, set XDG_RUNTIME_DIR to a directory of your own"
        hint = hint if os.geteuid() else ""
        raise translate(error, "open", f"the state directory {path}", hint) from error
    status = os.fstat(fd)
    # Root looks at the directories of others, and believes each for its owner only.
    foreign = os.geteuid() != 0 and status.st_uid not in {0, os.geteuid()}
    if status.st_mode & 0o077 or foreign:
        os.close(fd)
        raise NsctlError(
            "trust",
            f"the state directory {path}",
            f"it belongs to uid {status.st_uid} and has mode {stat.S_IMODE(status.st_mode):04o}",
            "it must be yours and have mode 0700",
        )
    return fd, status.st_uid


def read_state(directory_fd: int, container_id: str) -> State:
    """Read one container's state.

    Args:
        directory_fd: descriptor of DIRECTORY/containers.
        container_id: name of the container's directory there.

    Returns:
        The state.

    Raises:
        NsctlError: it is gone (`Vanished` or a `KernelRefusal` with ENOENT), or damaged.
    """
    path = f"{container_id}/state.json"
    try:
        place = os.open(
            container_id, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=directory_fd
        )
        try:
            fd = os.open("state.json", _OPEN_FLAGS, dir_fd=place)
        finally:
            os.close(place)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise _damaged(path, "it is no plain file")
            raw = os.read(fd, STATE_LIMIT + 1)
        finally:
            os.close(fd)
    except OSError as error:
        raise translate(error, "read", f"the container state {path}") from error
    if len(raw) > STATE_LIMIT:
        raise _damaged(path, "it is too long")
    state = decode(raw, path)
    if state.id != container_id:
        raise _damaged(path, "it belongs to another container")
    return state


def container_ids(directory_fd: int) -> list[str]:
    """List the containers of a directory by id, in no useful order.

    Args:
        directory_fd: descriptor of DIRECTORY/containers.
    """
    return [name for name in os.listdir(directory_fd) if not name.startswith(".")]


def is_running(state: State, owner: int, boot_id: str, proc: procfs.ProcFs) -> bool:
    """Tell whether a state's process is still there, and is what it says.

    Args:
        state: the state.
        owner: who owns the directory it was read from.
        boot_id: of this boot.
        proc: where processes are looked up.

    Returns:
        True only if PID, start and boot agree and, for a directory that is not root's, the
        process runs as its owner in every respect .
    """
    if not state.pid or state.boot_id != boot_id:
        return False
    try:
        fd = proc.open(state.pid)
    except OSError as error:
        if vanished(error):
            return False
        raise
    try:
        seen = procfs.parse_stat(procfs.read_file("stat", fd))
        if seen.start != state.start or seen.state in "ZX":
            return False
        uids = procfs.parse_status(procfs.read_file("status", fd)).credentials.uids
    except OSError as error:
        if vanished(error):
            return False
        raise
    finally:
        os.close(fd)
    return owner == 0 or set(uids) == {owner}


def to_container(state: State, *, running: bool, boot_id: str = "") -> Container:
    """Make the row that discovery and lists use.

    Args:
        state: the state.
        running: whether its process is there.
        boot_id: of this boot, without which ids of namespaces say nothing.
    """
    status = state.status
    if status == "running" and not running:
        status = "stopped"
    namespaces = state.spec.get("namespaces")
    declared = namespaces.items() if isinstance(namespaces, dict) else ()
    return Container(
        name=state.name,
        engine=ENGINE,
        id=state.id,
        image=str(state.spec.get("image") or state.spec.get("rootfs", "")),
        pid=state.pid if running else 0,
        start=state.start if running else 0,
        state=status,
        created=state.created,
        declared=tuple((str(kind), str(choice)) for kind, choice in declared),
        cgroups=(state.cgroup,) if state.cgroup else (),
        mnt_ns_id=state.mnt_ns_id if state.boot_id == boot_id else 0,
    )


def sources() -> dict[str, Callable[[], Iterable[Container]]]:
    """Make what lists the caller's own containers, and for root those of others.

    Returns:
        By name, functions that read containers.
    """
    uid = os.geteuid()
    own = directory_of(uid, os.environ.get("XDG_RUNTIME_DIR", ""))
    found: dict[str, Callable[[], Iterable[Container]]] = {
        f"{ENGINE} {own}": lambda: containers((own,))
    }
    if uid == 0:
        from nsctl.engines import own_of_others

        found[f"{ENGINE} of other users"] = own_of_others.containers
    return found


def containers(places: Iterable[str], proc: procfs.ProcFs | None = None) -> list[Container]:
    """Read the containers of the caller's directories.

    Args:
        places: state directories, such as `directory_of` gives.
        proc: where processes are looked up; /proc by default.

    Returns:
        One row a container, by name. One that vanishes meanwhile is left out.

    Raises:
        NsctlError: a directory is another user's or cannot be trusted, or a state is damaged.
    """
    found = []
    for place in places:
        read = list(rows(place, proc or procfs.ProcFs()))
        if any(owner not in {0, os.geteuid()} for _, owner in read):
            raise NsctlError("trust", f"the state directory {place}", "it is another user's")
        found += [row for row, _ in read]
    return sorted(found, key=lambda row: row.name)


def rows(place: str, proc: procfs.ProcFs) -> Iterator[tuple[Container, int]]:
    """Read the containers of a directory of anybody's.

    Args:
        place: a state directory.
        proc: where processes are looked up.

    Yields:
        One row a container, and the owner of the directory, whose word it is.

    Raises:
        NsctlError: the directory cannot be trusted, or a state is damaged.
    """
    boot_id = proc.read("sys/kernel/random/boot_id").strip().decode("ascii")
    try:
        top, owner = open_directory(place)
    except FileNotFoundError:
        return
    try:
        for state, running in _states(top, owner, boot_id, proc):
            yield to_container(state, running=running, boot_id=boot_id), owner
    finally:
        os.close(top)


def _states(
    top: int, owner: int, boot_id: str, proc: procfs.ProcFs
) -> Iterator[tuple[State, bool]]:
    """Read the states of a directory, and whether each container runs."""
    try:
        fd = os.open(
            "containers", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=top
        )
    except OSError as error:
        if error.errno == errno.ENOENT:
            return
        raise translate(error, "open", "the directory of containers") from error
    try:
        for name in container_ids(fd):
            try:
                state = read_state(fd, name)
            except NsctlError as error:
                cause = error.__cause__
                if isinstance(cause, OSError) and vanished(cause):
                    continue
                raise
            try:
                running = is_running(state, owner, boot_id, proc)
            except OSError as error:
                if not refused(error):
                    raise translate(error, "read", f"process {state.pid}") from error
                running = False
            yield state, running
    finally:
        os.close(fd)

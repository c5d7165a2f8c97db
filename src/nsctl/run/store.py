"""Where containers of our own are kept: state directories, locks, names, and the changes' place.

The format is that of `nsctl.engines.own`. Whoever works on a container holds the lock of its
directory; whoever makes or names one holds the lock of the store.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from nsctl.engines import own
from nsctl.errors import AmbiguousTarget, NsctlError, UnknownTarget, UsageError, translate
from nsctl.model.record import NamedTuple
from nsctl.run.ids import IdPool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_UNFINISHED = ".new-"
_RETRY_SECONDS = 0.02
_LOCK_SECONDS = 15.0


class Store(NamedTuple):
    """One user's containers.

    Attributes:
        state: directory of mode 0700 for what lives no longer than a boot.
        storage: directory of mode 0700 for what containers write; one store's alone.
        pool: where ranges of ids come from.
    """

    state: str
    storage: str
    pool: IdPool = IdPool()


def default_store() -> Store:
    """The calling user's store: below /run and /var/lib for root, else of his own.

    Raises:
        UsageError: nothing says where he may keep anything.
    """
    uid = os.geteuid()
    state = own.directory_of(uid, os.environ.get("XDG_RUNTIME_DIR", ""))
    if uid == 0:
        return Store(state, "/var/lib/nsctl")
    # A relative one counts as none (XDG Base Directory Specification).
    for data in (os.environ.get("XDG_DATA_HOME", ""), os.path.expanduser("~/.local/share")):
        if data.startswith("/"):
            return Store(state, f"{data}/nsctl")
    raise UsageError("you have no home directory to keep containers in", "set HOME")


def container_place(store: Store, container_id: str) -> str:
    """Path of a container's state directory."""
    return f"{store.state}/containers/{container_id}"


def container_storage(store: Store, container_id: str) -> str:
    """Path of the directory with a container's changes."""
    return f"{store.storage}/containers/{container_id}"


@contextlib.contextmanager
def opened(store: Store, *, create: bool = False) -> Iterator[int]:
    """Open the directory of all containers.

    Args:
        store: whose.
        create: make what is missing.

    Yields:
        Its descriptor, or -1 where it does not exist.

    Raises:
        NsctlError: it cannot be trusted or made.
    """
    fd = -1
    try:
        if create:
            for path in (store.state, store.storage):
                _make(path)
            _claim(store)
        try:
            top, owner = own.open_directory(store.state)
        except FileNotFoundError:
            yield -1
            return
        try:
            _check_owner(store.state, owner)
            if create:
                with contextlib.suppress(FileExistsError):
                    os.mkdir("containers", 0o700, dir_fd=top)
            with contextlib.suppress(FileNotFoundError):
                fd = os.open("containers", _DIRECTORY, dir_fd=top)
        finally:
            os.close(top)
    except OSError as error:
        raise translate(error, "open", f"the state directory {store.state}") from error
    try:
        yield fd
    finally:
        if fd >= 0:
            os.close(fd)


def _make(path: str) -> None:
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
    except OSError as error:
        raise translate(error, "make", f"the directory {path}") from error


def _check_owner(path: str, owner: int) -> None:
    """Root may read what others say of their containers, but acts on nothing of it."""
    if owner != os.geteuid():
        raise NsctlError(
            "use", f"the directory {path}", f"it belongs to uid {owner}", "it must be yours"
        )


def _claim(store: Store) -> None:
    """See to it that a storage directory belongs to one state directory alone.

    Changes that no state speaks of are removed, so those of another store may not lie there.
    """
    fd, owner = own.open_directory(store.storage)
    try:
        _check_owner(store.storage, owner)
        wanted = os.path.abspath(store.state)
        # A link is made with its content at once, and need not lead anywhere.
        with contextlib.suppress(FileExistsError):
            os.symlink(wanted, "state", dir_fd=fd)
        holder = os.readlink("state", dir_fd=fd)
    finally:
        os.close(fd)
    if holder != wanted:
        raise UsageError(f"the storage {store.storage} belongs to the containers of {holder}")


@contextlib.contextmanager
def locked(containers: int) -> Iterator[None]:
    """Hold the store's lock: nobody else makes or names a container meanwhile.

    Args:
        containers: from `opened`.
    """
    # A descriptor of its own: flock's lock belongs to the open file, not to the directory.
    fd = os.open(".", _DIRECTORY, dir_fd=containers)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


class Handle:
    """One container's state directory, held under its lock.

    Args:
        directory: descriptor of it; the handle closes it.
        lock: descriptor of its lock file, locked; the handle closes it.
        state: what its file holds.
    """

    def __init__(self, directory: int, lock: int, state: own.State) -> None:
        self._directory = directory
        self._lock = lock
        self.state = state

    @classmethod
    def of(cls, directory: int, containers: int, container_id: str) -> Handle:
        """Make a handle of a directory that was inherited; whoever left it there holds the lock."""
        return cls(directory, -1, own.read_state(containers, container_id))

    def take_lock(self, lock: int) -> None:
        """Take over the lock.

        Args:
            lock: its descriptor, from the one who held it; -1 to wait for it.
        """
        if lock < 0:
            flags = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open("lock", flags, dir_fd=self._directory)
            fcntl.flock(lock, fcntl.LOCK_EX)
        self._lock = lock

    @property
    def descriptors(self) -> tuple[int, int]:
        """Of the directory and of the lock, for a process that is to hold the lock too."""
        return self._directory, self._lock

    def read(self, containers: int) -> None:
        """Read the state again, which another holder of the lock may have changed.

        Args:
            containers: from `opened`.
        """
        with contextlib.suppress(NsctlError):  # it has removed the container
            self.state = own.read_state(containers, self.state.id)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._directory)
        os.close(self._lock)

    def update(self, **changes: object) -> None:
        """Change the state, in memory and in its file, which is replaced whole."""
        self.state = self.state._replace(**changes)  # type: ignore[arg-type]  # fields of State
        _write_state(self._directory, self.state)


def _write_state(directory: int, state: own.State) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(".state.json", flags, 0o600, dir_fd=directory)
        with open(fd, "wb") as file:
            file.write(own.encode(state))
        os.rename(".state.json", "state.json", src_dir_fd=directory, dst_dir_fd=directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            os.unlink(".state.json", dir_fd=directory)
        raise translate(error, "write", f"the state of container {state.name}") from error


def new_id() -> str:
    """Make an id that no container has had."""
    return os.urandom(16).hex()


def add(containers: int, state: own.State) -> Handle:
    """Record a new container and hold its lock, whole or not at all.

    Args:
        containers: from `opened`, while `locked`.
        state: its first state.

    Returns:
        Its handle, which the caller closes.

    Raises:
        UsageError: another one has its name.
        NsctlError: it cannot be written.
    """
    if any(known.name == state.name for known in states(containers)):
        raise UsageError(
            f"there is a container {state.name} already", f"remove it: nsctl rm {state.name}"
        )
    unfinished = _UNFINISHED + state.id
    with contextlib.ExitStack() as undo:
        try:
            os.mkdir(unfinished, 0o700, dir_fd=containers)
            directory = os.open(unfinished, _DIRECTORY, dir_fd=containers)
            undo.callback(os.close, directory)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            lock = os.open("lock", flags, 0o600, dir_fd=directory)
            undo.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
            _write_state(directory, state)
            os.rename(unfinished, state.id, src_dir_fd=containers, dst_dir_fd=containers)
        except OSError as error:
            raise translate(error, "record", f"container {state.name}") from error
        undo.pop_all()
    return Handle(directory, lock, state)


def hold(containers: int, container_id: str, seconds: float = _LOCK_SECONDS) -> Handle | None:
    """Take the lock of a container.

    Args:
        containers: from `opened`.
        container_id: which.
        seconds: how long to wait for whoever holds it.

    Returns:
        Its handle, which the caller closes; None when somebody else holds it all that time.

    Raises:
        UnknownTarget: it is gone.
        NsctlError: its state is damaged.
    """
    deadline = time.monotonic() + seconds
    try:
        directory = os.open(container_id, _DIRECTORY, dir_fd=containers)
    except FileNotFoundError as error:
        raise UnknownTarget("find", f"container {container_id}", "it is gone") from error
    lock = -1
    try:
        lock = os.open("lock", os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    os.close(lock)
                    os.close(directory)
                    return None
            time.sleep(_RETRY_SECONDS)
        # Whoever held it may have removed the container.
        return Handle(directory, lock, own.read_state(containers, container_id))
    except (OSError, NsctlError) as error:
        if lock >= 0:
            os.close(lock)
        os.close(directory)
        cause = error if isinstance(error, OSError) else error.__cause__
        if isinstance(cause, FileNotFoundError):
            raise UnknownTarget("find", f"container {container_id}", "it is gone") from error
        if isinstance(error, OSError):
            raise translate(error, "lock", f"container {container_id}") from error
        raise


def states(containers: int) -> list[own.State]:
    """Read the states of all containers, by name.

    Args:
        containers: from `opened`, or -1.

    Raises:
        NsctlError: one is damaged.
    """
    if containers < 0:
        return []
    found, damaged = _read_all(containers)
    if damaged:
        raise damaged[0]
    return found


def _read_all(containers: int) -> tuple[list[own.State], list[NsctlError]]:
    """Read all states, by name, and what is wrong with those that cannot be read."""
    found, damaged = [], []
    for name in own.container_ids(containers):
        try:
            found.append(own.read_state(containers, name))
        except NsctlError as error:
            if not isinstance(error.__cause__, FileNotFoundError):
                damaged.append(error)
    return sorted(found, key=lambda state: state.name), damaged


def find(containers: int, target: str) -> own.State:
    """Find one container by its name, its id, or the beginning of its id.

    Args:
        containers: from `opened`, or -1.
        target: what the user typed.

    Returns:
        Its state.

    Raises:
        UnknownTarget: there is none; the hint names the nearest.
        AmbiguousTarget: an id begins so more than once.
    """
    known, damaged = _read_all(containers) if containers >= 0 else ([], [])
    for state in known:
        if target in {state.name, state.id}:
            return state
    if damaged:
        # It may be the one that is meant; one that is whole and has the name was found.
        raise damaged[0]
    begun = [state for state in known if target and state.id.startswith(target)]
    if len(begun) == 1:
        return begun[0]
    if begun:
        names = ", ".join(f"{state.name} ({state.id})" for state in begun)
        raise AmbiguousTarget("find", f"container {target}", f"it could be {names}")
    import difflib

    near = difflib.get_close_matches(target, [state.name for state in known], 3, 0.4)
    raise UnknownTarget(
        "find",
        f"container {target}",
        "nsctl made none of that name",
        f"did you mean {', '.join(near)}?" if near else "nsctl containers lists them",
    )


def unfinished(containers: int) -> list[str]:
    """List what `add` left behind when it was killed; true only while `locked`."""
    return [name for name in os.listdir(containers) if name.startswith(_UNFINISHED)]

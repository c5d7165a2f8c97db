"""What surrounds a command besides what confines it: environment, directory, shell, files.

Inside a container they are those of its engine's own exec; of a process without a configuration
they are the process's own. The files that are looked at for that are the container's and hostile:
`nsctl.child.readers` reads them.
"""

from __future__ import annotations

import errno
import os

from nsctl.child.readers import read_files
from nsctl.errors import translate
from nsctl.kernel.pidfd import has_ended
from nsctl.kernel.procfs import read_file
from nsctl.model.execution import Execution
from nsctl.model.record import NamedTuple
from nsctl.targets.live import Process

_PASSWD = b"/etc/passwd"
_ENVIRONMENT_MOST = 4 << 20
_PATH = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELL = b"/bin/sh"
_NO_SHELLS = frozenset({b"nologin", b"false", b"sync", b""})
_PRIVATE = frozenset({b"PLAN", b"REPORT"})
NETWORK_FILES = (b"/etc/resolv.conf", b"/etc/hosts")
"""What of a container's files says how names are found in its network."""


class Account(NamedTuple):
    """A user as the container's /etc/passwd has it (passwd(5)).

    Attributes:
        home: b"" where there is no such user.
        shell: likewise.
    """

    home: bytes = b""
    shell: bytes = b""


def parse_account(raw: bytes, uid: int) -> Account:
    """Find a user by number in a passwd file; lines of another form are passed over.

    Args:
        raw: the file.
        uid: the number.

    Returns:
        The first line's that has it.
    """
    for line in raw.split(b"\n"):
        fields = line.split(b":")
        if len(fields) >= 7 and fields[2] == b"%d" % uid:
            return Account(fields[5], fields[6])
    return Account()


def account_of(program: int, process: Process, uid: int) -> Account:
    """Look a user up in the container of a process.

    Args:
        program: from `nsctl.child.stage2.open_stage2`.
        process: whose root it is.
        uid: in the container's numbers.
    """
    (raw,) = files_of(program, process, (_PASSWD,))
    return parse_account(raw or b"", uid)


def files_of(program: int, process: Process, paths: tuple[bytes, ...]) -> list[bytes | None]:
    """Read files below the root of a process.

    Returns:
        For each its content; None where it has none that is a plain file.
    """
    try:
        root = os.open("root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=process.proc)
    except OSError:
        # It has ended, or may not be looked into: entering says so.
        return [None] * len(paths)
    try:
        return read_files(program, root, paths)
    finally:
        os.close(root)


def environment_of(process: Process) -> tuple[bytes, ...]:
    """Read the environment that a process was started with (proc_pid_environ(5)).

    Returns:
        Nothing of a kernel thread, which has none.

    Raises:
        Vanished: it has ended.
        KernelRefusal: it may not be read.
    """
    try:
        raw = read_file("environ", process.proc, _ENVIRONMENT_MOST)
    except OSError as error:
        if error.errno == errno.ESRCH and not has_ended(process.pidfd):
            return ()
        raise translate(error, "read", f"the environment of process {process.pid}") from error
    return unique(raw.split(b"\0"))


def unique(entries: list[bytes] | tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Leave what an environment can hold: names once, the first one counts, as in getenv(3)."""
    found: dict[bytes, bytes] = {}
    for entry in entries:
        name, equals, _ = entry.partition(b"=")
        if name and equals and name not in _PRIVATE:
            found.setdefault(name, entry)
    return tuple(found.values())


def inside(
    process: Process, execution: Execution | None, account: Account, *, terminal: bool
) -> tuple[bytes, ...]:
    """Make the environment of a command in a container.

    Args:
        process: its first process.
        execution: what its configuration says.
        account: of the command's user.
        terminal: it has a terminal, whose type is the caller's.

    Returns:
        "NAME=value" each: the engine's, with HOME of the user and TERM of the terminal.
    """
    entries = list(execution.env if execution is not None else environment_of(process))
    if execution is None or not any(entry.startswith(b"HOME=") for entry in entries):
        entries = [entry for entry in entries if not entry.startswith(b"HOME=")]
        entries.append(b"HOME=" + (account.home or b"/"))
    if terminal:
        entries = [entry for entry in entries if not entry.startswith(b"TERM=")]
        entries.append(b"TERM=" + os.environb.get(b"TERM", b"xterm"))
    if not any(entry.startswith(b"PATH=") for entry in entries):
        entries.append(_PATH)
    return unique(entries)


def own_environment() -> tuple[bytes, ...]:
    """The caller's environment, as it was when the interpreter started.

    Where the locale is C, that one has added LC_CTYPE since (PEP 538).
    """
    try:
        return unique(read_file("/proc/self/environ", limit=_ENVIRONMENT_MOST).split(b"\0"))
    except OSError:
        # Without a /proc: what the interpreter has made of it.
        return tuple(name + b"=" + value for name, value in os.environb.items())


def shell_of(account: Account) -> bytes:
    """The shell of a user, /bin/sh where it has none that is one."""
    is_shell = account.shell.startswith(b"/") and os.path.basename(account.shell) not in _NO_SHELLS
    return account.shell if is_shell else _SHELL


def own_shell() -> bytes:
    """The caller's shell."""
    return os.environb.get(b"SHELL") or _SHELL


def network_view(program: int, process: Process) -> tuple[tuple[bytes, bytes], ...]:
    """What a host's program has to find in /etc to resolve names as a container does.

    Returns:
        Path and content of each file that both have.
    """
    contents = files_of(program, process, NETWORK_FILES)
    return tuple(
        (path, content)
        for path, content in zip(NETWORK_FILES, contents, strict=True)
        if content is not None and b"\0" not in content and os.path.isfile(path)
    )


def named_view(path: str) -> tuple[tuple[bytes, bytes], ...]:
    """The files that belong to a network namespace with a name: /etc/netns/NAME (ip-netns(8))."""
    directory, _, name = os.path.realpath(path).rpartition("/")
    if directory != "/run/netns":
        return ()
    found = []
    place = os.path.join("/etc/netns", name)
    for file in sorted(os.listdir(place)) if os.path.isdir(place) else ():
        target = os.path.join("/etc", file)
        if os.path.isfile(target) and os.path.isfile(os.path.join(place, file)):
            with open(os.path.join(place, file), "rb") as opened:
                content = opened.read()
            if b"\0" not in content:
                found.append((os.fsencode(target), content))
    return tuple(found)

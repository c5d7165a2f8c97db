"""The steps that are neither mounts nor namespaces: storage, control groups, the first process.

The builder, in which most of them run, is single-threaded, and imports nothing any more once it
runs steps: its root may have become a hostile one.
"""

from __future__ import annotations

import errno
import os
import shlex
import signal
import socket
import stat

from nsctl.errors import Vanished, translate
from nsctl.kernel import cgroupfs, netdevice, unshare
from nsctl.kernel.pidfd import has_ended
from nsctl.model.record import NamedTuple
from nsctl.mounting.context import Context
from nsctl.run.context import Builder


class MakeStorage(NamedTuple):
    """Make the directory for a container's changes.

    Attributes:
        path: of the directory.
        uid: who root inside is outside.
        gid: likewise.
        rootfs: whose mode the root gets.
    """

    path: str
    uid: int
    gid: int
    rootfs: str

    def describe(self) -> str:
        """The work in one line."""
        return f"make {self.path} for its changes, owned by {self.uid}:{self.gid}"

    def command(self) -> str:
        """As coreutils would do it."""
        path = shlex.quote(self.path)
        return (
            f"mkdir -p {path}/upper {path}/work {path}/lower && "
            f"chown {self.uid}:{self.gid} {path}/upper {path}/work"
        )

    def execute(self, context: Context) -> None:  # noqa: ARG002  (every step takes one)
        """Make it; that it is there already is normal when a stopped container starts again."""
        try:
            mode = stat.S_IMODE(os.stat(self.rootfs).st_mode)
            os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
            if os.path.isdir(self.path):
                return
            # Passed through by the container's root on its way to what is its own; nobody
            # else comes as far as this.
            os.mkdir(self.path)
            os.chmod(self.path, 0o711)  # noqa: S103  (see above)
            for name in ("lower", "upper", "work"):
                os.mkdir(f"{self.path}/{name}", 0o700)
                os.chown(f"{self.path}/{name}", self.uid, self.gid)
            os.chmod(f"{self.path}/upper", mode)
        except OSError as error:
            raise translate(error, "make", f"the storage {self.path}") from error


class MakeGroup(NamedTuple):
    """Make the container's control group in one hierarchy.

    Attributes:
        directory: of the group.
    """

    directory: str

    def describe(self) -> str:
        """The work in one line."""
        return f"make the control group {self.directory}"

    def command(self) -> str:
        """As mkdir(1) would do it."""
        return f"mkdir -p {shlex.quote(self.directory)}"

    def execute(self, context: Context) -> None:  # noqa: ARG002  (every step takes one)
        """Make it, and its parent."""
        try:
            cgroupfs.make(self.directory)
        except OSError as error:
            raise translate(error, "make", f"the control group {self.directory}") from error


class SetInGroup(NamedTuple):
    """Write a file of the container's control group: a limit, or which devices it may use.

    Attributes:
        path: the file.
        text: what is written, one write a line.
        what: what that means, in words.
    """

    path: str
    text: str
    what: str

    def describe(self) -> str:
        """The work in one line."""
        return self.what

    def command(self) -> str:
        """As a shell would do it."""
        path = shlex.quote(self.path)
        return " && ".join(f"echo {shlex.quote(line)} >{path}" for line in self.text.split("\n"))

    def execute(self, context: Context) -> None:  # noqa: ARG002  (every step takes one)
        """Write it."""
        try:
            for line in self.text.split("\n"):
                cgroupfs.write(self.path, line)
        except OSError as error:
            raise translate(error, "write", self.path) from error


class WorkingDirectory(NamedTuple):
    """Make the directory in which the command starts, where the root has none.

    Attributes:
        path: as the container will see it.
    """

    path: str

    def describe(self) -> str:
        """The work in one line."""
        return f"make the working directory {self.path} where it is missing"

    def command(self) -> str:
        """As mkdir(1) would do it."""
        return f'mkdir -p "$ROOT"{shlex.quote(self.path)}'

    def execute(self, context: Context) -> None:
        """Make it; one that lies behind a link is looked for by the last stage."""
        try:
            os.close(context.open(self.path, os.O_DIRECTORY))
        except OSError as error:
            if error.errno in {errno.ELOOP, errno.ENOTDIR}:
                return
            if error.errno != errno.ENOENT:
                raise translate(error, "open", f"the working directory {self.path}") from error
            os.close(context.make_place(self.path, is_directory=True))


class JoinGroup(NamedTuple):
    """Move the builder, and so all its children, into a control group.

    Attributes:
        directory: of the group.
    """

    directory: str

    def describe(self) -> str:
        """The work in one line."""
        return f"join the control group {self.directory}"

    def command(self) -> str:
        """As a shell would do it."""
        return f"echo $$ >{shlex.quote(self.directory)}/cgroup.procs"

    def execute(self, context: Builder) -> None:  # noqa: ARG002  (every step takes one)
        """Join it."""
        try:
            cgroupfs.join(self.directory)
        except OSError as error:
            raise translate(error, "join", f"the control group {self.directory}") from error


class FirstProcess(NamedTuple):
    """Fork the first process of the new PID and time namespaces; what follows is its work.

    Attributes:
        detached: it goes on without the builder.
    """

    detached: bool

    def describe(self) -> str:
        """The work in one line."""
        return "fork the container's first process, which does all that follows"

    def command(self) -> str:
        """As unshare(1) does it."""
        return "unshare --fork"

    def execute(self, context: Builder) -> None:
        """Fork; the parent serves and ends, the child returns."""
        try:
            context.parent = os.pidfd_open(os.getpid())
            child = os.fork()
        except OSError as error:
            raise translate(error, "fork", "the container's first process") from error
        if child:
            context.serve(child, self.detached)
        die_with(context.parent)


def die_with(pidfd: int) -> None:
    """Make the caller die when its parent does.

    Args:
        pidfd: of the parent, opened before the fork, by which one shows that has died already.

    Raises:
        Vanished: the parent has died.
    """
    unshare.set_parent_death_signal(signal.SIGKILL)
    if has_ended(pidfd):
        raise Vanished("start", "the container", "whoever started it has died")


class HostName(NamedTuple):
    """Set the host name.

    Attributes:
        name: what it becomes.
    """

    name: str

    def describe(self) -> str:
        """The work in one line."""
        return f"set the host name to {self.name}"

    def command(self) -> str:
        """As hostname(1) would do it."""
        return f"hostname {shlex.quote(self.name)}"

    def execute(self, context: Builder) -> None:  # noqa: ARG002  (every step takes one)
        """Set it."""
        try:
            socket.sethostname(self.name)
        except OSError as error:
            raise translate(error, "set", "the host name") from error


class Loopback(NamedTuple):
    """Bring the new network namespace's only device up."""

    def describe(self) -> str:
        """The work in one line."""
        return "bring the loopback device up"

    def command(self) -> str:
        """As ip(8) would do it."""
        return "ip link set lo up"

    def execute(self, context: Builder) -> None:  # noqa: ARG002  (every step takes one)
        """Bring it up."""
        try:
            netdevice.set_up("lo")
        except OSError as error:
            raise translate(error, "bring up", "the loopback device") from error

"""The steps that make and join namespaces: user_namespaces(7), setns(2), time_namespaces(7)."""

from __future__ import annotations

import errno
import os
import signal
import socket

from nsctl.errors import translate
from nsctl.kernel import mount, nsfs, procfs, unshare
from nsctl.model.namespace import NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.run import subordinate
from nsctl.run.context import Builder

_LONG_OPTIONS = {
    NamespaceType.MNT: "mount",
    NamespaceType.PID: "pid",
    NamespaceType.NET: "net",
    NamespaceType.IPC: "ipc",
    NamespaceType.UTS: "uts",
    NamespaceType.USER: "user",
    NamespaceType.CGROUP: "cgroup",
    NamespaceType.TIME: "time",
}


class NewUserNamespace(NamedTuple):
    """Make the container's user namespace, from outside, and write its maps.

    A child makes it and ends; the builder keeps it by a descriptor, and stays outside with the
    host's powers until all is done that needs them.

    Attributes:
        uids: its uid_map.
        gids: its gid_map.
        deny_setgroups: as an ordinary user must before he may write the gid_map.
        by_programs: newuidmap(1) and newgidmap(1) write the maps.
    """

    uids: str
    gids: str
    deny_setgroups: bool
    by_programs: bool = False

    def describe(self) -> str:
        """The work in one line."""
        inside, outside, count = self.uids.split("\n")[0].split()
        if self.by_programs:
            return f"make a user namespace in which {inside} is {outside} outside, and your subordinate ids follow"
        return f"make a user namespace in which {inside} is {outside} outside, {count} ids"

    def command(self) -> str:
        """As unshare(1) would do it, for uids and gids alike."""
        words = ["unshare --user"]
        for option, text in (("users", self.uids), ("groups", self.gids)):
            extents = [":".join(line.split()) for line in text.split("\n") if line]
            words += [f"--map-{option}={each}" for each in extents]
        return " ".join(words)

    def execute(self, context: Builder) -> None:
        """Make it."""
        # An ordinary user may only write the maps of a process that is dumpable.
        unshare.set_dumpable(self.deny_setgroups or self.by_programs)
        ours, theirs = socket.socketpair()
        child = os.fork()
        if not child:
            ours.close()
            _hold_user_namespace(theirs)
        try:
            theirs.close()
            _raise(int.from_bytes(ours.recv(4), "little"))
            proc = procfs.ProcFs().open(child)
            try:
                if self.deny_setgroups:
                    unshare.deny_setgroups(proc)
                if self.by_programs:
                    subordinate.write_maps(child, self.uids, self.gids)
                else:
                    unshare.write_id_map(proc, "uid", self.uids)
                    unshare.write_id_map(proc, "gid", self.gids)
                context.userns = os.open("ns/user", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc)
            finally:
                os.close(proc)
        except OSError as error:
            hint = "nsctl doctor userns says what forbids it"
            if error.errno == errno.ENOSPC:
                hint = "user.max_user_namespaces, here or further out, allows no more of them"
            raise translate(error, "make", "a user namespace", hint) from error
        finally:
            ours.close()
            os.waitpid(child, 0)
        unshare.set_dumpable(False)


def _raise(number: int) -> None:
    """Raise what a child reported, 0 for nothing."""
    if number:
        raise OSError(number, os.strerror(number))


def _hold_user_namespace(channel: socket.socket) -> None:
    """The child's part: leave for a new user namespace, say so, wait to be let go; never returns."""
    number = 0
    try:
        unshare.unshare(NamespaceType.USER.clone_flag)
    except OSError as error:
        number = error.errno or 0
    channel.send(number.to_bytes(4, "little"))
    channel.recv(1)
    os._exit(0)


class TakeUserNamespace(NamedTuple):
    """Take another container's user namespace for this one.

    Attributes:
        name: the other container.
    """

    name: str

    def describe(self) -> str:
        """The work in one line."""
        return f"take the user namespace of {self.name}"

    def command(self) -> str:
        """There is no command for taking without entering."""
        return ""

    def execute(self, context: Builder) -> None:
        """Take the descriptor that whoever started the builder opened."""
        unshare.set_dumpable(False)
        context.userns = context.others[NamespaceType.USER]


class JoinNamespace(NamedTuple):
    """Join one namespace of another container.

    Attributes:
        kind: its type.
        name: the other container.
    """

    kind: NamespaceType
    name: str

    def describe(self) -> str:
        """The work in one line."""
        return f"join the {self.kind.word} namespace of {self.name}"

    def command(self) -> str:
        """As nsenter(1) would do it."""
        return f"nsenter --{_LONG_OPTIONS[self.kind]}=/proc/PID/ns/{self.kind}"

    def execute(self, context: Builder) -> None:
        """Join it."""
        try:
            unshare.setns(context.others[self.kind], self.kind.clone_flag)
        except OSError as error:
            raise translate(
                error, "join", f"the {self.kind.word} namespace of {self.name}"
            ) from error


class PrepareProc(NamedTuple):
    """Make a detached procfs of another container's PID namespace.

    Attributes:
        name: the other container.
        attributes: MOUNT_ATTR_* bits.
    """

    name: str
    attributes: int

    def describe(self) -> str:
        """The work in one line."""
        return f"make a detached proc of {self.name}"

    def command(self) -> str:
        """There is no command for a detached mount."""
        return ""

    def execute(self, context: Builder) -> None:
        """Make it by naming the namespace (6.18), else by a child that is in it."""
        fs = mount.fsopen("proc")
        try:
            mount.fsconfig_set_string(fs, "source", "proc")
            try:
                mount.fsconfig_set_fd(fs, "pidns", context.others[NamespaceType.PID])
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                context.prepared["proc"] = proc_by_child(self.attributes)
                return
            mount.fsconfig_create(fs)
            context.prepared["proc"] = mount.fsmount(fs, self.attributes)
        except OSError as error:
            raise translate(error, "make", f"a proc of {self.name}") from error
        finally:
            os.close(fs)


def proc_by_child(attributes: int) -> int:
    """Make a detached procfs in a child, which is in the PID namespace that was joined.

    Args:
        attributes: MOUNT_ATTR_* bits.

    Returns:
        Descriptor of the mount's root, which the caller closes.

    Raises:
        OSError: the kernel refused.
    """
    ours, theirs = socket.socketpair()
    child = os.fork()
    if not child:
        status = 1
        try:
            fs = mount.fsopen("proc")
            mount.fsconfig_set_string(fs, "source", "proc")
            mount.fsconfig_create(fs)
            socket.send_fds(theirs, [b"x"], [mount.fsmount(fs, attributes)])
            status = 0
        except OSError as error:
            status = error.errno or 1
        finally:
            os._exit(status)
    theirs.close()
    with ours:
        _, fds, _, _ = socket.recv_fds(ours, 1, 1)
    _, status = os.waitpid(child, 0)
    _raise(os.waitstatus_to_exitcode(status))
    return fds[0]


class EnterUserNamespace(NamedTuple):
    """Enter the container's user namespace and become its root; the host's powers end here.

    Attributes:
        set_groups: that namespace lets its root set groups, which become none.
    """

    set_groups: bool

    def describe(self) -> str:
        """The work in one line."""
        return "enter the user namespace and become its root"

    def command(self) -> str:
        """As nsenter(1) would do it."""
        return "nsenter --user=/proc/PID/ns/user --setuid 0 --setgid 0"

    def execute(self, context: Builder) -> None:
        """Enter it; what a change of credentials undoes is done again."""
        try:
            unshare.setns(context.userns, NamespaceType.USER.clone_flag)
            if self.set_groups:
                os.setgroups([])
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
        except OSError as error:
            raise translate(error, "enter", "the container's user namespace") from error
        unshare.set_dumpable(False)
        unshare.set_parent_death_signal(signal.SIGKILL)
        # What the signal missed while it was not armed shows on the channel.
        context.send({"entered": True}, [])


class Unshare(NamedTuple):
    """Make new namespaces.

    Attributes:
        kinds: their types; PID and time namespaces begin with the next child.
    """

    kinds: tuple[NamespaceType, ...]

    def describe(self) -> str:
        """The work in one line."""
        return f"make new namespaces: {', '.join(kind.word for kind in self.kinds)}"

    def command(self) -> str:
        """As unshare(1) would do it."""
        return "unshare " + " ".join(f"--{_LONG_OPTIONS[kind]}" for kind in self.kinds)

    def execute(self, context: Builder) -> None:  # noqa: ARG002  (every step takes one)
        """Make them."""
        flags = 0
        for kind in self.kinds:
            flags |= kind.clone_flag
        try:
            unshare.unshare(flags)
        except OSError as error:
            raise translate(error, "make", "new namespaces", "see nsctl doctor") from error


class TimeOffset(NamedTuple):
    """Set a clock's offset in the new time namespace, before its first process is born.

    Attributes:
        clock: "monotonic" or "boottime".
        nanoseconds: the offset.
    """

    clock: str
    nanoseconds: int

    def describe(self) -> str:
        """The work in one line."""
        return f"set the {self.clock} clock off by {self.nanoseconds / 1e9:g} s"

    def command(self) -> str:
        """As a shell would do it."""
        seconds, rest = divmod(self.nanoseconds, 1_000_000_000)
        return f"echo {self.clock} {seconds} {rest} >/proc/self/timens_offsets"

    def execute(self, context: Builder) -> None:
        """Set it."""
        try:
            unshare.write_time_offset(context.offsets, self.clock, self.nanoseconds)
        except OSError as error:
            raise translate(error, "set", f"the offset of the {self.clock} clock") from error


class NewMountNamespace(NamedTuple):
    """Make the mount namespace, owned by the container's user namespace."""

    def describe(self) -> str:
        """The work in one line."""
        return "make a new mount namespace"

    def command(self) -> str:
        """As unshare(1) would do it."""
        return "unshare --mount --propagation unchanged"

    def execute(self, context: Builder) -> None:
        """Make it.

        A working directory becomes the same place in the new namespace, which a path would
        lead to only for somebody who may pass through all directories above it.
        """
        try:
            os.fchdir(context.storage_outside)
            unshare.unshare(NamespaceType.MNT.clone_flag)
            context.storage = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            os.chdir("/")
            own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
            context.send({"mnt_ns_id": nsfs.get_id(own) or 0}, [])
            os.close(own)
        except OSError as error:
            raise translate(error, "make", "a mount namespace") from error

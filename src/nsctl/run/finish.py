"""The last steps: the container's terminal and standard streams, and the end of all powers."""

from __future__ import annotations

import os
import shlex
import signal

from nsctl.child import plan
from nsctl.errors import translate
from nsctl.kernel import mount, pty, unshare
from nsctl.model import capabilities
from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets
from nsctl.mounting.context import check_device
from nsctl.run.context import NULL, TERMINAL, Builder


class Terminal(NamedTuple):
    """Make a terminal in the container's own devpts and pass its other end out."""

    def describe(self) -> str:
        """The work in one line."""
        return "make a terminal in the container's own devpts"

    def command(self) -> str:
        """There is no command for it."""
        return ""

    def execute(self, context: Builder) -> None:
        """Make it, by descriptor, and lead a session that it controls."""
        try:
            master, context.terminal = pty.open_pair(context.mounts["/dev/pts"])
            try:
                context.send({"terminal": True}, [master])
            finally:
                os.close(master)
            os.setsid()
            pty.make_controlling(context.terminal)
        except OSError as error:
            raise translate(error, "make", "a terminal") from error


class BorrowedTerminal(NamedTuple):
    """Lead a session that a terminal controls which the starter made in a devpts of its own.

    Attributes:
        number: the standard stream that it is.
    """

    number: int

    def describe(self) -> str:
        """The work in one line."""
        return "take a terminal that was made in the devpts of whoever starts the container"

    def command(self) -> str:
        """As setsid(1) does it."""
        return "setsid --ctty"

    def execute(self, context: Builder) -> None:
        """Do it."""
        try:
            context.terminal = self.number
            os.setsid()
            pty.make_controlling(self.number)
        except OSError as error:
            raise translate(error, "take", "a terminal") from error


class LastStage(NamedTuple):
    """Give up every power that the command does not get, and become it.

    Attributes:
        argv: the command.
        env: its environment, NAME=VALUE.
        cwd: where it starts.
        sets: its capabilities.
        seccomp: with the filter that was compiled.
        no_new_privs: set-uid programs give nothing.
        groups: its supplementary groups; None where its user namespace lets nobody set any.
        dies_with_parent: it is killed when the builder dies.
        uid: its user, inside.
        gid: its group, inside.
        umask: its umask.
        init: it is the child of a process of ours that reaps and passes signals on.
        rlimits: RLIMIT_* number, soft and hard limit of each.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    sets: CapabilitySets
    seccomp: bool
    no_new_privs: bool
    groups: tuple[int, ...] | None
    dies_with_parent: bool
    uid: int = 0
    gid: int = 0
    umask: int = 0o022
    init: bool = True
    rlimits: tuple[tuple[int, int, int], ...] = ()

    def describe(self) -> str:
        """The work in one line."""
        powers = ["capabilities"]
        if (self.uid, self.gid) != (0, 0):
            powers.insert(0, f"user {self.uid}:{self.gid}")
        if self.no_new_privs:
            powers.append("no_new_privs")
        if self.seccomp:
            powers.append("the seccomp filter")
        stays = "" if self.init else " as PID 1 itself"
        return f"apply {', '.join(powers)}, and run {shlex.join(self.argv)}{stays}"

    def command(self) -> str:
        """As capsh(1) and setpriv(1) would do the part of it that they can."""
        options = "--no-new-privs " if self.no_new_privs else ""
        user = f"--reuid {self.uid} --regid {self.gid}"
        bounding = f"--bounding-set {_listed(self.sets.bounding)}"
        groups = f"--groups {','.join(map(str, self.groups))}" if self.groups else "--clear-groups"
        return f"setpriv {options}{user} {groups} {bounding} {shlex.join(self.argv)}"

    def execute(self, context: Builder) -> None:
        """Write the plan of the last stage and execute it."""
        text = plan.Plan(
            argv=tuple(os.fsencode(word) for word in self.argv),
            env=tuple(os.fsencode(pair) for pair in self.env),
            mode="init" if self.init else "exec",
            stdio=_streams(context),
            go=context.go,
            parent=context.parent if self.dies_with_parent else None,
            setsid=context.terminal < 0,
            keyring=b"",
            limits=tuple(plan.Limit(*limit) for limit in self.rlimits),
            umask=self.umask,
            cwd=os.fsencode(self.cwd),
            capabilities=self.sets,
            groups=self.groups,
            gid=self.gid,
            uid=self.uid,
            death_signal=signal.SIGKILL if self.dies_with_parent else None,
            no_new_privs=self.no_new_privs,
            filters=context.filters if self.seccomp else (),
        )
        if not self.dies_with_parent:
            unshare.set_parent_death_signal(0)
        context.finish(text, context.report)


def _listed(mask: int) -> str:
    """Write a set of capabilities as setpriv(1) takes it."""
    held = [name.removeprefix("CAP_").lower() for name in capabilities.names(mask)]
    return ",".join(["-all", *(f"+{name}" for name in held)])


def _streams(context: Builder) -> tuple[int, int, int]:
    """Choose the standard streams: as they are, the null device, or the terminal."""
    null = -1
    chosen = []
    for number, stream in enumerate(context.streams):
        if stream == TERMINAL:
            chosen.append(context.terminal)
        elif stream == NULL:
            if null < 0:
                null = _open_null(context)
            chosen.append(null)
        else:
            chosen.append(number)
    return chosen[0], chosen[1], chosen[2]


def _open_null(context: Builder) -> int:
    """Open the null device of the new /dev, or of the mount namespace that was not left."""
    dev = context.mounts.get("/dev", mount.AT_FDCWD)
    name = "/dev/null" if dev == mount.AT_FDCWD else "null"
    try:
        null = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dev)
    except OSError as error:
        raise translate(error, "open", "the container's /dev/null") from error
    check_device(null, "the container's /dev/null", 1, 3)
    return null

"""The last steps: the container's terminal and standard streams, and the end of all powers."""

from __future__ import annotations

import os
import shlex
import signal
from typing import NamedTuple

from nsctl.child import plan
from nsctl.errors import translate
from nsctl.kernel import mount, pty, unshare
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


class LastStage(NamedTuple):
    """Give up every power that the command does not get, and become it.

    Attributes:
        argv: the command.
        env: its environment, NAME=VALUE.
        cwd: where it starts.
        capabilities: what it may have at most, a bit mask.
        seccomp: with the default filter.
        no_new_privs: set-uid programs give nothing.
        set_groups: its user namespace lets it set its groups, which become none.
        dies_with_parent: it is killed when the builder dies.
    """

    argv: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    capabilities: int
    seccomp: bool
    no_new_privs: bool
    set_groups: bool
    dies_with_parent: bool

    def describe(self) -> str:
        """The work in one line."""
        powers = ["capabilities"]
        if self.no_new_privs:
            powers.append("no_new_privs")
        if self.seccomp:
            powers.append("the seccomp filter")
        return f"apply {', '.join(powers)}, and run {shlex.join(self.argv)}"

    def command(self) -> str:
        """As capsh(1) and setpriv(1) would do the part of it that they can."""
        options = "--no-new-privs " if self.no_new_privs else ""
        return f"setpriv {options}--reuid 0 --regid 0 {shlex.join(self.argv)}"

    def execute(self, context: Builder) -> None:
        """Write the plan of the last stage and execute it."""
        held = self.capabilities
        text = plan.Plan(
            argv=tuple(os.fsencode(word) for word in self.argv),
            env=tuple(os.fsencode(pair) for pair in self.env),
            init=True,
            stdio=_streams(context),
            go=context.go,
            parent=context.parent if self.dies_with_parent else None,
            setsid=context.terminal < 0,
            keyring=b"",
            umask=0o022,
            cwd=os.fsencode(self.cwd),
            capabilities=CapabilitySets(0, held, held, held, 0),
            groups=() if self.set_groups else None,
            gid=0,
            uid=0,
            death_signal=signal.SIGKILL if self.dies_with_parent else None,
            no_new_privs=self.no_new_privs,
            filters=context.filters if self.seccomp else (),
        )
        if not self.dies_with_parent:
            unshare.set_parent_death_signal(0)
        context.finish(text, context.report)


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

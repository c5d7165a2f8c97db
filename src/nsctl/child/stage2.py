"""The last stage of a helper: opened outside, executed as the last thing inside.

How a command that builds or enters a container uses it::

    with open_last_stage() as stage:                    # anywhere, also in a threaded program
        posix_spawn(stage.executable, [sys.executable, "-I", "-m", HELPER, ...],
                    file_actions=[... stage.program, the report's writing end, go, ...])
    # in the helper, single-threaded, at its start, where imports are still safe:
    finish = prepare(program)                           # the descriptor, or None
    # in the helper, in the new namespaces and the new root:
    finish(Plan(...), report)                           # does not return
    # meanwhile outside, where no other writing end of the report is open:
    await_ready(report)     # all applied: move it into cgroups, publish its state
    os.write(go, b"!")
    await_start(report)     # the command runs

The ``with`` ends before ``go`` is given: a clone of the interpreter protects only once nothing
holds it open, so it is not handed to the helper. That one gets ``stage.program`` under any number,
or is told that there is none; then the Python twin runs, in the helper itself: a second interpreter started inside would load the
container's run-time linker.
"""

from __future__ import annotations

import errno
import fcntl
import os
import sys

from nsctl.child.plan import Plan, check
from nsctl.errors import NsctlError, translate
from nsctl.kernel import executable
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType
    from typing import NoReturn, Self

_NATIVE = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "native")
_NAME = b"nsctl-init"
_SHOWN = 256
_SHOWN_WORDS = 16


class LastStage(NamedTuple):
    """What a helper's last stage is on this machine; one of the two is set.

    Attributes:
        program: descriptor of stage2, sealed, for `exec_stage2`.
        interpreter: descriptor of an interpreter to start the helper from, where there is no
            stage2 for this machine; not to be inherited.
    """

    program: int | None
    interpreter: int | None

    @property
    def executable(self) -> str:
        """Path of the interpreter to start the helper from; its argv[0] is sys.executable."""
        if self.interpreter is None:
            return sys.executable
        return executable.path_of(self.interpreter)

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the descriptor."""
        for fd in self:
            if fd is not None:
                os.close(fd)


def object_path(machine: str = "") -> str:
    """Name the file that holds stage2 for a machine.

    Args:
        machine: as in uname(2); "" for this one.

    Returns:
        Its path, or "" where the package has none.
    """
    path = os.path.join(_NATIVE, f"stage2.{machine or os.uname().machine}")
    return path if os.path.exists(path) else ""


def open_stage2(machine: str = "") -> int:
    """Put stage2 where nobody can overwrite it.

    Args:
        machine: as in uname(2); "" for this one.

    Returns:
        A descriptor for `exec_stage2`, close-on-exec: a sealed memfd, or a private copy where
        vm.memfd_noexec=2 refuses one (sysctl vm, mfd_noexec).

    Raises:
        NsctlError: the package has none for the machine.
        KernelRefusal: it can be put nowhere.
    """
    path = object_path(machine)
    if not path:
        raise NsctlError(
            "open", "the last stage", f"there is none for {machine or os.uname().machine}"
        )
    with open(path, "rb") as file:
        return _guarded("nsctl-stage2", file.read())


def open_last_stage(*, twin: bool = False) -> LastStage:
    """Open the last stage that this machine has.

    Args:
        twin: take the Python twin where there is a stage2, too.

    Returns:
        A context manager, which closes the descriptor.

    Raises:
        KernelRefusal: it can be put nowhere where nobody overwrites it.
    """
    if object_path() and not twin:
        return LastStage(open_stage2(), None)
    try:
        return LastStage(None, executable.read_only_clone())
    except OSError:
        # An ordinary user may not clone a mount.
        return LastStage(None, _guarded("nsctl-python", executable.own_executable()))


def _guarded(name: str, content: bytes) -> int:
    try:
        try:
            return executable.sealed_copy(name, content)
        except OSError as error:
            if error.errno != errno.EACCES:
                raise
            return executable.private_copy(content)
    except OSError as error:
        raise translate(error, "protect", "the last stage from being overwritten") from error


def prepare(program: int | None) -> Callable[[Plan, int], NoReturn]:
    """Import what the last stage needs, while imports still load the host's code.

    Args:
        program: from `open_stage2`, or None for the Python twin.

    Returns:
        `exec_stage2` for the program, or the twin's `nsctl.child.laststage.run`: called with the
        plan and the report's writing end.
    """
    if program is None:
        from nsctl.child import laststage

        return laststage.run
    return lambda plan, report: exec_stage2(program, plan, report)


def exec_stage2(program: int, plan: Plan, report: int) -> NoReturn:
    """Become the last stage. For single-threaded helpers only.

    Args:
        program: from `open_stage2`.
        plan: what to apply. Descriptors in it are those of the calling process.
        report: writing end of the report (`nsctl.child.report`), which the command does not get;
            -1 where the plan has the words in which a failure is said.

    Raises:
        NsctlError: the plan cannot be written, or a descriptor in it serves two purposes.
        KernelRefusal: the last stage could not be executed.
    """
    text = check(plan, report)
    own = [fd for fd in (plan.go,) if fd is not None] + [*plan.own_descriptors]
    own += [join.fd for join in plan.namespaces] + ([report] if report >= 0 else [])
    try:
        description = executable.data_memfd("nsctl-plan", text)
        number = fcntl.fcntl(description, fcntl.F_DUPFD, 3)
        os.set_inheritable(program, False)  # noqa: FBT003  (positional only)
        for passed in (*own, *(plan.keep or ()), *(plan.stdio or ())):
            os.set_inheritable(passed, True)  # noqa: FBT003  (positional only)
        if plan.capabilities is not None and os.geteuid() != 0:
            _keep_powers()
        # Its arguments are for whoever lists processes; long ones would only hide others.
        words = [word[:_SHOWN] for word in plan.argv[:_SHOWN_WORDS]]
        passed_on = {b"PLAN": b"%d" % number}
        if report >= 0:
            passed_on[b"REPORT"] = b"%d" % report
        os.execve(program, [_NAME, *words], passed_on)  # noqa: S606  (our own program)
    except OSError as error:
        raise translate(error, "execute", "the last stage") from error


def spawn(
    program: int, variables: dict[bytes, int], passed: Iterable[int], words: Iterable[bytes] = ()
) -> int:
    """Start stage2 as a child, without a fork of this process, which may have threads.

    Args:
        program: from `open_stage2`.
        variables: its environment: what is a number of a descriptor or a process.
        passed: descriptors that it gets under the same numbers, besides the standard streams.
        words: its arguments, for whoever lists processes, and for its readers.

    Returns:
        Its PID; the caller waits for it.

    Raises:
        KernelRefusal: it could not be started.
    """
    # To itself: posix_spawn(3) takes off close-on-exec then.
    actions = [(os.POSIX_SPAWN_DUP2, fd, fd) for fd in dict.fromkeys(passed)]
    values = {name: b"%d" % number for name, number in variables.items()}
    try:
        return os.posix_spawn(
            executable.path_of_own(program), [_NAME, *words], values, file_actions=actions
        )
    except OSError as error:
        raise translate(error, "execute", "the last stage") from error


def spawn_stage2(program: int, plan: Plan, report: int) -> int:
    """Start stage2 with a plan as a child of this process.

    Args:
        program: from `open_stage2`.
        plan: what to apply. Descriptors in it are those of the calling process.
        report: writing end of the report.

    Returns:
        Its PID; the caller waits for it, and in mode "enter" for its command too.

    Raises:
        NsctlError: as `exec_stage2` does.
    """
    text = check(plan, report)
    try:
        description = executable.data_memfd("nsctl-plan", text)
        try:
            number = fcntl.fcntl(description, fcntl.F_DUPFD_CLOEXEC, 3)
        finally:
            os.close(description)
    except OSError as error:
        raise translate(error, "write", "the plan of the last stage") from error
    own = [fd for fd in (plan.go,) if fd is not None] + [*plan.own_descriptors]
    joined = [join.fd for join in plan.namespaces]
    passed = [number, report, *own, *joined, *(plan.keep or ())]
    passed += [fd for fd in plan.stdio or () if fd > 2]
    words = [word[:_SHOWN] for word in plan.argv[:_SHOWN_WORDS]]
    try:
        return spawn(program, {b"PLAN": number, b"REPORT": report}, passed, words)
    finally:
        os.close(number)


def _keep_powers() -> None:
    """Carry the permitted set over exec, which gives it to root alone (capabilities(7))."""
    from nsctl.kernel import process  # takes 2 ms, and is for whoever becomes the last stage

    held = process.capget()
    process.capset(held._replace(inheritable=held.permitted))
    for capability in range(held.permitted.bit_length()):
        if held.permitted >> capability & 1:
            process.raise_ambient(capability)

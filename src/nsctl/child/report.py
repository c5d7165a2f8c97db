"""What the last stage reports to whoever waits for it, and how that is read.

A report is a pipe or stream socket. The last stage writes records of three little-endian words:
step, error number, detail. The first one is READY, once everything in the plan is applied and it
waits for its go, or a failure. After READY follows the end of file when the command runs (exec has
closed the descriptor), or one more failure. An end without READY means that the last stage was
killed. ``native/report.h`` has the same steps in its enumeration: change the two together.
"""

from __future__ import annotations

import errno as _errno
import os
import struct

from nsctl.errors import (
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    EXIT_REFUSED_BEFORE_START,
    KernelRefusal,
)
from nsctl.model.record import NamedTuple

RECORD = struct.Struct("<III")


class Step(NamedTuple):
    """A step of the last stage, in words for its refusal.

    Attributes:
        name: as in native/report.h.
        operation: what was being done.
        subject: to what; {} stands for the detail.
        hint: what would help, or "".
    """

    name: str
    operation: str
    subject: str
    hint: str = ""


STEPS = (
    Step("READY", "", ""),
    Step("PLAN", "read", "the plan of the last stage (byte {})"),
    Step("DUMPABLE", "close", "the last stage's memory to others"),
    Step("DESCRIPTORS", "arrange", "descriptor {}"),
    Step("LABEL", "set", "the security label of the command"),
    Step("NAMESPACES", "join", "the namespaces"),
    Step("VIEW", "make", "a view of the host with the container's network"),
    Step("ROOT", "change to", "the root directory"),
    Step("DIRECTORY", "change to", "the working directory"),
    Step("CGROUP", "join", "the control group"),
    Step("TERMINAL", "make", "a terminal"),
    Step("SESSION", "make", "a new session"),
    Step("KEYRING", "join", "a new session keyring"),
    Step("LIMITS", "set", "resource limit {}", "raising a hard limit needs CAP_SYS_RESOURCE"),
    Step("CWD", "change to", "the working directory"),
    Step("BOUNDING", "drop", "capability {} from the bounding set"),
    Step("GROUPS", "set", "the supplementary groups"),
    Step("GID", "set", "the group id", "it must be mapped in the user namespace"),
    Step("UID", "set", "the user id", "it must be mapped in the user namespace"),
    Step(
        "CAPABILITIES",
        "set",
        "the capability sets",
        "none can be given that the caller lacks",
    ),
    Step("AMBIENT", "raise", "ambient capability {}"),
    Step("SECUREBITS", "set", "the securebits"),
    Step("DEATH_SIGNAL", "ask for", "the parent's death signal"),
    Step("PARENT", "start", "the command, whose parent has ended"),
    Step("NO_NEW_PRIVS", "set", "no_new_privs"),
    Step("FILTER", "load", "seccomp filter {}"),
    Step(
        "LAST_CAPABILITIES",
        "set",
        "the capability sets",
        "a seccomp filter may refuse capset",
    ),
    Step("GO", "start", "the command"),
    Step("FORK", "make", "the command's process"),
    Step("SIGNALS", "unblock", "the signals"),
    Step("EXEC", "execute", "the command"),
    Step("TRACE", "read", "the seccomp filters"),
    Step("FILE", "read", "a file"),
)
"""All steps, each at the place of its number."""

NUMBERS = {step.name: number for number, step in enumerate(STEPS)}
"""Number of each step by its name."""


class Failure(KernelRefusal):
    """The last stage could not do a step; the command did not run.

    Attributes:
        step: name of the step, see `STEPS`.
        detail: which of several (a limit, a capability, a filter), 0 where there is but one.
        exit_status: 127 for a command that was not found, 126 for one that cannot be executed,
            125 for everything before.
    """

    def __init__(self, step: str, number: int, detail: int = 0) -> None:
        words = STEPS[NUMBERS[step]]
        name = _errno.errorcode.get(number, f"error {number}")
        super().__init__(
            words.operation,
            words.subject.format(detail),
            f"{os.strerror(number)} ({name})",
            words.hint,
            errno=number,
        )
        self.step = step
        self.detail = detail
        self.exit_status = EXIT_REFUSED_BEFORE_START
        if step == "EXEC":
            self.exit_status = EXIT_NOT_FOUND if number == _errno.ENOENT else EXIT_NOT_EXECUTABLE


def await_ready(report: int) -> None:
    """Wait until the last stage has applied its plan.

    Args:
        report: the reading end; no writing end may be open here.

    Raises:
        Failure: it could not.
        KernelRefusal: it was killed meanwhile.
    """
    if not _read_record(report):
        raise KernelRefusal(
            "start",
            "the command",
            "the last stage ended without a word; it was killed",
            errno=_errno.ECHILD,
        )


def await_start(report: int) -> None:
    """Wait until the command runs, after `await_ready`.

    That the command was killed between its go and its exec cannot be told from one that was
    killed just after; either way its exit status says so.

    Args:
        report: the reading end.

    Raises:
        Failure: it could not be started.
    """
    if _read_record(report):
        raise KernelRefusal("start", "the command", "the last stage reported out of turn")


def _read_record(report: int) -> bool:
    """Read one record; True for READY, False at the end."""
    text = b""
    while len(text) < RECORD.size:
        more = os.read(report, RECORD.size - len(text))
        if not more:
            break
        text += more
    return understand(text)


def understand(text: bytes) -> bool:
    """Understand one record, or the end of a report.

    Args:
        text: the record; b"" at the end.

    Returns:
        True for READY, False at the end.

    Raises:
        Failure: the record tells of one.
        KernelRefusal: it is no record.
    """
    if not text:
        return False
    if len(text) < RECORD.size:
        raise KernelRefusal("start", "the command", "the last stage's report ends early")
    if len(text) > RECORD.size:
        raise KernelRefusal("start", "the command", "the last stage's report is no record")
    step, number, detail = RECORD.unpack(text)
    if step >= len(STEPS):
        raise KernelRefusal("start", "the command", f"the last stage reported step {step}")
    if step:
        raise Failure(STEPS[step].name, number, detail)
    return True

"""Why entering was refused: what, of which namespace, for which cause, and what would help."""

from __future__ import annotations

import errno
import os

from nsctl.child.report import Failure
from nsctl.errors import NsctlError, Vanished, refused
from nsctl.kernel import nsfs
from nsctl.kernel.pidfd import has_ended
from nsctl.model.namespace import TYPES, NamespaceType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.enter.entry import Prepared


def explained(error: NsctlError, prepared: Prepared) -> NsctlError:
    """Say in words of the target what the last stage reported.

    Args:
        error: what stopped it.
        prepared: what was to be done.

    Returns:
        The same error with better words, or another that is nearer to the cause.
    """
    process = prepared.request.process
    if not isinstance(error, Failure):
        return error
    if process is not None and error.step in {"NAMESPACES", "FORK"} and has_ended(process.pidfd):
        return Vanished("enter", process.text, f"its process {process.pid} has ended")
    change = _CHANGES.get(error.step)
    if change is not None:
        change(error, prepared)
    return error


def _namespaces(error: Failure, prepared: Prepared) -> None:
    kinds = [kind for kind in TYPES if kind in prepared.joining.kinds]
    process = prepared.request.process
    names = ", ".join(kind.word for kind in kinds)
    error.subject = f"the {names} namespace{'s' if len(kinds) > 1 else ''}"
    if prepared.request.target is not None:
        error.subject += f" of {prepared.request.target.text}"
    if error.errno == errno.EPERM and process is not None:
        culprit = _without_rights(process.proc, kinds)
        if culprit:
            error.cause, error.hint = culprit
    elif error.errno == errno.EINVAL:
        error.hint = (
            "a PID or user namespace can only be entered from outside: this process is in it, "
            "or below it"
        )
    elif error.errno == errno.ENOSPC:
        error.hint = "a limit of user.max_*_namespaces in sysctl(8) is reached"


def _without_rights(proc_fd: int, kinds: list[NamespaceType]) -> tuple[str, str] | None:
    """Find the first namespace over which the caller has no rights, and whose it is."""
    for kind in kinds:
        try:
            fd = os.open(f"ns/{kind}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        except OSError as error:
            if not refused(error):
                continue
            return f"its {kind.word} namespace may not be opened", "become root"
        try:
            owner = fd if kind == NamespaceType.USER else nsfs.get_userns(fd)
            try:
                uid = nsfs.get_owner_uid(owner)
                own = nsfs.inode(owner) == os.stat("/proc/self/ns/user").st_ino
            finally:
                if owner != fd:
                    os.close(owner)
        except OSError:
            # The kernel does not tell who lies outside one's own user namespace.
            return (
                f"its {kind.word} namespace belongs to a user namespace outside of yours",
                "enter from outside, as root of the host",
            )
        finally:
            os.close(fd)
        if own:
            return (
                f"you lack CAP_SYS_ADMIN in your own user namespace, which its {kind.word} one is of",
                "become root",
            )
        if uid != os.geteuid():
            return (
                f"its {kind.word} namespace belongs to a user namespace of user {uid}",
                f"become that user, or root: sudo -u '#{uid}' nsctl enter ..",
            )
    return None


def _fork(error: Failure, prepared: Prepared) -> None:
    error.operation, error.subject = "make", "a process in the PID namespace"
    if prepared.request.target is not None:
        error.subject += f" of {prepared.request.target.text}"
    if error.errno == errno.ENOMEM:
        error.hint = "its first process has ended: the namespace takes no more processes"
    elif error.errno == errno.EAGAIN:
        error.hint = "a limit on processes is reached, of your control group or of the user"
    elif error.errno in {errno.EPERM, errno.ENOSYS}:
        error.hint = "a seccomp filter of the target's refuses clone(2): try --filters none"


def _cwd(error: Failure, prepared: Prepared) -> None:
    where = os.fsdecode(prepared.plan.cwd or b"")
    error.subject = f"the working directory {where}"
    if error.errno == errno.EXDEV:
        error.cause = "it lies outside the root that was entered"
    error.hint = "choose another: --wdns=DIRECTORY"


def _exec(error: Failure, prepared: Prepared) -> None:
    command = os.fsdecode(prepared.plan.argv[0])
    error.subject = f"the command {command}"
    inside = prepared.joining.has(NamespaceType.MNT)
    if error.errno == errno.ENOENT:
        where = "there" if inside else "here"
        error.hint = f"it, or the interpreter that it names, is missing {where}"
        if inside:
            error.hint += "; -n alone runs the host's own programs in its network"
    elif error.errno == errno.ENOEXEC:
        error.hint = "it is no program of this machine, and no script with a first line #!"


def _user(error: Failure, prepared: Prepared) -> None:
    uid, gid = prepared.plan.uid, prepared.plan.gid
    error.subject = f"user {uid}" if error.step == "UID" else f"group {gid}"
    error.operation = "become"


def _filter(error: Failure, _prepared: Prepared) -> None:
    if error.errno in {errno.EACCES, errno.EPERM}:
        error.hint = "an earlier filter refuses seccomp(2) and prctl(2): try --filters none"


def _capabilities(error: Failure, _prepared: Prepared) -> None:
    if error.step == "LAST_CAPABILITIES":
        error.hint = "a seccomp filter of the target's refuses capset(2): try --filters none"


def _label(error: Failure, _prepared: Prepared) -> None:
    error.hint = "no policy here allows it, or the module that gave the label is not loaded"


_CHANGES = {
    "NAMESPACES": _namespaces,
    "FORK": _fork,
    "CWD": _cwd,
    "EXEC": _exec,
    "UID": _user,
    "GID": _user,
    "FILTER": _filter,
    "LAST_CAPABILITIES": _capabilities,
    "LABEL": _label,
}

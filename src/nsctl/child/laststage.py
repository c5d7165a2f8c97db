"""The last stage in Python, for machines that native/stage2 is not built for.

What enters is stage2's alone. The same plan, order, report and exit statuses as native/stage2.c, which explains the order; change
the two together. It runs inside the helper, which was started from an executable that nobody can
overwrite (`nsctl.child.stage2`). What differs: as PID 1 it stays unreadable for others, since the
memory of the helper that it was may hold what the container should not see.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import resource
import signal
from collections.abc import Iterator

from nsctl.child.plan import Plan, check
from nsctl.child.report import NUMBERS, RECORD
from nsctl.errors import (
    EXIT_NOT_EXECUTABLE,
    EXIT_NOT_FOUND,
    EXIT_REFUSED_BEFORE_START,
    KernelRefusal,
    NsctlError,
)
from nsctl.kernel import process, seccomp
from nsctl.kernel.pidfd import has_ended
from nsctl.kernel.unshare import set_dumpable, set_parent_death_signal
from nsctl.model.task import CapabilitySets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_SEARCHED = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_PATH_MOST = 4096
_CAP_SETPCAP = 1 << 8
_CAP_SYS_ADMIN = 1 << 21
_SI_KERNEL = 0x80
_NAME = b"nsctl-init"


class _Stopped(Exception):
    """A step failed; carries what goes into the report. Never seen outside this module."""

    def __init__(self, step: str, number: int, detail: int) -> None:
        self.record = RECORD.pack(NUMBERS[step], number, detail)
        super().__init__(step, number, detail)


def run(plan: Plan, report: int) -> NoReturn:
    """Apply a plan and become its command, or the process above it.

    Nothing may be imported from here on, since it would be the code of another root.

    Args:
        plan: what to apply.
        report: writing end of the report.

    Raises:
        NsctlError: as `nsctl.child.plan.check` does, or the plan enters something, which needs
            stage2; nothing has been applied then.
    """
    check(plan, report)
    if plan.enters:
        raise NsctlError("enter", "a container", "this machine has no last stage that could")
    try:
        _stay_unreadable()
        _calm_signals()
        if plan.mode == "init":
            process.set_name(_NAME)
        _arrange_descriptors(plan, report)
        _new_session(plan)
        _new_keyring(plan)
        _set_limits(plan)
        own = _give_up_powers(plan)
        _wait_for_go(plan, report)
        if plan.mode == "init":
            _stay(plan, report, own)
        _execute(plan)
    except _Stopped as stopped:
        _leave(stopped, report)
    finally:
        # A mistake in here is seen as an end without a word; the helper's code must not go on.
        os._exit(EXIT_REFUSED_BEFORE_START)


def _leave(stopped: _Stopped, report: int) -> NoReturn:
    with contextlib.suppress(OSError):  # nobody may be there to be told
        os.write(report, stopped.record)
    step, number, _ = RECORD.unpack(stopped.record)
    if step != NUMBERS["EXEC"]:
        os._exit(EXIT_REFUSED_BEFORE_START)
    os._exit(EXIT_NOT_FOUND if number == errno.ENOENT else EXIT_NOT_EXECUTABLE)


@contextlib.contextmanager
def _step(name: str, detail: int = 0) -> Iterator[None]:
    """Report what fails inside as a failure of this step."""
    try:
        yield
    except OSError as error:
        raise _Stopped(name, error.errno or errno.EIO, detail) from error
    except KernelRefusal as error:
        raise _Stopped(name, error.errno, detail) from error


def _stay_unreadable() -> None:
    with _step("DUMPABLE"):
        set_dumpable(False)


def _calm_signals() -> None:
    everything = signal.valid_signals()
    with _step("SIGNALS"):
        signal.pthread_sigmask(signal.SIG_SETMASK, everything)
    for number in everything - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)


# --- What the process holds ---------------------------------------------------------------------


def _arrange_descriptors(plan: Plan, report: int) -> None:
    own = [fd for fd in (plan.go, plan.parent) if fd is not None]
    for fd in (report, *own):
        with _step("DESCRIPTORS", fd):
            os.set_inheritable(fd, False)  # noqa: FBT003  (positional only)
    for fd in plan.keep or ():
        with _step("DESCRIPTORS", fd):
            os.set_inheritable(fd, True)  # noqa: FBT003  (positional only)
    if plan.stdio is not None:
        moved = []
        for fd in plan.stdio:
            with _step("DESCRIPTORS", fd):
                moved.append(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3))
        for place, fd in enumerate(moved):
            with _step("DESCRIPTORS", place):
                os.dup2(fd, place)
                os.close(fd)
    if plan.keep is not None:
        first = 3
        for fd in sorted({report, *own, *plan.keep}):
            with _step("DESCRIPTORS", first):
                if fd > first:
                    process.close_range(first, fd - 1)
            first = fd + 1
        with _step("DESCRIPTORS", first):
            process.close_range(first)


def _new_session(plan: Plan) -> None:
    if plan.setsid and os.getsid(0) != os.getpid():
        with _step("SESSION"):
            os.setsid()


def _new_keyring(plan: Plan) -> None:
    if plan.keyring is None:
        return
    with _step("KEYRING"):
        try:
            process.join_session_keyring(plan.keyring or None)
        except OSError as error:
            if error.errno != errno.ENOSYS:  # a kernel without keyrings has none that could leak
                raise


def _set_limits(plan: Plan) -> None:
    for limit in plan.limits:
        with _step("LIMITS", limit.resource):
            try:
                resource.setrlimit(limit.resource, (_signed(limit.soft), _signed(limit.hard)))
            except ValueError as error:  # what the module makes of EINVAL and of EPERM
                refused = str(error).startswith("not allowed")
                raise OSError(errno.EPERM if refused else errno.EINVAL, str(error)) from error
    if plan.umask is not None:
        os.umask(plan.umask)


def _signed(limit: int) -> int:
    """Write 64 bits as the module does: the largest number is -1."""
    return limit - (1 << 64) if limit >> 63 else limit


def _change_directory(plan: Plan, *, is_last_try: bool) -> bool:
    if plan.cwd is None:
        return True
    with _step("CWD"):
        try:
            os.chdir(plan.cwd)
        except PermissionError as error:
            if error.errno == errno.EACCES and not is_last_try:
                return False
            raise
        try:
            os.getcwdb()
        except FileNotFoundError as error:  # what the C library makes of "(unreachable)"
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV)) from error
    return True


# --- Who the process is, and what it may do -----------------------------------------------------


def _wanted_powers(plan: Plan, sets: CapabilitySets) -> CapabilitySets:
    uid = os.geteuid() if plan.uid is None else plan.uid
    if uid == 0 and not (plan.securebits or 0) & process.SECBIT_NOROOT:
        return sets._replace(
            bounding=sets.bounding & sets.permitted,
            inheritable=sets.inheritable & sets.permitted,
        )
    return sets


def _lower_bounding_set(bounding: int) -> None:
    for capability in range(64):
        try:
            held = process.has_bounding(capability)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise _Stopped("BOUNDING", error.errno or errno.EIO, capability) from error
            break  # beyond the last that the kernel has
        if held and not bounding >> capability & 1:
            with _step("BOUNDING", capability):
                process.drop_bounding(capability)


def _change_ids(plan: Plan) -> None:
    if plan.groups is not None:
        with _step("GROUPS"):
            os.setgroups(plan.groups)
    if plan.gid is not None:
        with _step("GID"):
            os.setresgid(plan.gid, plan.gid, plan.gid)
    _stay_unreadable()
    if plan.uid is None:
        return
    keeps = plan.capabilities is not None
    with _step("UID"):
        if keeps:
            process.set_keepcaps(keep=True)
        os.setresuid(plan.uid, plan.uid, plan.uid)
        if keeps:
            process.set_keepcaps(keep=False)
    _stay_unreadable()


def _set_powers(sets: CapabilitySets, besides: int, step: str) -> None:
    with _step(step):
        process.capset(
            process.Held(sets.effective | besides, sets.permitted | besides, sets.inheritable)
        )


def _raise_ambient_set(ambient: int) -> None:
    with _step("AMBIENT"):
        process.clear_ambient()
    for capability in range(64):
        if ambient >> capability & 1:
            with _step("AMBIENT", capability):
                process.raise_ambient(capability)


def _die_with(plan: Plan, parent: int | None) -> None:
    if plan.death_signal is not None:
        with _step("DEATH_SIGNAL"):
            set_parent_death_signal(plan.death_signal)
    if parent is None:
        return
    with _step("PARENT", parent):
        if has_ended(parent):
            raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
        os.close(parent)


def _give_up_powers(plan: Plan) -> int | None:
    """Apply what has an order among itself; see native/stage2.c, give_up_powers.

    Returns:
        A pidfd of this process for its child, or None.
    """
    entered = _change_directory(plan, is_last_try=False)
    besides = 0
    wanted = None
    if plan.capabilities is not None:
        wanted = _wanted_powers(plan, plan.capabilities)
        _lower_bounding_set(wanted.bounding)
    _change_ids(plan)
    if wanted is not None:
        if plan.filters and not plan.no_new_privs:
            besides |= _CAP_SYS_ADMIN
        if plan.securebits is not None:
            besides |= _CAP_SETPCAP
        with _step("CAPABILITIES"):
            besides &= process.capget().permitted & ~wanted.effective
        _set_powers(wanted, besides, "CAPABILITIES")
        _raise_ambient_set(wanted.ambient)
    if not entered:
        _change_directory(plan, is_last_try=True)
    if plan.securebits is not None:
        with _step("SECUREBITS"):
            process.set_securebits(plan.securebits)
    own = None
    if plan.mode == "init":
        with _step("FORK"):
            process.set_child_subreaper()
            own = os.pidfd_open(os.getpid())
    _die_with(plan, plan.parent)
    if plan.no_new_privs:
        with _step("NO_NEW_PRIVS"):
            process.set_no_new_privs()
    for place, one in enumerate(plan.filters):
        with _step("FILTER", place):
            seccomp.load(seccomp.Filter(one.program, one.flags, ()))
    if wanted is not None and besides:
        _set_powers(wanted, 0, "LAST_CAPABILITIES")
    return own


# --- The command --------------------------------------------------------------------------------


def _wait_for_go(plan: Plan, report: int) -> None:
    try:
        os.write(report, RECORD.pack(NUMBERS["READY"], 0, 0))
    except OSError:
        os._exit(EXIT_REFUSED_BEFORE_START)  # nobody is there to be told
    if plan.go is None:
        return
    with _step("GO"):
        if not os.read(plan.go, 1):
            raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
        os.close(plan.go)


def _candidates(plan: Plan) -> Iterator[bytes]:
    """Give the paths that execvp(3) would try, in the root that the process is in now."""
    name = plan.argv[0]
    if b"/" in name:
        yield name
        return
    paths = [entry[5:] for entry in plan.env if entry.startswith(b"PATH=")]
    for place in (paths or [_SEARCHED])[0].split(b":"):
        path = place + b"/" + name if place else name
        if name and len(path) < _PATH_MOST:
            yield path


def _execute(plan: Plan) -> NoReturn:
    environment = dict(entry.split(b"=", 1) for entry in plan.env)
    with _step("SIGNALS"):
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
    found = errno.ENOENT
    for path in _candidates(plan):
        try:
            os.execve(path, plan.argv, environment)  # noqa: S606  (a container's command)
        except OSError as error:
            if error.errno == errno.EACCES or b"/" in plan.argv[0]:
                found = error.errno or errno.EIO
            elif error.errno not in {errno.ENOENT, errno.ENOTDIR}:
                raise _Stopped("EXEC", error.errno or errno.EIO, 0) from error
    raise _Stopped("EXEC", found, 0)


def _reap(command: int, options: int) -> None:
    try:
        pid, status = os.waitpid(-1, options)
        while pid:
            if pid == command:
                code = os.waitstatus_to_exitcode(status)
                os._exit(code if code >= 0 else 128 - code)
            pid, status = os.waitpid(-1, options)
    except OSError:
        os._exit(EXIT_REFUSED_BEFORE_START)  # the filters hide the command's end


def _serve(command: int) -> NoReturn:
    """Be PID 1: reap, and pass signals on; see native/stage2.c, serve."""
    everything = signal.valid_signals()
    while True:
        try:
            about = signal.sigwaitinfo(everything)
        except OSError:  # refused by a filter: the command still has an end
            _reap(command, 0)
            continue
        if about.si_signo == signal.SIGCHLD:
            _reap(command, os.WNOHANG)
        elif about.si_code != _SI_KERNEL:
            # ESRCH: the command has just ended. EPERM: it has become another user.
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(command, about.si_signo)


def _stay(plan: Plan, report: int, own: int | None) -> NoReturn:
    with _step("FORK"):
        command = os.fork()
    if command == 0:
        _die_with(plan, own)
        _new_session(plan)
        _execute(plan)
    for fd in (report, own, *(plan.keep or ())):
        if fd is not None:
            os.close(fd)
    _serve(command)

"""Why a user namespace cannot be made here: the one switch that refused, found by trying.

`explain_userns_refusal` turns the refusal that somebody met into words; `examine` tries it and
tells all of the switches. Sources: user_namespaces(7), unshare(2), seccomp(2), chroot(2); the
switches of distributions: Debian's kernel.unprivileged_userns_clone, Ubuntu's
kernel.apparmor_restrict_unprivileged_userns; the hook userns_create of security modules.
"""

from __future__ import annotations

import errno
import json
import threading
from typing import Literal, NamedTuple

from nsctl.diagnose.answer import words_of
from nsctl.diagnose.helper import Outcome, ask
from nsctl.diagnose.userns_trials import TRIALS, Facts
from nsctl.errors import KernelRefusal
from nsctl.kernel.procfs import ProcFs

_CAP_SYS_ADMIN = 21
_REFUSED = frozenset({errno.EPERM, errno.EACCES})
# Modules that have a say when a user namespace is made (userns_create), or are known to have.
_DECIDING = ("selinux", "apparmor", "bpf", "tomoyo", "smack")
_FIRST = ("userns-facts", "userns-create", "userns-use")
_CLONE_SWITCH = "kernel/unprivileged_userns_clone"
_APPARMOR_SWITCH = "kernel/apparmor_restrict_unprivileged_userns"
_LIMIT = "user/max_user_namespaces"

CauseId = Literal[
    "none",
    "kernel",
    "seccomp",
    "unprivileged_userns_clone",
    "chroot",
    "unmapped",
    "max_user_namespaces",
    "further-out",
    "other-limit",
    "apparmor",
    "selinux",
    "bpf",
    "lsm",
    "threads",
    "unknown",
]


class Cause(NamedTuple):
    """What refused.

    Attributes:
        id: which of them; "none" where nothing did.
        words: it, in words.
        allow: the command, or what else, that would allow it; "" where there is none.
    """

    id: CauseId
    words: str
    allow: str = ""


State = Literal["blocks", "restricts", "open", "absent", "unknown"]


class Switch(NamedTuple):
    """One thing that can forbid user namespaces.

    Attributes:
        name: its name.
        value: how it is set, "" where it is not here.
        state: "blocks" (this one refused), "restricts" (set, but not what refused here), "open",
            "absent" (not present here: no finding), "unknown".
        words: what that means.
    """

    name: str
    value: str
    state: State
    words: str


class Examination(NamedTuple):
    """What came of trying.

    Attributes:
        facts: of whom it was tried for.
        can: a user namespace can be made and is of use.
        made: it can be made.
        error: what the kernel said, 0 for nothing.
        cause: what refused.
        switches: all that can forbid it.
        boot_id: of which boot of which host that is, "" where there is no procfs.
    """

    facts: Facts
    can: bool
    made: bool
    error: int
    cause: Cause
    switches: tuple[Switch, ...]
    boot_id: str = ""


def examine(user: tuple[int, int] | None = None) -> Examination:
    """Try to make a user namespace, and find what refused it if it cannot be made.

    Args:
        user: user and group id to try it as, which takes root; None for the caller.

    Returns:
        All that was found; nothing is left behind.

    Raises:
        OSError: no process could be started to try it.
    """
    found = ask(_FIRST, user=user)
    if found["userns-create"].error or found["userns-use"].error:
        found |= ask([name for name in TRIALS if name not in _FIRST], user=user)
    facts = _facts(found["userns-facts"])
    cause = judge(facts, found)
    create, use = found["userns-create"].error, found["userns-use"].error
    return Examination(
        facts,
        create == use == 0,
        create == 0,
        create or use,
        cause,
        switches(facts, cause),
        _boot_id(),
    )


def _boot_id() -> str:
    try:
        raw = ProcFs().read("sys/kernel/random/boot_id")
    except OSError:  # no procfs
        return ""
    return raw.rstrip(b"\n").decode("ascii", "replace")


def _facts(outcome: Outcome) -> Facts:
    if outcome.error:
        return Facts(lsms=None, procfs=False)
    row = json.loads(outcome.detail)
    fields = dict(zip(Facts._fields, row, strict=True))
    fields.update(
        unmapped=tuple(fields["unmapped"]),
        mapped=tuple(fields["mapped"]) if fields["mapped"] else None,
        sysctls=tuple((name, value) for name, value in fields["sysctls"]),
        lsms=None if fields["lsms"] is None else tuple(fields["lsms"]),
    )
    return Facts(**fields)


def judge(facts: Facts, found: dict[str, Outcome]) -> Cause:
    """Tell what refused from what was tried.

    Args:
        facts: of whom it was tried for.
        found: outcomes by name of `nsctl.diagnose.userns_trials.TRIALS`.
    """
    number = found["userns-create"].error
    if number == 0:
        return _of_use(facts, found["userns-use"])
    if not facts.types:
        words = "this kernel has no user namespaces (CONFIG_USER_NS)"
        return Cause("kernel", words, "boot a kernel that is built with CONFIG_USER_NS=y")
    if _is_filtered(facts, found):
        return _SECCOMP
    if number in {errno.ENOSPC, errno.EUSERS}:
        return _limited(facts, found)
    if number in _REFUSED:
        return _refused(facts, found, number)
    if facts.seccomp == 2:
        return _SECCOMP
    return _of_modules(facts, number)


_SECCOMP = Cause(
    "seccomp",
    "a seccomp filter of this process refuses the call",
    "start it without that filter (docker run --security-opt seccomp=unconfined, or a profile "
    "that allows unshare and clone with CLONE_NEWUSER)",
)


def _error(found: dict[str, Outcome], name: str) -> int:
    return found[name].error if name in found else -1


def _is_filtered(facts: Facts, found: dict[str, Outcome]) -> bool:
    """Tell whether a filter of system calls refused, from calls that only a filter tells apart."""
    if found["userns-create"].error == -3 or _error(found, "userns-nothing") not in {0, -1}:
        return True
    if facts.seccomp == 0:
        return False
    # Debian's switch comes before unknown flags are looked at.
    switched = _value(facts, _CLONE_SWITCH) == "0" and not facts.caps >> _CAP_SYS_ADMIN & 1
    if not switched and _error(found, "userns-no-flag") not in {0, -1}:
        return True
    return _error(found, "userns-clone") == 0


def _value(facts: Facts, name: str) -> str:
    return dict(facts.sysctls).get(name, "")


def _limited(facts: Facts, found: dict[str, Outcome]) -> Cause:
    limit = _value(facts, _LIMIT)
    if limit == "0":
        where = "" if facts.initial else " in this user namespace"
        words = f"sysctl user.max_user_namespaces is 0{where}"
        root = "" if facts.initial else ", as root in this user namespace"
        return Cause(
            "max_user_namespaces", words, f"sysctl -w user.max_user_namespaces=15000{root}"
        )
    if facts.initial or _error(found, "userns-other-user") == 0:
        words = (
            f"sysctl user.max_user_namespaces is {limit or 'reached'}, and this user has as many"
        )
        allow = f"sysctl -w user.max_user_namespaces={2 * int(limit)}" if limit.isdigit() else ""
        return Cause("max_user_namespaces", words, allow or "end user namespaces")
    words = (
        f"user.max_user_namespaces of a user namespace further out allows no more (here it is "
        f"{limit or 'unknown'}), or this is the 33rd level: the kernel nests no deeper, and does "
        "not tell from inside which of the two it is"
    )
    allow = (
        "sysctl -w user.max_user_namespaces=15000, as root in the user namespaces further out, or "
        "fewer levels"
    )
    return Cause("further-out", words, allow)


def _refused(facts: Facts, found: dict[str, Outcome], number: int) -> Cause:
    """What said EPERM or EACCES, in the order of the kernel's own tests."""
    if _value(facts, _CLONE_SWITCH) == "0" and not facts.caps >> _CAP_SYS_ADMIN & 1:
        words = "sysctl kernel.unprivileged_userns_clone is 0: only root makes user namespaces"
        allow = "sysctl -w kernel.unprivileged_userns_clone=1"
        return Cause("unprivileged_userns_clone", words, allow)
    elsewhere = found["userns-elsewhere"].detail if _error(found, "userns-elsewhere") == 0 else ""
    proof = "back in the mount namespace's own root it works"
    how = proof if _error(found, "userns-own-root") == 0 else facts.chroot or elsewhere
    if how:
        words = f"the root directory was changed (chroot): {how}"
        allow = (
            "run it outside of the chroot (nsenter -t PID -m, of a process outside), or enter the "
            "directory with pivot_root"
        )
        return Cause("chroot", words, allow)
    if facts.unmapped:
        return _unmapped(facts)
    return _of_modules(facts, number)


def _unmapped(facts: Facts) -> Cause:
    what = " and ".join({"uid": "user id", "gid": "group id"}[name] for name in facts.unmapped)
    verb = "has" if len(facts.unmapped) == 1 else "have"
    words = f"its {what} {verb} no number in its own user namespace"
    if facts.mapped is None:
        return Cause("unmapped", words, "write uid_map and gid_map (unshare --map-root-user)")
    uid, gid = facts.mapped
    allow = f"setpriv --reuid={uid} --regid={gid} --clear-groups, or map the id"
    return Cause("unmapped", words, allow)


def _of_modules(facts: Facts, number: int) -> Cause:
    """What is left: security modules, and what nobody can see."""
    if not facts.procfs:
        words = "what refused it cannot be told without a procfs"
        return Cause("unknown", words, "mount a procfs on /proc")
    lsms = facts.lsms or ()
    if _value(facts, _APPARMOR_SWITCH) not in {"", "0"} and "apparmor" in lsms:
        return _APPARMOR
    deciding = [name for name in _DECIDING if name in lsms]
    if facts.enforcing is False and "selinux" in deciding:
        deciding.remove("selinux")
    if "selinux" in deciding and (number == errno.EACCES or deciding == ["selinux"]):
        return Cause(
            "selinux",
            f"SELinux's policy allows no user_namespace to be made by {facts.label or 'its label'}",
            "a policy that allows it: ausearch -m AVC -c unshare | audit2allow -M userns",
        )
    if deciding == ["bpf"]:
        return Cause(
            "bpf",
            "a BPF program at the hook userns_create of the kernel refuses it",
            "detach it: bpftool prog list shows programs of type lsm, bpftool link detach",
        )
    if deciding:
        names = ", ".join(deciding)
        return Cause(
            "lsm", f"a security module refuses it, one of {names}", "look into the audit log"
        )
    if facts.lsms is None:
        return Cause("lsm", "a security module refuses it; which there are cannot be told here")
    if facts.seccomp:
        return _SECCOMP
    return Cause("unknown", f"nothing that is known here says {words_of(number)}")


_APPARMOR = Cause(
    "apparmor",
    "sysctl kernel.apparmor_restrict_unprivileged_userns is 1: programs without an AppArmor "
    "profile that allows it get no power in their user namespaces",
    "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for the "
    "program with the rule `userns,`",
)


def _of_use(facts: Facts, outcome: Outcome) -> Cause:
    """What takes the powers away of a user namespace that can be made."""
    if outcome.error == 0:
        return Cause("none", "nothing forbids it")
    if outcome.error == errno.ENOSPC:
        kind = outcome.detail.removeprefix("unshare ").removesuffix(" in it")
        words = (
            f"no {kind} namespace can be made in it: sysctl user.max_{kind}_namespaces allows none"
        )
        return Cause("other-limit", words, f"sysctl -w user.max_{kind}_namespaces=15000")
    if _value(facts, _APPARMOR_SWITCH) not in {"", "0"}:
        return _APPARMOR
    cause = _of_modules(facts, outcome.error)
    return cause._replace(words=f"it can be made, but {outcome.detail} fails: {cause.words}")


def switches(facts: Facts, cause: Cause) -> tuple[Switch, ...]:
    """Tell all that can forbid user namespaces, and how it is set.

    Args:
        facts: of whom it was tried for.
        cause: what refused.
    """
    admin = bool(facts.caps >> _CAP_SYS_ADMIN & 1)
    clone = _value(facts, _CLONE_SWITCH)
    apparmor = _value(facts, _APPARMOR_SWITCH)
    limit = _value(facts, _LIMIT)
    lsms = facts.lsms
    rows = [
        Switch(
            "CONFIG_USER_NS",
            "y" if facts.types else "n",
            "open" if facts.types else "blocks",
            "the kernel has user namespaces" if facts.types else "the kernel has none",
        ),
        _sysctl(
            _CLONE_SWITCH,
            clone,
            "restricts" if clone == "0" else "open",
            "only root makes user namespaces"
            + (", which the caller is" if admin and clone == "0" else "")
            if clone == "0"
            else "everybody may",
        ),
        _sysctl(
            _APPARMOR_SWITCH,
            apparmor,
            "restricts" if apparmor not in {"", "0"} else "open",
            "programs without a profile get no power in theirs" if apparmor != "0" else "off",
        ),
        _sysctl(
            _LIMIT,
            limit,
            "restricts" if limit == "0" else "open",
            "for each user" + ("" if facts.initial else ", in this user namespace"),
        ),
        Switch(
            "levels",
            "0" if facts.initial else "1 or more",
            "open",
            "the initial user namespace, as far as its map tells"
            if facts.initial
            else "33 at most; those further out, and their limits, are not shown in here",
        ),
        _seccomp(facts),
        Switch(
            "chroot",
            "yes" if facts.chroot else "no",
            "restricts" if facts.chroot else "open",
            facts.chroot or "the root is the mount namespace's",
        ),
        Switch(
            "ids",
            "without a map" if facts.unmapped else "mapped",
            "restricts" if facts.unmapped else "open",
            f"{' and '.join(facts.unmapped)} of the caller" if facts.unmapped else "of the caller",
        ),
        *(_module(facts, name, lsms) for name in ("apparmor", "selinux", "bpf")),
    ]
    blocking = _BLOCKING.get(cause.id)
    return tuple(row._replace(state="blocks") if row.name == blocking else row for row in rows)


_BLOCKING: dict[CauseId, str] = {
    "kernel": "CONFIG_USER_NS",
    "seccomp": "seccomp",
    "unprivileged_userns_clone": "kernel.unprivileged_userns_clone",
    "chroot": "chroot",
    "unmapped": "ids",
    "max_user_namespaces": "user.max_user_namespaces",
    "further-out": "levels",
    "apparmor": "kernel.apparmor_restrict_unprivileged_userns",
    "selinux": "selinux",
    "bpf": "bpf",
}


def _sysctl(name: str, value: str, state: State, words: str) -> Switch:
    shown = name.replace("/", ".")
    if not value:
        return Switch(shown, "", "absent", "not present here")
    return Switch(shown, value, state, words)


def _seccomp(facts: Facts) -> Switch:
    words = {0: ("off", "no filter"), 1: ("strict", "strict mode"), 2: ("filter", "a filter")}
    if facts.seccomp is None:
        return Switch("seccomp", "", "unknown", "the kernel does not say")
    value, said = words.get(facts.seccomp, (str(facts.seccomp), ""))
    return Switch("seccomp", value, "restricts" if facts.seccomp else "open", said)


def _module(facts: Facts, name: str, lsms: tuple[str, ...] | None) -> Switch:
    if lsms is None:
        return Switch(name, "", "unknown", "which security modules there are cannot be told here")
    if name not in lsms:
        return Switch(name, "", "absent", "not present here")
    if name == "selinux":
        enforced = {True: "enforcing", False: "permissive", None: "active"}[facts.enforcing]
        return Switch(name, enforced, "restricts" if facts.enforcing else "open", facts.label)
    words = {"apparmor": facts.label, "bpf": "programs at its hooks may refuse"}
    return Switch(name, "active", "open", words[name])


def explain(number: int, user: tuple[int, int] | None = None) -> Cause:
    """Say what refused a user namespace that somebody just tried to make.

    Args:
        number: what the kernel answered to that.
        user: as whom it was tried, see `examine`.

    Returns:
        What was found by trying again; where that succeeds, or nothing can be tried, what the
        number stands for.
    """
    if number == errno.EINVAL and threading.active_count() > 1:
        return Cause("threads", "a process with several threads makes none", "use one thread")
    try:
        found = examine(user)
    except OSError:
        return Cause("unknown", words_of(number), "nsctl doctor userns")
    if found.can:
        return Cause("unknown", words_of(number), "nsctl doctor userns tells of every switch")
    return found.cause


def explain_userns_refusal(error: OSError, operation: str) -> KernelRefusal:
    """Turn a refusal of a user namespace into one sentence and what would allow it.

    Args:
        error: what unshare(2), clone(2) or the write of a map raised.
        operation: what was being done, as in `nsctl.errors.NsctlError` ("make", "enter").

    Returns:
        The refusal, which the caller raises ``from error``.
    """
    number = error.errno or 0
    cause = explain(number)
    words = with_number(cause, number)
    return KernelRefusal(operation, "a user namespace", words, cause.allow, errno=number)


def with_number(cause: Cause, number: int) -> str:
    """Say a cause in words, with the name of what the kernel answered behind it."""
    name = errno.errorcode.get(number, str(number))
    return cause.words if name in cause.words else f"{cause.words} ({name})"


def explained(refusal: KernelRefusal) -> KernelRefusal:
    """Do the same to a refusal that is one already, as from another process."""
    if not refusal.errno:
        return refusal
    return explain_userns_refusal(OSError(refusal.errno, ""), refusal.operation)

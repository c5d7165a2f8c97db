"""What refused a user namespace, judged from what was tried.

What this machine lacks (Debian's and Ubuntu's switches, SELinux, AppArmor, a kernel without user
namespaces) is constructed from the kernels' sources and the distributions' documentation; what it
has is tried for real in tests/userns/test_doctor_userns.py.
"""

from __future__ import annotations

import errno
import threading
from typing import Any

import pytest

from nsctl.diagnose import userns
from nsctl.diagnose.helper import KILLED, Outcome
from nsctl.diagnose.userns import Examination, explain, explain_userns_refusal, judge, switches
from nsctl.diagnose.userns_trials import Facts
from nsctl.errors import KernelRefusal

pytestmark = pytest.mark.unit

ADMIN = 1 << 21
CLONE = "kernel/unprivileged_userns_clone"
APPARMOR = "kernel/apparmor_restrict_unprivileged_userns"
LIMIT = "user/max_user_namespaces"
OK = Outcome(0)


def tried(create: int = 0, use: Outcome = OK, **others: Outcome | int) -> dict[str, Outcome]:
    """Outcomes of all trials; those that are not named go as the call that matters."""
    found = {
        "userns-create": Outcome(create),
        "userns-use": use if create == 0 else Outcome(create, "unshare user"),
        "userns-nothing": OK,
        "userns-no-flag": OK,
        "userns-elsewhere": OK,
        "userns-clone": Outcome(create),
        "userns-own-root": Outcome(errno.EPERM),
        "userns-other-user": Outcome(create),
    }
    for name, outcome in others.items():
        made = Outcome(outcome) if isinstance(outcome, int) else outcome
        found["userns-" + name.replace("_", "-")] = made
    return found


def test_nothing_forbids_what_works() -> None:
    assert judge(Facts(), tried()).id == "none"


def test_debians_switch_is_named_to_who_is_not_root() -> None:
    facts = Facts(uid=1000, sysctls=((CLONE, "0"),))
    cause = judge(facts, tried(errno.EPERM, no_flag=errno.EPERM))
    assert (cause.id, cause.allow) == (
        "unprivileged_userns_clone",
        "sysctl -w kernel.unprivileged_userns_clone=1",
    )
    # A filter in force besides it is not to blame: the call with nothing to do is allowed.
    cause = judge(facts._replace(seccomp=2), tried(errno.EPERM, no_flag=errno.EPERM))
    assert cause.id == "unprivileged_userns_clone"
    # Root may.
    assert judge(facts._replace(caps=ADMIN), tried(errno.EPERM)).id != "unprivileged_userns_clone"


def test_ubuntus_restriction_takes_the_powers_of_one_that_can_be_made() -> None:
    facts = Facts(
        uid=1000,
        sysctls=((APPARMOR, "1"),),
        lsms=("capability", "apparmor"),
        label="unconfined",
    )
    use = Outcome(errno.EPERM, "write uid_map")
    cause = judge(facts, tried(use=use))
    assert cause.id == "apparmor"
    assert "apparmor_restrict_unprivileged_userns=0" in cause.allow
    assert "userns," in cause.allow
    # Older ones refuse to make it.
    assert judge(facts, tried(errno.EACCES)).id == "apparmor"


@pytest.mark.parametrize(
    ("facts", "number", "cause"),
    [
        (Facts(lsms=("capability", "selinux"), enforcing=True), errno.EACCES, "selinux"),
        (Facts(lsms=("capability", "selinux", "bpf"), enforcing=True), errno.EACCES, "selinux"),
        (Facts(lsms=("lockdown", "landlock", "bpf")), errno.EPERM, "bpf"),
        (Facts(lsms=("lockdown", "bpf")), errno.ENOMEM, "bpf"),
        (Facts(lsms=("bpf", "selinux"), enforcing=False), errno.EPERM, "bpf"),
        (Facts(lsms=("apparmor", "bpf")), errno.EPERM, "lsm"),
        (Facts(lsms=None), errno.EPERM, "lsm"),
        (Facts(lsms=("capability",)), errno.EPERM, "unknown"),
    ],
)
def test_a_security_module_is_named_where_only_one_can_have_refused(
    facts: Facts, number: int, cause: str
) -> None:
    assert judge(facts, tried(number)).id == cause


def test_selinux_that_takes_the_powers_away_is_told_with_the_step() -> None:
    facts = Facts(lsms=("selinux",), enforcing=True, label="user_t")
    cause = judge(facts, tried(use=Outcome(errno.EACCES, "unshare mnt in it")))
    assert cause.id == "selinux"
    assert "unshare mnt in it fails" in cause.words


@pytest.mark.parametrize(
    "others",
    [
        {"nothing": errno.EPERM},
        {"no_flag": errno.EPERM},
        {"no_flag": errno.ENOSYS},
        {"clone": 0},
    ],
)
def test_what_only_a_filter_tells_apart_blames_the_filter(others: dict[str, Any]) -> None:
    facts = Facts(seccomp=2, lsms=("bpf",), chroot="somewhere")
    assert judge(facts, tried(errno.EPERM, **others)).id == "seccomp"


def test_a_filter_that_kills_is_named() -> None:
    found = tried()
    found["userns-create"] = KILLED
    assert judge(Facts(seccomp=2), found).id == "seccomp"


def test_without_a_filter_none_is_blamed() -> None:
    facts = Facts(seccomp=0, lsms=("bpf",))
    assert judge(facts, tried(errno.EPERM, no_flag=errno.EPERM)).id == "bpf"


def test_a_limit_of_ones_own_is_told_from_one_further_out() -> None:
    own = Facts(initial=False, sysctls=((LIMIT, "0"),))
    cause = judge(own, tried(errno.ENOSPC))
    assert cause.id == "max_user_namespaces"
    assert "in this user namespace" in cause.words
    host = Facts(sysctls=((LIMIT, "20"),))
    cause = judge(host, tried(errno.ENOSPC))
    assert cause.id == "max_user_namespaces"
    assert cause.allow == "sysctl -w user.max_user_namespaces=40"
    inner = Facts(initial=False, sysctls=((LIMIT, "20"),))
    assert judge(inner, tried(errno.ENOSPC, other_user=0)).id == "max_user_namespaces"
    cause = judge(inner, tried(errno.ENOSPC))
    assert cause.id == "further-out"
    assert "max_user_namespaces" in cause.words
    assert "33rd level" in cause.words


def test_a_limit_on_another_type_is_none_on_user_namespaces() -> None:
    cause = judge(Facts(), tried(use=Outcome(errno.ENOSPC, "unshare net in it")))
    assert cause.id == "other-limit"
    assert "user.max_net_namespaces" in cause.allow


def test_a_changed_root_is_told_by_what_shows_it() -> None:
    facts = Facts(chroot="the root directory is not the root of a mount")
    cause = judge(facts, tried(errno.EPERM))
    assert cause.id == "chroot"
    assert "not the root of a mount" in cause.words
    assert judge(Facts(lsms=("bpf",)), tried(errno.EPERM, own_root=0)).id == "chroot"
    seen = Outcome(0, "process 7 sees it below its own root")
    assert "process 7" in judge(Facts(), tried(errno.EPERM, elsewhere=seen)).words


def test_ids_without_a_map_are_named() -> None:
    facts = Facts(initial=False, unmapped=("uid", "gid"), mapped=(0, 5))
    cause = judge(facts, tried(errno.EPERM))
    assert cause.id == "unmapped"
    assert "--reuid=0 --regid=5" in cause.allow
    bare = judge(facts._replace(mapped=None), tried(errno.EPERM))
    assert "uid_map" in bare.allow


def test_a_kernel_without_user_namespaces_is_told_so() -> None:
    facts = Facts(types=False)
    cause = judge(facts, tried(errno.EINVAL))
    assert cause.id == "kernel"
    (row,) = [row for row in switches(facts, cause) if row.state == "blocks"]
    assert row.name == "CONFIG_USER_NS"


def test_a_switch_that_is_not_there_is_no_finding() -> None:
    rows = {row.name: row for row in switches(Facts(), judge(Facts(), tried()))}
    for name in ("kernel.unprivileged_userns_clone", "apparmor", "selinux"):
        assert (rows[name].state, rows[name].words) == ("absent", "not present here")


def test_one_switch_blocks_and_others_that_are_set_restrict() -> None:
    facts = Facts(
        uid=1000, seccomp=2, sysctls=((CLONE, "0"), (APPARMOR, "1"), (LIMIT, "5")), lsms=()
    )
    cause = judge(facts, tried(errno.EPERM, no_flag=errno.EPERM))
    states = {row.name: row.state for row in switches(facts, cause)}
    assert states["kernel.unprivileged_userns_clone"] == "blocks"
    assert list(states.values()).count("blocks") == 1
    assert states["kernel.apparmor_restrict_unprivileged_userns"] == "restricts"
    assert states["seccomp"] == "restricts"
    assert states["user.max_user_namespaces"] == "open"


def test_several_threads_are_told_from_everything_else() -> None:
    ready = threading.Event()
    thread = threading.Thread(target=ready.wait)
    thread.start()
    try:
        assert explain(errno.EINVAL).id == "threads"
    finally:
        ready.set()
        thread.join()


def test_a_refusal_becomes_one_sentence_with_what_would_allow_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    facts = Facts(sysctls=((LIMIT, "0"),))
    cause = judge(facts, tried(errno.ENOSPC))
    found = Examination(facts, can=False, made=False, error=errno.ENOSPC, cause=cause, switches=())
    monkeypatch.setattr(userns, "examine", lambda _user=None: found)
    refusal = explain_userns_refusal(OSError(errno.ENOSPC, "x"), "make")
    assert isinstance(refusal, KernelRefusal)
    assert refusal.sentence == (
        "cannot make a user namespace: sysctl user.max_user_namespaces is 0 (ENOSPC)"
    )
    assert (refusal.hint, refusal.errno) == (
        "sysctl -w user.max_user_namespaces=15000",
        errno.ENOSPC,
    )


def test_where_trying_again_works_the_error_itself_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Examination(
        Facts(), can=True, made=True, error=0, cause=judge(Facts(), tried()), switches=()
    )
    monkeypatch.setattr(userns, "examine", lambda _user=None: found)
    assert "ENOSPC" in explain_userns_refusal(OSError(errno.ENOSPC, "x"), "make").sentence

"""What nsctl can use of a kernel, what each is good for, and what would mend its lack.

A feature is found by its probe, never by the kernel's version; the version in which it came is
told to who lacks it.
"""

from __future__ import annotations

import os

from nsctl.diagnose.answer import Answer, state_of, words_of
from nsctl.diagnose.helper import Outcome, ask
from nsctl.diagnose.userns import explain
from nsctl.kernel import process
from nsctl.kernel.procfs import ProcFs
from nsctl.model import capabilities
from nsctl.model.record import NamedTuple


class Feature(NamedTuple):
    """One thing that a kernel may have.

    Attributes:
        id: name of its probe.
        what: it, in words.
        serves: what nsctl does with it.
        since: what the kernel must be or have, for who lacks it.
        needs: the capability without which it is refused, "" where it takes none.
    """

    id: str
    what: str
    serves: str
    since: str
    needs: str = ""


_BUILT_WITH = "a kernel built with"

FEATURES: tuple[Feature, ...] = (
    Feature("namespace-types", "all eight types", "every view", f"{_BUILT_WITH} CONFIG_*_NS"),
    Feature(
        "new-namespaces",
        "new namespaces",
        "run, unshare",
        f"{_BUILT_WITH} CONFIG_*_NS",
        "CAP_SYS_ADMIN",
    ),
    Feature(
        "user-namespace",
        "new user namespaces",
        "run and unshare for ordinary users",
        f"{_BUILT_WITH} CONFIG_USER_NS",
    ),
    Feature(
        "clock-offsets",
        "clocks set off",
        "run --boottime",
        f"{_BUILT_WITH} CONFIG_TIME_NS",
        "CAP_SYS_TIME",
    ),
    Feature(
        "pidfd-namespaces",
        "namespaces through a pidfd",
        "entering without a race",
        "Linux 6.11 or newer",
    ),
    Feature(
        "pidfd-getfd",
        "descriptors through a pidfd",
        "namespaces held by sockets",
        "Linux 5.6 or newer",
    ),
    Feature(
        "namespace-ids", "64-bit ids (NS_GET_ID)", "telling a reused inode", "Linux 6.18 or newer"
    ),
    Feature(
        "mount-namespace-list",
        "list of mount namespaces",
        "those without a process",
        "Linux 6.12 or newer",
        "CAP_SYS_ADMIN in the initial user namespace, and the initial PID namespace",
    ),
    Feature(
        "listmount", "own mounts by listmount", "mounts that a chroot hides", "Linux 6.8 or newer"
    ),
    Feature(
        "listmount-foreign",
        "foreign mounts by listmount",
        "mounts of namespaces without a process",
        "Linux 6.11 or newer",
        "CAP_SYS_ADMIN",
    ),
    Feature(
        "listns",
        "list of namespaces (listns)",
        "those that no process is in",
        "Linux 6.19 or newer",
    ),
    Feature(
        "namespace-handles",
        "file handles of namespaces",
        "whether one still lives",
        "Linux 6.18 or newer",
    ),
    Feature(
        "socket-namespaces",
        "network namespace of a socket",
        "namespaces held by sockets",
        "Linux 4.10 or newer",
        "CAP_NET_ADMIN",
    ),
    Feature(
        "kcmp",
        "shared tables (kcmp)",
        "descriptors of threads",
        f"{_BUILT_WITH} CONFIG_KCMP",
    ),
    Feature(
        "bpf",
        "BPF programs",
        "walking the kernel's own lists",
        f"{_BUILT_WITH} CONFIG_BPF_SYSCALL",
        "CAP_BPF and CAP_PERFMON",
    ),
    Feature(
        "btf",
        "types of the kernel (BTF)",
        "walking the kernel's own lists",
        f"{_BUILT_WITH} CONFIG_DEBUG_INFO_BTF",
    ),
    Feature(
        "kernel-lists",
        "the kernel's own lists",
        "a fast snapshot of a big host, and what /proc hides",
        f"{_BUILT_WITH} CONFIG_DEBUG_INFO_BTF, 5.17 or newer",
        "CAP_BPF and CAP_PERFMON",
    ),
    Feature("cgroup-layout", "control groups", "services, limits", "a mounted cgroup file system"),
    Feature(
        "overlay",
        "OverlayFS",
        "a container's layer",
        "the module (modprobe overlay)",
        "CAP_SYS_ADMIN",
    ),
    Feature(
        "overlay-userxattr",
        "OverlayFS for users",
        "a container's layer, for ordinary users",
        "Linux 5.11 or newer and the module (modprobe overlay)",
    ),
    Feature(
        "idmapped-mounts",
        "id-mapped mounts",
        "a root directory of other ids",
        "Linux 6.3 or newer",
        "CAP_SYS_ADMIN",
    ),
    Feature("seccomp", "seccomp filters", "run, enter", f"{_BUILT_WITH} CONFIG_SECCOMP_FILTER"),
    Feature(
        "sealed-memfd",
        "sealed programs in memory",
        "the last stage, which nobody can overwrite",
        "Linux 3.17 or newer (6.3 for MFD_EXEC)",
    ),
)
"""All of them, in the order in which they are told."""

# What the first steps of several probes take, before the feature's own.
_NEEDED_BY_STEP = {"unshare": "CAP_SYS_ADMIN", "open": "CAP_SYS_ADMIN"}


def answers() -> list[Answer]:
    """Try all features.

    Returns:
        A line each; one line where nothing can be tried.
    """
    try:
        # Most of what is tried begins with a link below it.
        os.close(ProcFs().open("self"))
        outcomes = ask(feature.id for feature in FEATURES)
    except OSError as error:
        name = error.filename or "a helper process"
        cause = f"{name}: {words_of(error.errno or 0)}"
        remedy = "mount a procfs on /proc"
        return [Answer("kernel", "kernel", "unknown", "nothing can be tried", cause, remedy)]
    return [_answer(feature, outcomes[feature.id]) for feature in FEATURES]


def _answer(feature: Feature, outcome: Outcome) -> Answer:
    if outcome.error < 0:
        return Answer("kernel", feature.id, "unknown", feature.what, outcome.detail)
    state = state_of(outcome.error)
    if state == "ok":
        said = outcome.detail or f"for {feature.serves}"
        return Answer("kernel", feature.id, state, feature.what, said)
    step = f"{outcome.detail}: " if outcome.detail else ""
    cause = f"{step}{words_of(outcome.error)}, for {feature.serves}"
    needs = ""
    if state == "missing":
        remedy = f"takes {feature.since}"
    elif _is_about_users(feature.id, outcome):
        found = explain(outcome.error)
        remedy = f"{found.words}; {found.allow}" if found.allow else found.words
    elif feature.id == "sealed-memfd":
        remedy = "set sysctl vm.memfd_noexec below 2"
    else:
        needs = _needed(feature, outcome)
        remedy = f"needs {needs}" if needs else ""
    capability = needs.partition(" ")[0].rstrip(",")
    if capability and process.capget().effective >> capabilities.NUMBERS[capability] & 1:
        remedy += "; the one that is held counts in another user namespace only, or is not enough"
    return Answer("kernel", feature.id, state, feature.what, cause, remedy, capability)


def _is_about_users(name: str, outcome: Outcome) -> bool:
    """Tell whether what failed is to make a user namespace, or to be somebody in it."""
    return name in {"user-namespace", "overlay-userxattr"} or "user namespace" in outcome.detail


def _needed(feature: Feature, outcome: Outcome) -> str:
    """Name the capability that the failed step takes, which may come before the feature's own."""
    step = _NEEDED_BY_STEP.get(outcome.detail.partition(" ")[0], "")
    return feature.needs if not step or step in feature.needs else f"{step}, then {feature.needs}"

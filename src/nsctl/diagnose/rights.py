"""Who nsctl runs as: user, capabilities, user namespace, what confines it."""

from __future__ import annotations

from nsctl.diagnose.answer import Answer, State
from nsctl.kernel.capabilities import last
from nsctl.kernel.procfs import ProcFs, parse_id_map, parse_status
from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, UNREADABLE, IdExtent, NamespaceType
from nsctl.model.snapshot import Snapshot

USES: dict[str, str] = {
    "CAP_SYS_ADMIN": "join and make namespaces, list mounts, reach foreign namespaces",
    "CAP_SYS_PTRACE": "read namespaces and descriptors of other users' processes",
    "CAP_NET_ADMIN": "namespaces that only sockets hold",
    "CAP_DAC_READ_SEARCH": "state and files of other users",
    "CAP_BPF": "the kernel's own lists",
    "CAP_PERFMON": "the kernel's own lists",
    "CAP_SYS_TIME": "clocks of containers",
    "CAP_SETUID": "containers with ids of their own",
    "CAP_SETGID": "containers with ids of their own",
    "CAP_SYS_RESOURCE": "limits above the caller's own",
}
"""What nsctl can use, and what for; without them it tells less, or refuses."""

_ALL_IDS = (IdExtent(0, 0, 0xFFFFFFFF),)


def answers(snapshot: Snapshot | None, proc: ProcFs | None = None) -> list[Answer]:
    """Say who looks, with which powers.

    Args:
        snapshot: with tasks, to tell which namespaces are the host's; None where none could be
            taken.
        proc: the procfs to look in; None for the machine's.

    Returns:
        A line each.

    Raises:
        OSError: the process cannot read its own status.
    """
    looked = proc or ProcFs()
    held = parse_status(looked.read("self/status")).credentials
    uid = held.uids[1]
    root = "root" if uid == 0 else "an ordinary user"
    found = [Answer("rights", "user", "ok", "user", f"{root}, effective uid {uid}")]
    found += _capabilities(held.caps.effective)
    found.append(_user_namespace(snapshot, looked))
    if snapshot is not None:
        found.append(_place(snapshot))
    nnp = {None: "unknown", True: "on", False: "off"}[held.no_new_privs]
    hint = "sudo and the like give nothing" if held.no_new_privs else ""
    state: State = "partial" if held.no_new_privs else "ok"
    found.append(Answer("rights", "no-new-privs", state, "no_new_privs", nnp, hint))
    found.append(_seccomp(held.seccomp, held.seccomp_filters))
    return found


def _capabilities(effective: int) -> list[Answer]:
    lacking = [name for name in USES if not effective >> capabilities.NUMBERS[name] & 1]
    words = capabilities.describe(effective, highest=last())
    state: State = "ok" if not lacking else "partial"
    found = [Answer("rights", "capabilities", state, "capabilities", words)]
    found += [
        Answer(
            "rights",
            name.lower().replace("_", "-"),
            "refused",
            name,
            f"not held; it is for: {USES[name]}",
            f"run as root, or with {name}",
            name,
        )
        for name in lacking
    ]
    return found


def _user_namespace(snapshot: Snapshot | None, proc: ProcFs) -> Answer:
    column = TYPES.index(NamespaceType.USER)
    what = "user namespace"
    if snapshot is not None and snapshot.host.basis != "caller" and snapshot.reader.ns:
        hosts = snapshot.host.ns[column] == snapshot.reader.ns[column]
    else:
        hosts = parse_id_map(proc.read("self/uid_map")) == _ALL_IDS
    if hosts:
        return Answer("rights", "user-namespace-of-caller", "ok", what, "the host's")
    return Answer(
        "rights",
        "user-namespace-of-caller",
        "partial",
        what,
        "another than the host's: capabilities count in it and below it only",
        "run nsctl in the host's user namespace",
    )


def _place(snapshot: Snapshot) -> Answer:
    what = "where nsctl runs"
    if snapshot.host.basis == "caller":
        name = "CAP_SYS_PTRACE"
        held = snapshot.reader.caps >> capabilities.NUMBERS[name] & 1
        needs = "" if held else name
        procfs = "a procfs that shows process 1"
        return Answer(
            "rights",
            "namespaces-of-caller",
            "partial",
            what,
            "no other process tells which namespaces are the host's: nsctl's own are taken",
            f"needs {name}, or {procfs}"
            if needs
            else f"needs the host's user namespace, or {procfs}",
            needs,
        )
    pairs = zip(TYPES, snapshot.reader.ns, snapshot.host.ns, strict=False)
    apart = [
        str(kind) for kind, own, hosts in pairs if UNREADABLE not in {own, hosts} and own != hosts
    ]
    if apart:
        return Answer(
            "rights",
            "namespaces-of-caller",
            "partial",
            what,
            f"in namespaces of its own: {', '.join(apart)}",
            "run nsctl on the host itself",
        )
    return Answer("rights", "namespaces-of-caller", "ok", what, "in the host's own namespaces")


def _seccomp(mode: int | None, filters: int | None) -> Answer:
    words = {None: "unknown", 0: "no filter on nsctl", 1: "strict mode", 2: "filtered"}
    said = words.get(mode, f"mode {mode}")
    if not mode:
        return Answer("rights", "seccomp-of-caller", "ok", "seccomp", said)
    count = "" if filters is None else f", filters: {filters}"
    return Answer(
        "rights",
        "seccomp-of-caller",
        "partial",
        "seccomp",
        said + count,
        "what is refused below may be the filter's doing",
    )

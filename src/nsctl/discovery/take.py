"""Taking a snapshot: the one ordered list of steps, and running those that were asked for."""

from __future__ import annotations

import gc
import importlib
import os
import stat
import time

from nsctl import ahead
from nsctl.discovery.draft import Draft, Step
from nsctl.errors import KernelRefusal, NsctlError, translate
from nsctl.kernel.procfs import ProcFs
from nsctl.model.namespace import Namespace
from nsctl.model.part import Part, PartState
from nsctl.model.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from nsctl.discovery.draft import ContainerSource
    from nsctl.kernel.lists import Walk

STEPS: tuple[Step, ...] = (
    Step("reader", None, ()),
    Step("lists", None, ()),
    Step("helper", Part.SOCKETS, ()),
    Step("tasks", Part.TASKS, (), "listed_tasks"),
    Step("leaders", Part.LEADERS, (Part.TASKS,)),
    Step("reference", None, (Part.TASKS,)),
    Step("namespaces", Part.NAMESPACES, (Part.TASKS,)),
    Step("threads", Part.THREADS, (Part.NAMESPACES,), "listed_threads"),
    Step("children", Part.CHILDREN, (Part.NAMESPACES,), "listed_children"),
    Step("nsfs_paths", Part.NSFS_PATHS, (Part.NAMESPACES,)),
    Step("mounted", Part.MOUNTED, (Part.NAMESPACES, Part.NSFS_PATHS), "listed_mounted"),
    Step("descriptors", Part.DESCRIPTORS, (Part.NAMESPACES, Part.MOUNTED), "listed_descriptors"),
    Step("rings", Part.RINGS, (Part.DESCRIPTORS,)),
    Step("net_sockets", Part.NET_SOCKETS, (Part.DESCRIPTORS,)),
    Step("sockets", Part.SOCKETS, (Part.DESCRIPTORS,)),
    Step("inflight", Part.INFLIGHT, (Part.DESCRIPTORS,)),
    Step("relations", Part.RELATIONS, (Part.NAMESPACES,), "listed_relations"),
    Step("id_maps", Part.ID_MAPS, (Part.NAMESPACES,)),
    Step("time_offsets", Part.TIME_OFFSETS, (Part.NAMESPACES,)),
    Step("late_sockets", Part.NET_SOCKETS, (Part.DESCRIPTORS,)),
    Step("networks", Part.NETWORKS, (Part.NAMESPACES,)),
    Step("netnsids", Part.NETNSIDS, (Part.NAMESPACES,)),
    Step("mounts", Part.MOUNTS, (Part.TASKS,)),
    Step("containers", Part.CONTAINERS, (Part.TASKS, Part.CGROUPS)),
    Step("uts_names", Part.UTS_NAMES, (Part.NAMESPACES,)),
    Step("ipc_objects", Part.IPC_OBJECTS, (Part.NAMESPACES, Part.ID_MAPS)),
    Step("cgroup_tree", Part.CGROUP_TREE, (Part.NAMESPACES, Part.CGROUPS, Part.CONTAINERS)),
    Step("accounts", Part.ACCOUNTS, ()),
    Step("users", None, (Part.TASKS,)),
)
"""Every step, in the order in which they run."""


def needed(parts: Iterable[Part]) -> frozenset[Part]:
    """Add to the parts asked for what their steps need.

    Args:
        parts: what a view asks for.

    Returns:
        All parts that must be filled.
    """
    wanted = {Part.TASKS, *parts}
    by_part = {step.fills: step for step in STEPS if step.fills is not None}
    queue = list(wanted)
    while queue:
        step = by_part.get(queue.pop())
        for need in step.needs if step else ():
            if need not in wanted:
                wanted.add(need)
                queue.append(need)
    return frozenset(wanted)


def take(
    parts: Iterable[Part],
    *,
    proc_root: str = "/proc",
    sources: Mapping[str, ContainerSource] | None = None,
    answers: ContainerSource | None = None,
    source: str = "auto",
    walk: Walk | None = None,
) -> Snapshot:
    """Take a snapshot of this host.

    Args:
        parts: what to read; what that needs is read too, the rest is "not asked".
        proc_root: where procfs is mounted.
        sources: engines by name, each a function that lists its containers.
        answers: what engines' daemons say, which adds to that; asked before the sources.
        source: "kernel" for the kernel's own lists, as far as it lets them be walked, "proc" for
            /proc alone, "auto" for what is faster.
        walk: from `nsctl.ahead.begin`, which it closes.

    Returns:
        The snapshot.

    Raises:
        KernelRefusal: the procfs cannot be read at all.
        NsctlError: it holds text that no kernel writes.
    """
    proc = ProcFs(proc_root)
    draft = Draft(proc, needed(parts), dict(sources or {}))
    credentials = Part.CREDENTIALS in draft.parts
    if walk is not None and walk.credentials != credentials:
        walk.close()
        walk = None
    if walk is None and proc_root == ahead.PROC:
        walk = ahead.begin(source, credentials=credentials)
    draft.walk = walk
    draft.answers = answers
    draft.wanted_source = source
    began = time.time()
    step = None
    # A snapshot is hundreds of thousands of objects and no rubbish: looking for some in them, each
    # time that seven hundred were made, takes a twentieth of the time.
    collects = gc.isenabled()
    gc.disable()
    try:
        boot_id, uptime = _boot(proc)
        monotonic = time.clock_gettime(time.CLOCK_MONOTONIC)
        steps = [each for each in STEPS if each.fills is None or each.fills in draft.parts]
        draft.ahead = [f"nsctl.discovery.{each.listed or each.module}" for each in steps]
        for step in steps:
            listed = step.listed if draft.lists is not None else ""
            run: Callable[[Draft], None] = importlib.import_module(
                f"nsctl.discovery.{listed or step.module}"
            ).run
            run(draft)
    except OSError as error:
        if _is_other(proc_root):
            cause = "it is no procfs, or something is mounted over it"
            hint = "--host-proc DIR names another one; `mount -t proc proc DIR` makes it"
            raise KernelRefusal("read", proc_root, cause, hint, errno=error.errno or 0) from error
        name = error.filename
        whole = isinstance(name, str) and name.startswith("/")
        raise translate(error, "read", name if whole else proc_root) from error
    except ValueError as error:
        what = f" ({step.module})" if step else ""
        raise NsctlError("understand", f"{proc_root}{what}", str(error)) from error
    finally:
        if collects:
            gc.enable()
        draft.close()
    host = os.uname()
    return Snapshot(
        began=began,
        ended=time.time(),
        boot_id=boot_id,
        host_name=os.fsencode(host.nodename),
        kernel=host.release,
        uptime=uptime - draft.boottime_offset / 1e9,
        read_from=(proc_root,) if draft.lists is None else ("kernel", proc_root),
        reader=draft.reader,
        host=draft.reference,
        parts=_states(draft),
        tasks=tuple(draft.tasks),
        namespaces=tuple(_held(draft)),
        containers=tuple(draft.containers),
        mounts=draft.mounts,
        users=draft.users,
        gaps=tuple(draft.gaps),
        cgroups=draft.cgroups,
        accounts=draft.accounts,
        networks=draft.networks,
        sockets=draft.net_sockets,
        socket_cgroups=draft.socket_cgroups,
        monotonic=None
        if draft.monotonic_offset is None
        else monotonic - draft.monotonic_offset / 1e9,
        remarks=tuple(draft.remarks),
    )


def _held(draft: Draft) -> list[Namespace]:
    """All namespaces with what keeps them alive, by inode."""
    # Few namespaces of many have a holder.
    for key, held in draft.holders.items():
        draft.namespaces[key] = draft.namespaces[key]._replace(holders=tuple(held))
    return sorted(draft.namespaces.values(), key=lambda namespace: namespace.id.ino)


def _is_other(root: str) -> bool:
    """Tell whether a directory is there and is no procfs: that has a link called self.

    To what the link leads does not matter: a procfs of another PID namespace does not tell.
    """
    try:
        os.lstat(root)
    except OSError:
        return False
    try:
        return not stat.S_ISLNK(os.lstat(f"{root}/self").st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False


def _boot(proc: ProcFs) -> tuple[str, float]:
    """Which boot this is, and for how many seconds it has run."""
    try:
        boot_id = proc.read("sys/kernel/random/boot_id").decode("ascii", "replace").strip()
        return boot_id, float(proc.read("uptime").split(b" ")[0])
    except FileNotFoundError:
        os.lstat(f"{proc.root}/self")
        # A procfs of processes only (subset=pid, proc(5)): the clock says what uptime would.
        return "", time.clock_gettime(time.CLOCK_BOOTTIME)


def _states(draft: Draft) -> dict[Part, PartState]:
    """State of every part: not asked, read, or what the gaps in it leave of it."""
    incomplete = {gap.part for gap in draft.gaps}
    asked = {
        part: PartState.PARTIAL if part in incomplete else PartState.READ for part in draft.parts
    }
    return {part: asked.get(part, PartState.NOT_ASKED) for part in Part}

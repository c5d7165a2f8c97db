"""From a specification to steps: one pure function, for the dry run and for the real one.

The order is the only one that works. What needs the host's powers comes before the container's
user namespace is entered; what another container or the host must give is taken before that too;
offsets of clocks are written before the first process of the time namespace; the tree is built
by the first process, from inside, and everything is given up by the last stage.
"""

from __future__ import annotations

from nsctl.model import capabilities
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets
from nsctl.mounting import devices, filesystems, masks, root
from nsctl.mounting.context import Context
from nsctl.mounting.filesystems import NODEV, NOEXEC, NOSUID, RDONLY
from nsctl.mounting.step import describe_all
from nsctl.run import finish, namespaces, steps
from nsctl.run.context import NULL, TERMINAL, Builder
from nsctl.run.spec import BIND, HOST, TMPFS, Mount, Spec, options_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from nsctl.mounting.step import Step

RANGE, SINGLE, SUBORDINATE, NONE, OTHER = "range", "single", "subordinate", "none", "other"


# What has a file system that shows it, and which one.
SHOWN_BY = {
    NamespaceType.PID: "proc",
    NamespaceType.NET: "sysfs",
    NamespaceType.IPC: "mqueue",
    NamespaceType.CGROUP: "cgroup2",
}

_MKNOD = 1 << capabilities.NUMBERS["CAP_MKNOD"]
_HARD = NOSUID | NODEV | NOEXEC
_JOINED_OUTSIDE = tuple(kind for kind in TYPES if kind not in {"user", "mnt"})


class Layout(NamedTuple):
    """What was found or chosen for one container on this host.

    Attributes:
        id: its id.
        name: its name.
        uid: who runs nsctl.
        gid: its group.
        mapping: "range" of ids of its own, "single" (root inside is the caller), "subordinate" (the
            same, and the ids that the caller was given), "none" (the
            host's user namespace) or "other" (another container's).
        ids: first id of its range.
        id_count: length of its range.
        root_uid: what uid 0 inside is outside.
        root_gid: what gid 0 inside is outside.
        storage: the directory with its changes.
        cgroup_dirs: directories of its control group, one a hierarchy.
        privileged: the caller has the host's powers.
        foreign: shared namespaces that belong to another user namespace than the container
            lives in, so that it may not mount what shows them.
        has_cgroup2: the host has a version 2 hierarchy mounted.
        streams: for each standard stream "pass" (as the caller has it), "null" or "terminal".
        group_files: path, text and meaning of what is written into its control group.
        confines_devices: its control group says which devices it may open.
        held: capabilities that the caller can hand on, a bit mask.
        maps: uid_map and gid_map where the mapping is "subordinate".
    """

    id: str
    name: str
    uid: int
    gid: int
    mapping: str
    ids: int
    id_count: int
    root_uid: int
    root_gid: int
    storage: str
    cgroup_dirs: tuple[str, ...]
    privileged: bool
    foreign: tuple[str, ...] = ()
    has_cgroup2: bool = False
    streams: tuple[str, str, str] = (NULL, NULL, NULL)
    group_files: tuple[tuple[str, str, str], ...] = ()
    confines_devices: bool = False
    held: int = (1 << 64) - 1
    maps: tuple[str, str] = ("", "")


def layout_from_json(fields: dict[str, Any]) -> Layout:
    """Read a layout that a process of ours wrote as JSON from its `_asdict`."""
    tuples = {name: tuple(fields[name]) for name in ("cgroup_dirs", "foreign", "streams", "maps")}
    rows = tuple(tuple(row) for row in fields["group_files"])
    return Layout(**fields | tuples | {"group_files": rows})


class Plan(NamedTuple):
    """All steps, in order.

    Attributes:
        prepare: what the caller itself does.
        build: what the builder does, the last one being to become the container's command.
    """

    prepare: tuple[Step[Context], ...]
    build: tuple[Step[Builder], ...]

    def describe(self) -> list[str]:
        """Every step in words, with a command where there is one."""
        return describe_all([*self.prepare, *self.build])


def plan(spec: Spec, layout: Layout) -> Plan:
    """Plan a container.

    Args:
        spec: checked.
        layout: what was chosen for it.

    Returns:
        All steps from nothing to its running command.
    """
    prepare: list[Step[Context]] = []
    if spec.is_private(NamespaceType.MNT):
        prepare.append(
            steps.MakeStorage(layout.storage, layout.root_uid, layout.root_gid, spec.rootfs)
        )
    prepare += [steps.MakeGroup(directory) for directory in layout.cgroup_dirs]
    prepare += [steps.SetInGroup(*row) for row in layout.group_files]
    build: list[Step[Builder]] = [steps.JoinGroup(path) for path in layout.cgroup_dirs]
    build += _outside(spec, layout)
    build.append(steps.FirstProcess(spec.detach))
    if spec.is_private(NamespaceType.MNT):
        build.append(namespaces.NewMountNamespace())
        build.append(root.Propagation())
        build += _tree(spec, layout)
        if spec.make_cwd:
            build.append(steps.WorkingDirectory(spec.cwd))
        if spec.read_only:
            build.append(root.ReadOnlyRoot())
        build.append(root.PivotRoot())
    elif TERMINAL in layout.streams:
        build.append(finish.BorrowedTerminal(layout.streams.index(TERMINAL)))
    if spec.is_private(NamespaceType.UTS):
        build.append(steps.HostName(spec.hostname or layout.name))
    if spec.is_private(NamespaceType.NET):
        build.append(steps.Loopback())
    build.append(
        finish.LastStage(
            argv=spec.argv,
            env=tuple(spec.environment(layout.name)),
            cwd=spec.cwd,
            sets=sets_of(spec, layout),
            seccomp=spec.seccomp,
            no_new_privs=spec.no_new_privs,
            groups=spec.groups if _may_set_groups(layout) or layout.mapping == NONE else None,
            dies_with_parent=not spec.detach,
            uid=spec.uid,
            gid=spec.gid,
            umask=spec.umask,
            init=spec.init,
            rlimits=spec.rlimits,
        )
    )
    return Plan(tuple(prepare), tuple(build))


def granted(spec: Spec, layout: Layout) -> int:
    """What a container may have at most, a bit mask.

    Root of the host's user namespace could make any device's node: where no control group keeps him
    from opening it he gets no CAP_MKNOD. In another user namespace it makes no device.
    """
    held = spec.capabilities & layout.held
    if layout.mapping == NONE and not layout.confines_devices:
        return held & ~_MKNOD
    return held


def sets_of(spec: Spec, layout: Layout) -> CapabilitySets:
    """The five sets of the command: those asked for, else those that engines give to its user.

    Root gets all, another user none, of what a set-user-ID program could still get.
    """
    held = granted(spec, layout)
    if spec.sets:
        return CapabilitySets(*(each & held for each in spec.sets))
    own = 0 if spec.uid else held
    return CapabilitySets(0, own, own, held, 0)


def _outside(spec: Spec, layout: Layout) -> list[Step[Builder]]:
    """What the builder does before there is a first process."""
    work: list[Step[Builder]] = []
    mounts = spec.is_private(NamespaceType.MNT)
    work += _user_namespace(spec, layout)
    idmapped = _is_idmapped(layout)
    if mounts and idmapped:
        work.append(filesystems.IdmappedClone(spec.rootfs))
    joins = [
        namespaces.JoinNamespace(kind, spec.joined(kind))
        for kind in _JOINED_OUTSIDE
        if spec.joined(kind)
    ]
    if mounts and layout.privileged:
        work += [
            filesystems.PrepareBind(each.source, each.target, attributes, idmap)
            for each in spec.mounts
            if each.kind == BIND
            for attributes, idmap, _ in [options_of(each)]
        ]
    prepared = _prepared(spec, layout) if mounts and layout.privileged else []
    enter = (
        [] if layout.mapping == NONE else [namespaces.EnterUserNamespace(_may_set_groups(layout))]
    )
    if spec.joined(NamespaceType.MNT):
        # The last of all: from then on the builder's root is the other container's.
        joins_mnt = [namespaces.JoinNamespace(NamespaceType.MNT, spec.joined(NamespaceType.MNT))]
    else:
        joins_mnt = []
    if layout.privileged or layout.mapping == NONE:
        work += [*joins, *prepared, *joins_mnt, *enter]
    else:
        work += [*enter, *joins, *joins_mnt]
    fresh = tuple(kind for kind in TYPES if spec.is_private(kind) and kind not in {"user", "mnt"})
    if fresh:
        work.append(namespaces.Unshare(fresh))
    for clock, offset in (("monotonic", spec.monotonic), ("boottime", spec.boottime)):
        if offset:
            work.append(namespaces.TimeOffset(clock, offset))
    return work


def _user_namespace(spec: Spec, layout: Layout) -> list[Step[Builder]]:
    if layout.mapping == RANGE:
        extent = f"0 {layout.ids} {layout.id_count}\n"
        return [namespaces.NewUserNamespace(extent, extent, deny_setgroups=False)]
    if layout.mapping == SINGLE:
        maps = (f"0 {layout.uid} 1\n", f"0 {layout.gid} 1\n")
        return [namespaces.NewUserNamespace(*maps, deny_setgroups=not layout.privileged)]
    if layout.mapping == SUBORDINATE:
        return [namespaces.NewUserNamespace(*layout.maps, deny_setgroups=False, by_programs=True)]
    if layout.mapping == OTHER:
        return [namespaces.TakeUserNamespace(spec.joined(NamespaceType.USER))]
    return []


def _may_set_groups(layout: Layout) -> bool:
    return layout.privileged or layout.mapping == SUBORDINATE


def _is_idmapped(layout: Layout) -> bool:
    return layout.privileged and layout.mapping in {RANGE, OTHER}


def _prepared(spec: Spec, layout: Layout) -> list[Step[Builder]]:
    """Mounts that the container's user namespace may not make, and the caller may."""
    work: list[Step[Builder]] = []
    for kind in (NamespaceType.PID, NamespaceType.NET, NamespaceType.IPC):
        if kind not in layout.foreign:
            continue
        whose = "the host" if spec.choice(kind) == HOST else spec.joined(kind)
        attributes = _HARD | (RDONLY if kind == NamespaceType.NET else 0)
        if kind == NamespaceType.PID and spec.joined(kind):
            work.append(namespaces.PrepareProc(whose, attributes))
        else:
            work.append(filesystems.Prepare(SHOWN_BY[kind], whose, attributes))
    return work


def _tree(spec: Spec, layout: Layout) -> list[Step[Builder]]:
    """The container's tree of mounts."""
    work: list[Step[Builder]] = [
        filesystems.Overlay(
            spec.rootfs,
            layout.storage,
            idmapped=_is_idmapped(layout),
            userxattr=layout.mapping != NONE,
        ),
        _shown(layout, NamespaceType.PID, "/proc", _HARD),
        *_dev(layout),
        _shown(layout, NamespaceType.NET, "/sys", _HARD | RDONLY),
    ]
    if layout.has_cgroup2 and not {NamespaceType.CGROUP, NamespaceType.NET} & set(layout.foreign):
        work.append(filesystems.Filesystem("cgroup2", "/sys/fs/cgroup", _HARD | RDONLY))
    if NamespaceType.IPC not in layout.foreign:
        work.append(filesystems.Filesystem("mqueue", "/dev/mqueue", _HARD))
    elif layout.privileged:
        work.append(filesystems.Attach("mqueue", "/dev/mqueue"))
    if TERMINAL in layout.streams:
        work.append(finish.Terminal())
    # From the outside in: one may lie in another.
    ordered = sorted(spec.mounts, key=lambda each: each.target.count("/"))
    work += [_mounted(layout, each) for each in ordered]
    work += [masks.ReadOnlyPath(path) for path in spec.read_only_paths]
    work += [masks.MaskPath(path) for path in spec.masked]
    return work


def _mounted(layout: Layout, wanted: Mount) -> Step[Builder]:
    """What is mounted besides."""
    attributes, _, options = options_of(wanted)
    if wanted.kind == TMPFS:
        return filesystems.Scratch(wanted.target, attributes, options)
    if layout.privileged:
        return filesystems.AttachBind(wanted.source, wanted.target, attributes)
    return filesystems.Bind(wanted.source, wanted.target, attributes)


def _shown(layout: Layout, kind: NamespaceType, path: str, attributes: int) -> Step[Builder]:
    """The file system that shows a namespace: made, or attached, or the host's own bound."""
    fstype = SHOWN_BY[kind]
    if kind not in layout.foreign:
        return filesystems.Filesystem(fstype, path, attributes)
    if layout.privileged:
        return filesystems.Attach(fstype, path)
    return filesystems.Bind(path, path, attributes)


def _dev(layout: Layout) -> list[Step[Builder]]:
    own_nodes = layout.mapping == NONE
    make = devices.MakeDevice if own_nodes else devices.BindDevice
    terminals = [("mode", "0620"), ("ptmxmode", "0666")]
    if layout.mapping != SINGLE and layout.privileged:
        terminals.append(("gid", "5"))  # the tty group, as everywhere
    return [
        filesystems.Filesystem(
            "tmpfs", "/dev", NOSUID | NOEXEC, (("mode", "0755"), ("size", "64k"))
        ),
        *(make(*device) for device in devices.DEVICES),
        devices.Links(),
        filesystems.Filesystem("devpts", "/dev/pts", NOSUID | NOEXEC, tuple(terminals)),
        filesystems.Filesystem(
            "tmpfs",
            "/dev/shm",  # noqa: S108  (a mount point inside the container)
            _HARD,
            (("mode", "1777"), ("size", "64m")),
        ),
    ]

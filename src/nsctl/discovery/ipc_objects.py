"""What every IPC namespace holds: System V objects and POSIX queues (ipc_namespaces(7)).

They are listed from inside the namespace, by the kernel's own tables; no message is received, no
segment attached, no time set. Which processes have a segment attached is read from their maps.
"""

from __future__ import annotations

from collections.abc import Callable

from nsctl.child.visit import Hall
from nsctl.discovery.draft import Draft
from nsctl.discovery.visiting import Visits
from nsctl.errors import refused, vanished
from nsctl.kernel import mqueue, sysvipc
from nsctl.model.contents import (
    Attachment,
    IpcObjects,
    IpcRights,
    SharedMemory,
)
from nsctl.model.namespace import TYPES, IdExtent, NamespaceType
from nsctl.model.part import Gap, Part, PartState

_KIND = NamespaceType.IPC
_IPC = TYPES.index(_KIND)
_MAPS_LIMIT = 1 << 26
_OVERFLOW = 65534
_LIMIT = "limit:"

_Translate = Callable[[int], int]


def run(draft: Draft) -> None:
    """Read what every IPC namespace holds."""
    unlisted: list[int] = []

    def take(ino: int, hall: Hall, owner: int) -> None:
        objects = _objects(draft, hall, owner)
        if objects.posix is None:
            unlisted.append(ino)
        draft.namespaces[_KIND, ino] = draft.namespaces[_KIND, ino]._replace(ipc=objects)

    inodes = [ino for kind, ino in draft.namespaces if kind is _KIND]
    Visits(draft, Part.IPC_OBJECTS, "objects").each(_KIND, inodes, take)
    _find_attached(draft)
    if unlisted:
        count = len(unlisted)
        draft.gaps.append(
            Gap(
                Part.IPC_OBJECTS,
                "mqueue",
                f"POSIX queues of {count} namespace{'s' if count > 1 else ''}",
                PartState.PARTIAL,
                "their file system cannot be mounted here",
                "" if draft.reader.caps >> 21 & 1 else "CAP_SYS_ADMIN",
            )
        )


def _objects(draft: Draft, hall: Hall, owner: int) -> IpcObjects:
    texts = hall.texts
    uid, gid = _translations(draft, owner) if hall.mapped else (_same, _same)

    def outside(rights: IpcRights) -> IpcRights:
        return IpcRights(
            rights.mode, uid(rights.uid), gid(rights.gid), uid(rights.cuid), gid(rights.cgid)
        )

    memory = sysvipc.parse_shm(texts.get("shm", b""))
    semaphores = sysvipc.parse_sem(texts.get("sem", b""))
    queues = sysvipc.parse_msg(texts.get("msg", b""))
    posix = None
    if "posix" in texts:
        rows = mqueue.decode(texts["posix"])
        posix = tuple(row._replace(uid=uid(row.uid), gid=gid(row.gid)) for row in rows)
    limits = [
        (name.removeprefix(_LIMIT).replace("/", "."), _line(text))
        for name, text in texts.items()
        if name.startswith(_LIMIT)
    ]
    return IpcObjects(
        tuple(row._replace(rights=outside(row.rights)) for row in memory),
        tuple(row._replace(rights=outside(row.rights)) for row in semaphores),
        tuple(row._replace(rights=outside(row.rights)) for row in queues),
        posix,
        tuple(limits),
    )


def _line(text: bytes) -> str:
    return text.rstrip(b"\n").replace(b"\t", b" ").decode("ascii", "replace")


def _same(number: int) -> int:
    return number


def _translations(draft: Draft, owner: int) -> tuple[_Translate, _Translate]:
    """From ids in a user namespace to the reader's."""
    namespace = draft.namespaces.get((NamespaceType.USER, owner))
    maps = namespace.maps if namespace is not None else None
    if maps is None:
        return (lambda _: _OVERFLOW), (lambda _: _OVERFLOW)
    return _outward(maps.uids), _outward(maps.gids)


def _outward(extents: tuple[IdExtent, ...]) -> _Translate:
    def translate(number: int) -> int:
        for extent in extents:
            if 0 <= number - extent.inside < extent.length:
                return extent.outside + number - extent.inside
        return _OVERFLOW

    return translate


def _find_attached(draft: Draft) -> None:
    """Find the processes that have segments of their own namespace attached."""
    holding = {
        ino: namespace.ipc
        for (kind, ino), namespace in draft.namespaces.items()
        if kind is _KIND and namespace.ipc and any(row.attaches for row in namespace.ipc.memory)
    }
    if not holding:
        return
    devices = sysvipc.devices()
    found: dict[int, dict[int, list[Attachment]]] = {}
    closed: list[int] = []
    for task in draft.tasks:
        ino = task.ns[_IPC]
        if ino not in holding or task.kernel or task.state in "ZX":
            continue
        try:
            maps = draft.proc.read(f"{task.pid}/maps", _MAPS_LIMIT)
        except OSError as error:
            if refused(error):
                closed.append(task.pid)
            elif not vanished(error):
                raise
            continue
        for shmid, count in sysvipc.parse_attached(maps, devices).items():
            rows = found.setdefault(ino, {}).setdefault(shmid, [])
            rows.append(Attachment(task.pid, count))
    for ino, objects in holding.items():
        memory = tuple(_with(row, found.get(ino, {})) for row in objects.memory)
        namespace = draft.namespaces[_KIND, ino]
        draft.namespaces[_KIND, ino] = namespace._replace(ipc=objects._replace(memory=memory))
    draft.note_refused(Part.IPC_OBJECTS, "attached memory", closed, PartState.PARTIAL)


def _with(row: SharedMemory, attached: dict[int, list[Attachment]]) -> SharedMemory:
    return row._replace(by=tuple(attached.get(row.id, ())))

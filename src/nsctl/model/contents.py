"""What UTS and IPC namespaces hold, and where cgroup namespaces begin.

Sources: uts_namespaces(7), ipc_namespaces(7), sysvipc(7), mq_overview(7), cgroup_namespaces(7).
"""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class UtsNames(NamedTuple):
    """The names of a UTS namespace, raw bytes; a domain that was never set is "(none)"."""

    host: bytes
    domain: bytes


class IpcRights(NamedTuple):
    """Who owns a System V object and what others may do with it, in the reader's numbers.

    Attributes:
        mode: permission bits; for shared memory also 0o1000 (to be removed when the last process
            detaches) and 0o2000 (locked in memory).
        uid: its owner.
        gid: its owner's group.
        cuid: its creator.
        cgid: its creator's group.
    """

    mode: int
    uid: int
    gid: int
    cuid: int
    cgid: int


class Attachment(NamedTuple):
    """A process that has a shared memory segment mapped: its PID, and how many mappings."""

    pid: int
    mappings: int


class SharedMemory(NamedTuple):
    """One segment of System V shared memory (shmget(2)).

    Attributes:
        id: shmid.
        key: by which it is found, 0 for IPC_PRIVATE.
        rights: who may use it.
        size: bytes.
        resident: bytes of it that are in memory, None where the kernel does not say.
        attaches: how many times it is attached, in all namespaces.
        creator: PID of who made it in the reader's numbers, 0 where it has none there.
        last: PID of who attached or detached it last, likewise.
        attached: time of the last attach, seconds since the epoch, 0 never.
        detached: time of the last detach, likewise.
        changed: time of the last change of its rights, likewise.
        by: processes of its own namespace that have it mapped, as far as they could be looked at.
    """

    id: int
    key: int
    rights: IpcRights
    size: int
    resident: int | None
    attaches: int
    creator: int
    last: int
    attached: int
    detached: int
    changed: int
    by: tuple[Attachment, ...] = ()


class Semaphores(NamedTuple):
    """One set of System V semaphores (semget(2)).

    Attributes:
        id: semid.
        key: by which it is found, 0 for IPC_PRIVATE.
        rights: who may use it.
        members: number of semaphores in it.
        operated: time of the last operation, seconds since the epoch, 0 never.
        changed: time of the last change of its rights or values, likewise.
    """

    id: int
    key: int
    rights: IpcRights
    members: int
    operated: int
    changed: int


class MessageQueue(NamedTuple):
    """One System V message queue (msgget(2)).

    Attributes:
        id: msqid.
        key: by which it is found, 0 for IPC_PRIVATE.
        rights: who may use it.
        size: bytes in it.
        messages: messages in it.
        sender: PID of who sent last in the reader's numbers, 0 where it has none there.
        receiver: PID of who received last, likewise.
        sent: time of the last message, seconds since the epoch, 0 never.
        received: time of the last receipt, likewise.
        changed: time of the last change of its rights, likewise.
    """

    id: int
    key: int
    rights: IpcRights
    size: int
    messages: int
    sender: int
    receiver: int
    sent: int
    received: int
    changed: int


class PosixQueue(NamedTuple):
    """One POSIX message queue (mq_overview(7)).

    Attributes:
        name: without its leading slash, raw bytes.
        mode: permission bits.
        uid: its owner, in the reader's numbers.
        gid: its owner's group, likewise.
        messages: messages in it; None where it may not be opened.
        most: messages that it takes, likewise.
        largest: bytes of the largest message that it takes, likewise.
    """

    name: bytes
    mode: int
    uid: int
    gid: int
    messages: int | None
    most: int | None
    largest: int | None


class IpcObjects(NamedTuple):
    """All that an IPC namespace holds.

    Attributes:
        memory: shared memory.
        semaphores: sets of semaphores.
        queues: System V message queues.
        posix: POSIX message queues; None where they could not be listed.
        limits: the namespace's own limits by the name of their sysctl ("kernel.shmmni").
    """

    memory: tuple[SharedMemory, ...]
    semaphores: tuple[Semaphores, ...]
    queues: tuple[MessageQueue, ...]
    posix: tuple[PosixQueue, ...] | None
    limits: tuple[tuple[str, str], ...] = ()


class CgroupRoot(NamedTuple):
    """Where a cgroup namespace begins in one hierarchy.

    Attributes:
        dev: device of the hierarchy, as os.makedev gives it.
        path: of its root group as the reader sees it; None where it lies outside of that.
    """

    dev: int
    path: bytes | None

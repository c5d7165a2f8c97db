"""Where engines keep what containers are made of."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class DataRoot(NamedTuple):
    """One directory of an engine.

    Attributes:
        engine: "docker", "podman" ..
        path: of the directory, in the view of whoever uses it.
        pid: through whose /proc/PID/root it is found, 0 for the host's own file system.
        daemon: the process that uses it, 0 where none is known to live.
        user: whose engine it is: 0 root's, else the ordinary user's.
    """

    engine: str
    path: str
    pid: int
    daemon: int
    user: int


class AuditRule(NamedTuple):
    """One rule of the kernel's audit, or of a file of rules (audit.rules(7)).

    Attributes:
        path: the file or directory that it watches, raw bytes; b"" for none.
        tree: it watches the whole directory.
        perm: which accesses, letters of "rwxa"; "" for all.
        key: the name under which its records are found.
        text: the whole rule as auditctl(8) writes it.
        source: "kernel", or the file that it stands in.
    """

    path: bytes
    tree: bool
    perm: str
    key: str
    text: str
    source: str

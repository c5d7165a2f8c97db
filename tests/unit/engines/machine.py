"""A machine of files: processes whose engines' modules can be asked, each with a root of its own."""

from __future__ import annotations

from pathlib import Path

from nsctl.discovery.draft import Draft
from nsctl.discovery.take import take
from nsctl.engines.survey import Survey
from nsctl.model.container import Container
from nsctl.model.part import Part
from unit.proctree import ProcTree

ALL = (1 << 41) - 1
"""Every capability."""


class Machine:
    """A /proc of files, surveyed."""

    def __init__(self, root: Path) -> None:
        self.tree = ProcTree(root)
        self.tree.reader()
        self.tree.add(1, ppid=0)

    def add(
        self,
        pid: int,
        *,
        uid: int = 0,
        caps: int = 0,
        seccomp: int = 0,
        nspids: tuple[int, ...] = (),
        ppid: int = 1,
        comm: bytes = b"containerd-shim",
        start: int = 100,
        cgroup: bytes = b"0::/\n",
        state: str = "S",
        words: tuple[str, ...] = (),
        inodes: tuple[int, ...] | None = None,
    ) -> Path:
        directory = self.tree.add(
            pid, inodes, ppid=ppid, comm=comm, start=start, caps=caps, state=state
        )
        status = (directory / "status").read_bytes()
        status = status.replace(b"Uid:\t0\t0\t0\t0", b"Uid:" + b"\t%d" % uid * 4)
        numbers = b"\t".join(b"%d" % number for number in nspids or (pid,))
        status = status.replace(b"NSpid:\t%d" % pid, b"NSpid:\t" + numbers)
        (directory / "status").write_bytes(status + b"Seccomp:\t%d\n" % seccomp)
        (directory / "cgroup").write_bytes(cgroup)
        (directory / "cmdline").write_bytes("".join(word + "\0" for word in words).encode())
        (directory / "root").mkdir()
        return directory

    def survey(self) -> Survey:
        found: list[Survey] = []

        def source(draft: Draft) -> list[Container]:
            shift = draft.start_of(0)
            found.append(Survey(draft.proc, draft.tasks, draft.reference, draft.reader, shift))
            return []

        take([Part.CONTAINERS], proc_root=str(self.tree.root), sources={"x": source})
        return found[0]

"""A /proc of files and links, as far as discovery reads one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from nsctl.kernel.procfs import PF_KTHREAD
from nsctl.model.namespace import NS_LINKS
from unit.factories import ns

READER = 4000
_MAP = b"         0          0 4294967295\n"
_OFFSETS = b"monotonic           0         0\nboottime            0         0\n"


class ProcTree:
    """Builds one process after another below a directory.

    Args:
        root: an empty directory, which is to stand for /proc.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "sys/kernel/random").mkdir(parents=True)
        (root / "sys/kernel/random/boot_id").write_bytes(b"8d3cd5b7-0000\n")
        (root / "uptime").write_bytes(b"5000.25 9000.00\n")

    def reader(
        self, inodes: tuple[int, ...] | None = None, *, caps: int = 0, offsets: bytes = _OFFSETS
    ) -> None:
        """Add the process that looks, and the link to it."""
        self.add(READER, inodes, comm=b"nsctl", caps=caps, offsets=offsets)
        # Its mount namespace is asked for its device, so that link must lead somewhere.
        directory = self.root / str(READER) / "ns"
        (directory / os.readlink(directory / "mnt")).touch()
        (self.root / str(READER) / "mountinfo").write_bytes(b"")
        (self.root / "self").symlink_to(str(READER))

    def add(
        self,
        pid: int,
        inodes: tuple[int, ...] | None = None,
        *,
        comm: bytes = b"x",
        state: str = "S",
        ppid: int = 1,
        start: int = 100,
        kernel: bool = False,
        threads: int = 1,
        caps: int = 0,
        offsets: bytes | None = _OFFSETS,
        links: Mapping[str, str] | None = None,
    ) -> Path:
        """Add a process with dangling links; inodes that are 0 get none.

        Args:
            pid: its number.
            inodes: as in a Task.
            comm: its command name.
            state: one letter.
            ppid: its parent.
            start: clock ticks as the reader's /proc shows them.
            kernel: a kernel thread.
            threads: how many.
            caps: capabilities in all sets.
            offsets: timens_offsets, None for a kernel without time namespaces.
            links: text of links in place of the usual one.

        Returns:
            Its directory.
        """
        directory = self.root / str(pid)
        directory.mkdir()
        fields = [0] * 30
        fields[0], fields[5], fields[16], fields[18] = (
            ppid,
            PF_KTHREAD if kernel else 0,
            threads,
            start,
        )
        numbers = " ".join(map(str, fields)).encode()
        (directory / "stat").write_bytes(b"%d (%s) %s %s\n" % (pid, comm, state.encode(), numbers))
        mask = b"%016x" % caps
        (directory / "status").write_bytes(
            b"Name:\t%s\nUid:\t0\t0\t0\t0\nGid:\t0\t0\t0\t0\nGroups:\t \nNSpid:\t%d\n" % (comm, pid)
            + b"".join(b"Cap%s:\t%s\n" % (s, mask) for s in (b"Inh", b"Prm", b"Eff", b"Bnd"))
        )
        (directory / "cgroup").write_bytes(b"0::/\n")
        (directory / "cmdline").write_bytes(b"" if kernel else comm + b"\0")
        (directory / "uid_map").write_bytes(_MAP)
        (directory / "gid_map").write_bytes(_MAP)
        (directory / "setgroups").write_bytes(b"allow\n")
        (directory / "fd").mkdir()
        if offsets is not None:
            (directory / "timens_offsets").write_bytes(offsets)
        self.link(directory, ns() if inodes is None else inodes, links)
        return directory

    @staticmethod
    def link(
        directory: Path, inodes: tuple[int, ...], links: Mapping[str, str] | None = None
    ) -> None:
        """Make the links below ``ns`` of a process or thread."""
        (directory / "ns").mkdir()
        for name, ino in zip(NS_LINKS, inodes, strict=True):
            text = (links or {}).get(name) or f"{name.removesuffix('_for_children')}:[{ino}]"
            if ino:
                (directory / "ns" / name).symlink_to(text)

    def remove(self, pid: int) -> None:
        """Let a process vanish."""
        shutil.rmtree(self.root / str(pid))

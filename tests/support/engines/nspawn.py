"""systemd-nspawn containers, where no systemd runs: each in a control group of its own."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

from support.engines.grouped import in_group
from support.engines.stage import Stage, busybox_root

_OPTIONS = (
    *("-q", "--register=no", "--keep-unit", "--link-journal=no", "--timezone=off"),
    *("--resolv-conf=off", "--console=pipe"),
)


class Nspawn:
    """systemd-nspawn and its containers.

    Args:
        stage: where it runs.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self._first = busybox_root(stage.directory / "root")
        (self._first / "usr").mkdir()
        (self._first / "etc/os-release").write_text("ID=busybox\n")

    def start(self, name: str, *options: str, named: bool = True) -> int:
        """Start a container.

        Args:
            name: of its directory, and of the machine where that is said.
            options: of systemd-nspawn(1).
            named: say the machine's name.

        Returns:
            Its first process.
        """
        root = self.stage.directory / "machines" / name
        shutil.copytree(self._first, root, symlinks=True)
        # Named as systemd-machined would name it: it is what --keep-unit takes as the unit.
        scope = f"{self.stage.cgroup}/machine.slice/machine-{name}.scope"
        words = ["systemd-nspawn", *_OPTIONS, "-D", str(root), *(("-M", name) if named else ())]
        command = in_group(scope, [*words, *options, "/bin/sleep", "1000"])
        process = self.stage.spawn(*command, log=f"{name}.log")
        found: list[int] = []

        def is_up() -> bool:
            found[:] = [pid for pid in children(process.pid) if runs(pid, "sleep")]
            return bool(found)

        self.stage.wait(is_up, f"{name}.log")
        return found[0]


def children(pid: int) -> list[int]:
    """The children of a process, each followed by its own."""
    found = []
    with contextlib.suppress(OSError):
        for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            found += [int(word), *children(int(word))]
    return found


def runs(pid: int, comm: str) -> bool:
    """Whether a process has a command name."""
    try:
        return Path(f"/proc/{pid}/comm").read_text() == f"{comm}\n"
    except OSError:
        return False

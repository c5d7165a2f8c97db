"""A place for one engine: private mount and network namespaces, a directory, and control groups.

What an engine changes besides its own directory (bridges, packet filters, /run, /var/lib) goes away
with the namespaces. Control groups stay when their processes are gone, so a stage has a parent of
its own in every hierarchy and removes what is below. The engine's files are not at the host's
paths: whoever wants to read them has to go through /proc/PID/root.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

from support.engines import clamp

_GRACE = 10.0
_SET_UP = r"""
set -e
ip link set lo up
mkdir "$1/sys" "$1/up" "$1/work"
mount -t sysfs sysfs "$1/sys"
if [ "$2" = v2 ]; then
    mount -t cgroup2 none "$1/sys/fs/cgroup"
else
    mount --rbind /sys/fs/cgroup "$1/sys/fs/cgroup"
fi
mount --move "$1/sys" /sys
mount -t overlay overlay -o "lowerdir=/var/lib,upperdir=$1/up,workdir=$1/work" /var/lib
mount -t tmpfs tmpfs /run
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
: > /run/empty
controllers=/sys/fs/cgroup/unified/cgroup.controllers
[ ! -e $controllers ] || mount --bind /run/empty $controllers
for runtime in "$1"/runtimes/*; do
    mount --bind "$runtime" "$(readlink -f "$(command -v "${runtime##*/}")")"
done
: > "$1/ready"
exec sleep infinity
"""


class Stage:
    """One place; a context manager that leaves nothing behind.

    Args:
        name: what the engine is called, for the names of directories and groups.
        own_pids: with a private PID namespace too, as an engine in a container has one.
        pure_v2: what is in it sees control groups of version 2 alone, as most hosts have.

    Attributes:
        directory: for the engine's files, of mode 0755, at the same path inside.
        cgroup: path of the parent group, the same in every hierarchy, which the engine makes.
        keeper: the process that keeps the namespaces.
    """

    def __init__(self, name: str, *, own_pids: bool = False, pure_v2: bool = False) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"nsctl-{name}-"))
        self.directory.chmod(0o755)
        self.cgroup = f"/nsctl-{name}-{secrets.token_hex(4)}"
        self._processes: list[subprocess.Popen[bytes]] = []
        self.keeper = 0
        self._own_pids = own_pids
        self._pure_v2 = pure_v2
        self._passed_on = _passed_on() if pure_v2 else {}

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        (self.directory / "runtimes").mkdir()
        for runtime in ("runc", "crun"):
            if program := shutil.which(runtime):
                clamp.write(self.directory / "runtimes" / runtime, self.directory, program)
        groups = "v2" if self._pure_v2 else "all"
        script = ["sh", "-c", _SET_UP, "sh", str(self.directory), groups]
        unshare = ["unshare", "--mount", "--net", "--propagation", "private"]
        if self._own_pids:
            unshare += ["--pid", "--fork", "--kill-child", "--mount-proc"]
        self.keeper = self._popen(_until_we_end([*unshare, *script]), "stage.log").pid
        ready = self.directory / "ready"
        self.wait(ready.exists, "stage.log")

    def inside(self, command: Sequence[str]) -> list[str]:
        """Make a command one that runs in the stage's namespaces."""
        keeper = f"/proc/{self.keeper}/ns"
        namespaces = [f"--mount={keeper}/mnt", f"--net={keeper}/net"]
        if self._own_pids:
            namespaces.append(f"--pid={keeper}/pid_for_children")
        return ["nsenter", *namespaces, "--", *command]

    def run(self, *command: str, environ: Mapping[str, str] | None = None) -> str:
        """Run a command in the stage; it must succeed.

        Returns:
            What it printed.
        """
        variables = {**os.environ, **(environ or {})}
        # To a file: a container's process may keep a pipe open. From a file too: runc gives its
        # standard streams to a container's root, and the host's /dev/null is not to be given away.
        with (
            tempfile.TemporaryFile(dir=self.directory) as nothing,
            tempfile.TemporaryFile(dir=self.directory) as out,
        ):
            done = subprocess.run(
                self.inside(command),
                stdin=nothing,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
                env=variables,
                timeout=60,
            )
            out.seek(0)
            text = out.read().decode(errors="surrogateescape")
        assert done.returncode == 0, f"{command}: {text}"
        return text

    def spawn(self, *command: str, log: str) -> subprocess.Popen[bytes]:
        """Start a daemon in the stage, which ends with the tests at the latest."""
        return self._popen(_until_we_end(self.inside(command)), log)

    def _popen(self, command: Sequence[str], log: str) -> subprocess.Popen[bytes]:
        with (
            tempfile.TemporaryFile(dir=self.directory) as nothing,
            (self.directory / log).open("wb") as file,
        ):
            process = subprocess.Popen(
                command, stdin=nothing, stdout=file, stderr=subprocess.STDOUT
            )
        self._processes.append(process)
        return process

    def wait(self, condition: Callable[[], object], log: str) -> None:
        """Wait until something is so; says what the log holds if it never is."""
        deadline = time.monotonic() + _GRACE
        while not condition():
            failed = [each.args for each in self._processes if each.poll()]
            if failed or time.monotonic() > deadline:
                text = (self.directory / log).read_text(errors="replace")
                raise AssertionError(f"{failed or 'not ready in time'}: {text[-3000:]}")
            time.sleep(0.01)

    def close(self) -> None:
        """End every process of the stage and remove its groups and files."""
        deadline = time.monotonic() + _GRACE
        self._thaw()
        while (left := self._left()) and time.monotonic() < deadline:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
            for process in self._processes:
                process.poll()
        for process in self._processes:
            process.kill()
            process.wait()
        for group in self.groups():
            # One that is still in use is the leak check's to tell.
            with contextlib.suppress(OSError):
                os.rmdir(group)
        for path, before in self._passed_on.items():
            # Engines pass controllers on to their groups, from the root down.
            for controller in path.read_text().split():
                if controller not in before:
                    path.write_text(f"-{controller}")
        shutil.rmtree(self.directory, ignore_errors=True)

    def _thaw(self) -> None:
        """Let paused containers go on: a frozen process cannot even be killed."""
        for group in self.groups():
            for name, word in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
                path = Path(group, name)
                if path.exists():
                    path.write_text(word)

    def groups(self) -> list[str]:
        """Directories of all control groups below the stage's own, deepest first."""
        tops = [
            f"{top}{self.cgroup}"
            for top, names, _ in os.walk("/sys/fs/cgroup")
            if self.cgroup[1:] in names
        ]
        return [found for top in tops for found, _, _ in os.walk(top, topdown=False)]

    def _left(self) -> set[int]:
        """Processes in the stage's groups or in its mount namespace."""
        found: set[int] = set()
        for group in self.groups():
            with contextlib.suppress(OSError), open(f"{group}/cgroup.procs", "rb") as file:
                found.update(int(line) for line in file if line.strip() != b"0")
        with contextlib.suppress(OSError):
            ours = os.readlink(f"/proc/{self.keeper}/ns/mnt") if self.keeper else ""
            for name in os.listdir("/proc"):
                if name.isdecimal() and ours:
                    with contextlib.suppress(OSError):
                        if os.readlink(f"/proc/{name}/ns/mnt") == ours:
                            found.add(int(name))
        # The last one keeps the namespace by which the others are found.
        return found - {self.keeper} or (found & {self.keeper})


def _passed_on() -> dict[Path, list[str]]:
    """Which controllers the roots of version 2 pass on."""
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").iterdir()]
    paths = [top / "cgroup.subtree_control" for top in tops]
    return {path: path.read_text().split() for path in paths if path.exists()}


def _until_we_end(command: Sequence[str]) -> list[str]:
    return ["setpriv", "--pdeathsig", "KILL", "--", *command]


def busybox_root(top: Path) -> Path:
    """Make a root file system of busybox in a directory.

    Returns:
        The directory.
    """
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "var", "run", "root"):
        (top / name).mkdir(parents=True)
    shutil.copy("/bin/busybox", top / "bin/busybox")
    listed = subprocess.run(["/bin/busybox", "--list"], capture_output=True, check=True, text=True)
    for name in listed.stdout.split("\n"):
        if name and name != "busybox":
            (top / "bin" / name).symlink_to("busybox")
    (top / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    (top / "etc/group").write_text("root:x:0:\n")
    return top

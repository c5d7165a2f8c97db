"""A load to look at: sleeping processes in groups, each group with namespaces of its own.

Groups of ten processes have a mount, PID, network, IPC, UTS and cgroup namespace; every fifth
group a user namespace too, every seventh a time namespace. An ordinary user's groups all have a
user namespace, without which there are no others.

All of it lives in one PID namespace. Its first process, the keeper, dies with whoever asked for
the load (PR_SET_PDEATHSIG), and with it the kernel ends every process below it. So nothing is
left, however the benchmark ends.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
from types import TracebackType
from typing import NoReturn, Self

GROUP = 10
LIMIT = 20_000
# KiB that a sleeping process and its share of namespaces take, and processes worth of room.
_EACH, _SPARE = 1024, 1000

_CLONE = {
    "time": 0x00000080,
    "mnt": 0x00020000,
    "cgroup": 0x02000000,
    "uts": 0x04000000,
    "ipc": 0x08000000,
    "user": 0x10000000,
    "pid": 0x20000000,
    "net": 0x40000000,
}
_EVERY_GROUP = ("mnt", "pid", "net", "ipc", "uts", "cgroup")
_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def _unshare(*kinds: str) -> None:
    flags = sum(_CLONE[kind] for kind in kinds)
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unshare {' '.join(kinds)}: {os.strerror(number)}")


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _new_user_namespace() -> None:
    uid, gid = os.geteuid(), os.getegid()
    _unshare("user")
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{uid} {uid} 1")
    _write("/proc/self/gid_map", f"{gid} {gid} 1")


def _start_group(number: int, size: int) -> None:
    """Make a group's namespaces and its processes, whose parent is the keeper once this ends."""
    if number % 5 == 0 or os.geteuid() != 0:
        _new_user_namespace()
    kinds = (*_EVERY_GROUP, "time") if number % 7 == 0 else _EVERY_GROUP
    _unshare(*kinds)
    for _ in range(size):
        if os.fork() == 0:
            os.execv("/bin/sleep", ("sleep", "infinity"))


def _keep(processes: int, ready: int) -> None:
    """Be the load's first process: start the groups, say so, and reap until killed."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for number, begin in enumerate(range(0, processes, GROUP)):
        starter = os.fork()
        if starter == 0:
            _start_group(number, min(GROUP, processes - begin))
            os._exit(0)
        if os.waitpid(starter, 0)[1] != 0:
            os._exit(1)
    os.write(ready, b"ready")
    os.close(ready)
    while True:
        signal.pause()


def _help(processes: int, said: int) -> NoReturn:
    """Make the PID namespace, name its first process to the benchmark, and wait for it."""
    try:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        if os.geteuid() != 0:
            _new_user_namespace()
        _unshare("pid", "mnt")
        # The keeper must not say that all is ready before its name is said.
        go, let_go = os.pipe()
        keeper = os.fork()
        if keeper == 0:
            os.close(let_go)
            os.read(go, 1)
            _keep(processes, said)
        os.write(said, f"{keeper} ".encode())
        os.close(said)
        os.close(let_go)
        os.waitpid(keeper, 0)
    except OSError as error:
        print(f"the load could not be made: {error}", file=sys.stderr)
    finally:
        os._exit(1)


def _require_memory(processes: int) -> None:
    """Refuse a load that this machine has no room for."""
    with open("/proc/meminfo") as file:
        sizes = dict(line.split(":", 1) for line in file)
    free = int(sizes["MemAvailable"].split()[0])
    needed = (processes + _SPARE) * _EACH
    if free < needed:
        sys.exit(f"{processes} processes need {needed >> 10} MB of memory, {free >> 10} are free")


class Load:
    """A load of sleeping processes, there as long as its ``with`` block lasts.

    Args:
        processes: how many, at most 20,000.
    """

    def __init__(self, processes: int) -> None:
        if not 0 <= processes <= LIMIT:
            raise ValueError(f"a load has 0 to {LIMIT} processes")
        self.processes = processes
        self.groups = -(-processes // GROUP)
        self._helper = self._keeper = 0

    def __enter__(self) -> Self:
        if self.processes == 0:
            return self
        _require_memory(self.processes)
        ready, said = os.pipe()
        # The benchmark itself stays in its namespaces: a helper makes the PID namespace.
        self._helper = os.fork()
        if self._helper == 0:
            os.close(ready)
            _help(self.processes, said)
        os.close(said)
        try:
            with os.fdopen(ready, "rb") as pipe:
                words = pipe.read().split(b" ")
        except BaseException:
            # The keeper dies with its helper, and all others with the keeper.
            os.kill(self._helper, signal.SIGKILL)
            os.waitpid(self._helper, 0)
            raise
        if words[-1] == b"ready":
            self._keeper = os.pidfd_open(int(words[0]))
            return self
        os.waitpid(self._helper, 0)
        sys.exit("the load could not be made")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.processes == 0:
            return
        # The keeper is not gone before the kernel has ended all others of its PID namespace.
        signal.pidfd_send_signal(self._keeper, signal.SIGKILL)
        select.select([self._keeper], [], [])
        os.close(self._keeper)
        os.waitpid(self._helper, 0)

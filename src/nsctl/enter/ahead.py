"""What is waited for while the rest is imported: the kernel's lock for moving between control groups.

Whoever moves a process takes one lock of all of them for writing, and the first to do so after a
while waits for all processors (percpu_down_write, an RCU grace period: 10 ms and more, in which
nothing is computed). Others shortly afterwards do not. So a thread of ours, which is good for
nothing else, is moved to where it is already.
"""

from __future__ import annotations

import _thread
import os

from nsctl.errors import Suppressed
from nsctl.kernel import cgroup, mountinfo
from nsctl.kernel.procfs import read_file


def expect_move() -> None:
    """Begin to wait, where a command will be moved; whatever fails here is no matter.

    In a hierarchy of version 1 alone a thread can be moved by itself (``tasks``, cgroups(7)).
    """
    if os.geteuid() != 0:
        return
    with Suppressed(OSError, ValueError):
        raw = read_file("/proc/self/mountinfo", limit=1 << 24)
        lines = [line for line in raw.split(b"\n") if b" - cgroup " in line]
        # One of them is enough.
        mounts = [mountinfo.parse_line(line) for line in lines[:1]]
        places = cgroup.places(cgroup.parse(read_file("/proc/self/cgroup")), mounts)
        if places:
            fd = os.open(places[0].directory + b"/tasks", os.O_WRONLY | os.O_CLOEXEC)
            _thread.start_new_thread(_move_itself, (fd,))


def _move_itself(fd: int) -> None:
    with Suppressed(OSError):
        try:
            os.write(fd, b"%d\n" % _thread.get_native_id())
        finally:
            os.close(fd)

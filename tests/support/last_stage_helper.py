"""The helper whose last stage is tested, run as a program of its own.

Arguments: the descriptor of stage2 or "-" for the Python twin, of the plan, of the report, and
then what it does before, in order:

``pid``         go into a new PID namespace, whose first process goes on
``user=IN``     go into a new user namespace in which one's own id is IN, the only one
``chroot=DIR``  change the root, but not the working directory
``ignore=N``    ignore a signal
``without=N``   drop the capabilities of a bit mask, in a way that exec as root keeps
"""

from __future__ import annotations

import os
import signal
import sys

from nsctl.child.plan import decode
from nsctl.child.stage2 import prepare
from nsctl.kernel.process import Held, capget, capset, drop_bounding
from nsctl.kernel.unshare import unshare
from nsctl.model.capabilities import numbers

CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000


def new_pid_namespace() -> None:
    """Go on as PID 1 of a new PID namespace; the parent passes its exit status on."""
    unshare(CLONE_NEWPID)
    child = os.fork()
    if child:
        os.closerange(3, 4096)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os._exit(code if code >= 0 else 128 - code)


def new_user_namespace(inside: str) -> None:
    """Go on in a new user namespace that has one id."""
    maps = {"uid_map": f"{inside} {os.geteuid()} 1", "gid_map": f"{inside} {os.getegid()} 1"}
    unshare(CLONE_NEWUSER)
    for name, text in {"setgroups": "deny", **maps}.items():
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def drop_capabilities(mask: int) -> None:
    """Hold fewer capabilities."""
    for number in numbers(mask):
        drop_bounding(number)
    capset(Held(*(held & ~mask for held in capget())))


def main() -> None:
    """Do what is asked for and become the last stage."""
    program, plan, report = sys.argv[1:4]
    finish = prepare(None if program == "-" else int(program))
    with open(int(plan), "rb") as file:
        wanted = decode(file.read())
    # As in a root that may be hostile: an import would fail.
    sys.meta_path.clear()
    sys.path.clear()
    for act in sys.argv[4:]:
        name, _, value = act.partition("=")
        if name == "pid":
            new_pid_namespace()
        elif name == "user":
            new_user_namespace(value)
        elif name == "chroot":
            os.chroot(value)
        elif name == "ignore":
            signal.signal(int(value), signal.SIG_IGN)
        elif name == "without":
            drop_capabilities(int(value))
    finish(wanted, int(report))


if __name__ == "__main__":
    main()

"""Root inside attacks whoever enters: confined, with SYS_PTRACE, and with every capability.

The attackers are Python programs in a PID namespace of their own, with the host's user namespace,
which is the worst case: their user is the host's root.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from nsctl.child.stage2 import object_path
from support.entering import DOCKERS, enter, enter_watched, python, target
from support.last_stage import eventually
from support.terminal import on_terminal
from support.users import clean_environment

pytestmark = pytest.mark.privileged

ENTRIES = 60
WATCHED = 20
LOADED = ("/usr/lib/", "/lib/", "/etc/ld.so", "/usr/bin/")
BOUNDING = {
    "confined": DOCKERS,
    "with SYS_PTRACE": f"{DOCKERS},+sys_ptrace",
    "privileged": "+all",
}

# Looks at every new process as soon as it can, takes from it what it can, and tells.
WATCHER = r"""
import ctypes, json, os, sys
libc = ctypes.CDLL(None, use_errno=True)
SEIZE, INTERRUPT, DETACH, EXITKILL = 0x4206, 0x4207, 17, 0x100000
told = open(sys.argv[1], "w", buffering=1)
known = {name for name in os.listdir("/proc") if name.isdigit()}
told.write("{}\n")
while True:
    alive = {name for name in os.listdir("/proc") if name.isdigit()}
    known &= alive
    for name in alive - known:
        known.add(name)
        found = {"caps": [], "fds": [], "written": [], "seized": False, "exe": ""}
        pid = int(name)
        found["seized"] = libc.ptrace(SEIZE, pid, None, None) == 0
        for _ in range(40):
            try:
                text = open(f"/proc/{name}/status").read()
                found["comm"] = text.split("\n")[0]
                for line in text.split("\n"):
                    if line.startswith("Cap"):
                        found["caps"].append(line)
                for fd in os.listdir(f"/proc/{name}/fd"):
                    found["fds"].append(os.readlink(f"/proc/{name}/fd/{fd}"))
                found["exe"] = os.readlink(f"/proc/{name}/exe")
                if "stage2" in found["exe"]:
                    os.write(os.open(f"/proc/{name}/exe", os.O_WRONLY), b"x")
                    found["written"].append(found["exe"])
            except OSError:
                pass
            if not os.path.exists(f"/proc/{name}"):
                break
        if found["seized"] and os.path.exists(f"/proc/{name}"):
            libc.ptrace(INTERRUPT, pid, None, None)
            libc.waitpid(pid, None, 0x40000000)
            libc.ptrace(DETACH, pid, None, None)
        found["fds"], found["caps"] = sorted(set(found["fds"])), sorted(set(found["caps"]))
        told.write(json.dumps(found) + "\n")
"""


def digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@pytest.mark.parametrize("kind", BOUNDING)
def test_nobody_inside_meets_a_process_with_more_than_its_own_powers(
    kind: str, tmp_path: Path
) -> None:
    told = tmp_path / "told"
    leaked = os.open("/root", os.O_RDONLY)
    os.set_inheritable(leaked, True)  # noqa: FBT003  (positional only)
    try:
        with target(*python(WATCHER, str(told)), bounding=BOUNDING[kind]) as pid:
            eventually(lambda: told.exists() and told.read_text() != "", "no watcher")
            with open(f"/proc/{pid}/status") as file:
                bounding = next(line for line in file if line.startswith("CapBnd"))
            for _ in range(WATCHED):
                seen = len(told.read_text().split("\n"))

                def looked(seen: int = seen) -> bool:
                    return len(told.read_text().split("\n")) > seen

                # One it looks at for as long as it likes, and one that goes its way.
                assert enter_watched(pid, looked, "sh", "-c", "exit 3") == 3
                assert enter(pid, "sh", "-c", "exit 3")[0] == 3
    finally:
        os.close(leaked)
    rows = [json.loads(line) for line in told.read_text().split("\n")[1:-1]]
    mask = int(bounding.split()[1], 16)
    for row in rows:
        for line in row["caps"]:
            assert not int(line.split("\t")[1], 16) & ~mask, row
        for link in row["fds"]:
            # Of files there are those alone that the command's own loader opens.
            assert link.split(":")[0] in {"pipe", "socket"} or link.startswith(LOADED), row
        assert row["written"] == []
        assert "python" not in row["exe"]
    # It did look; at the program only with the right to trace it.
    assert len([row for row in rows if row["caps"]]) >= WATCHED
    assert any("stage2" in row["exe"] for row in rows) == (kind != "confined")


OVERWRITER = r"""
import os, sys
told = open(sys.argv[1], "w", buffering=1)
told.write("ready\n")
while True:
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            link = os.readlink(f"/proc/{name}/exe")
            if "stage2" not in link:
                continue
            fd = os.open(f"/proc/{name}/exe", os.O_RDONLY)
        except OSError:
            continue
        for _ in range(100):
            try:
                # Not executed any more, a file that is not protected can be written.
                open_again = os.open(f"/proc/self/fd/{fd}", os.O_WRONLY)
                try:
                    os.write(open_again, b"x")
                    told.write(f"written {link}\n")
                finally:
                    os.close(open_again)
            except OSError as error:
                told.write(f"{error.errno} {link}\n")
        os.close(fd)
"""


@pytest.mark.parametrize("kind", ["confined", "privileged"])
def test_an_interpreter_that_is_the_entering_program_overwrites_nothing(
    kind: str, tmp_path: Path
) -> None:
    script = tmp_path / "command"
    script.write_text("#!/proc/self/exe\n")
    script.chmod(0o755)
    told = tmp_path / "told"
    watched = [sys.executable, os.path.realpath(sys.executable), object_path()]
    before = [digest(path) for path in watched]
    with target(*python(OVERWRITER, str(told)), bounding=BOUNDING[kind]) as pid:
        eventually(told.exists, "no attacker")
        for _ in range(ENTRIES):
            status, _ = enter(pid, str(script))
            assert status == 125
        eventually(lambda: "stage2" in told.read_text(), "it met no last stage")
    lines = set(told.read_text().split("\n"))
    assert not [line for line in lines if line.startswith("written")]
    assert [digest(path) for path in watched] == before


def test_input_pushed_into_the_terminal_stays_in_the_container() -> None:
    code = (
        "import fcntl\n"
        "for letter in b'echo stolen\\n':\n"
        "    try: fcntl.ioctl(0, 0x5412, bytes([letter]))\n"
        "    except OSError: pass"
    )
    with target() as pid:
        words = " ".join(("enter", str(pid), sys.executable, "-c", '"$0"'))
        command = ["sh", "-c", f"{sys.executable} -m nsctl {words}; echo back; cat", code]
        shown = on_terminal(
            command, 80, clean_environment("/root"), errors=True, typed=[(b"back", b"\x04")]
        )
    assert b"\nstolen" not in shown.replace(b"echo stolen", b"")
    assert b"back" in shown


def test_a_false_proc_inside_changes_nothing() -> None:
    with target() as pid:
        script = "mount -t tmpfs none /proc && mkdir /proc/self && echo 0 >/proc/self/status"
        subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", script], check=True)
        status, output = enter(pid, "cat", "/proc/self/status")
        assert (status, output) == (0, "0\n")
        assert enter(pid, "sh", "-c", "kill -0 1 && echo alive")[1] == "alive\n"


def test_a_working_directory_that_leads_out_is_not_entered(tmp_path: Path) -> None:
    opened = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(opened, True)  # noqa: FBT003  (positional only)
    try:
        with target() as pid:
            for cwd in (f"/proc/self/fd/{opened}", "/proc/self/fd/3", "/proc/self/fd/8"):
                with pytest.raises(Exception, match="working directory"):
                    enter(pid, "pwd", cwd=cwd)
    finally:
        os.close(opened)

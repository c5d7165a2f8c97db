"""A file system that never answers stops nobody who looks."""

from __future__ import annotations

import os
import time

import pytest

from support.holding import holding, look, row_of, tell
from support.users import Nsctl

pytestmark = [pytest.mark.privileged, pytest.mark.usefixtures("each_source")]

# Answers what must be answered to open one file, and nothing any more once it is open: whoever
# asks for its status, opens it or closes it waits until the server ends, with the test's end of
# the pipe. It is a process of its own, for who has the file open waits for it at its own end.
_SERVER = """
unshare(MNT)
mount("none", "/", None, 0x4000 | 1 << 18)
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
call("mount", b"hostile", b"/mnt", b"fuse", ctypes.c_ulong(0), options)
def attributes(ino):
    mode, links = (0o40755, 2) if ino == 1 else (0o100644, 1)
    return struct.pack("<QQQQQQIIIIIIIIII", ino, 0, 0, 0, 0, 0, 0, 0, 0, mode, links, 0, 0, 0, 512, 0)
def serve():
    silent = False
    while True:
        request = os.read(device, 1 << 17)
        length, operation, unique, node = struct.unpack_from("<IIQQ", request)
        body = None
        if operation == 26:
            body = struct.pack("<IIIIHHIIHHI28x", 7, 31, 65536, 0, 12, 10, 65536, 1, 32, 0, 0)
        elif silent:
            continue
        elif operation == 1:
            body = struct.pack("<QQQQII", 2, 0, 0, 0, 0, 0) + attributes(2)
        elif operation == 3:
            body = struct.pack("<QII", 0, 0, 0) + attributes(node)
        elif operation == 14:
            body = struct.pack("<QII", 7, 0, 0)
            silent = True
        error = 0 if body is not None else -38
        body = body or b""
        os.write(device, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
if not os.fork():
    threading.Thread(target=serve, daemon=True).start()
    sys.stdin.read()
    os._exit(0)
os.close(device)
"""


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="needs /dev/fuse")
def test_a_file_that_never_answers_in_a_table_or_a_message_costs_a_bounded_time(
    nsctl: Nsctl,
) -> None:
    code = (
        _SERVER
        + """
fd = os.open("/mnt/net", os.O_RDONLY)
ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
ino, uts = elsewhere(UTS, "uts", lambda: own("uts"))
ours.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd, uts]))])
os.close(uts)
ready(uts=ino, fd=theirs.fileno())
"""
    )
    with holding(code) as (pid, made, _):
        began = time.monotonic()
        document = tell(nsctl)
        assert time.monotonic() - began < 30  # not for ever
        row = row_of(document, "uts", made["uts"])
        assert row["holders"] == [{"kind": "inflight", "pid": pid, "fd": made["fd"]}]


def test_paths_that_are_longer_than_the_kernel_tells_stop_nobody(nsctl: Nsctl) -> None:
    code = """
ino, fd = elsewhere(UTS, "uts", lambda: own("uts"))
unshare(MNT)
mount("none", "/", None, 0x4000 | 1 << 18)
mount("none", "/mnt", "tmpfs", 0)
os.chdir("/mnt")
for _ in range(30):
    os.mkdir("x" * 200)
    os.chdir("x" * 200)
here = os.open(".", os.O_RDONLY)
os.chroot(".")
ready(uts=ino, fd=fd)
"""
    with holding(code) as (pid, made, _):
        row = look(nsctl, "uts", made["uts"])
        assert row["holders"] == [{"kind": "fd", "pid": pid, "fd": made["fd"]}]

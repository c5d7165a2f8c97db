"""Namespaces that sockets, tun devices, unread messages and rings keep alive: made and found."""

from __future__ import annotations

import os

import pytest

from support.holding import holding, lacks, look, number, row_of, tell
from support.users import Nsctl

pytestmark = [pytest.mark.privileged, pytest.mark.usefixtures("each_source")]

_SEND = """
def send(sock, *fds, data=b"x"):
    sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))])
def uts():
    return elsewhere(UTS, "uts", lambda: own("uts"))
"""


def test_a_socket_holds_the_network_that_it_was_made_in(nsctl: Nsctl) -> None:
    code = """
kept = []
def make():
    kept.extend((socket.socket(), socket.socket(socket.AF_UNIX), os.dup(0)))
    return [kept[0].fileno(), kept[1].fileno()]
net, fds = elsewhere(NET, "net", make)
ready(net=net, fds=fds)
"""
    with holding(code) as (pid, made, _):
        document = tell(nsctl)
        row = row_of(document, "net", made["net"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "socket", "pid": pid, "fd": fd} for fd in made["fds"]]
        assert row["ons"] == number("user")
        assert row["ns_id"]
        assert row["netnsid_num"] == -1
        host = row_of(document, "net", number("net"))
        assert {"kind": "socket", "pid": pid} not in host["holders"]


def test_a_tun_device_holds_its_network(nsctl: Nsctl) -> None:
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    code = """
import fcntl
def make():
    fd = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"nsctl0", 0x1001))
    return fd
net, fd = elsewhere(NET, "net", make)
ready(net=net, fd=fd)
"""
    with holding(code) as (pid, made, _):
        row = look(nsctl, "net", made["net"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "tun", "pid": pid, "fd": made["fd"]}]
        assert row["ons"] == number("user")


@pytest.mark.parametrize("kind", ["SOCK_STREAM", "SOCK_DGRAM", "SOCK_SEQPACKET"])
def test_an_unread_message_holds_what_is_in_it_and_stays_unread(nsctl: Nsctl, kind: str) -> None:
    code = (
        _SEND
        + """
ours, theirs = socket.socketpair(socket.AF_UNIX, getattr(socket, sys.argv[1]))
ino, fd = uts()
if sys.argv[1] == "SOCK_STREAM":
    ours.send(b"before")
send(ours, fd, data=b"hello")
ours.send(b"after")
os.close(fd)
print(json.dumps(dict(uts=ino, fd=theirs.fileno())), flush=True)
sys.stdin.readline()
took = []
while len(b"".join(data for data, _ in took)) < len(b"helloafter") + 6 * (sys.argv[1] == "SOCK_STREAM"):
    data, control, flags, _ = theirs.recvmsg(100, 100)
    took.append((data, [struct.unpack("i", each[2])[0] for each in control]))
ready(data=[data.decode() for data, _ in took],
      inos=[os.fstat(each).st_ino for _, fds in took for each in fds],
      peek=theirs.getsockopt(socket.SOL_SOCKET, 42))
"""
    )
    with holding(code, kind) as (pid, made, ask):
        for _ in range(2):
            row = look(nsctl, "uts", made["uts"])
            assert row["nprocs"] == 0
            assert row["holders"] == [{"kind": "inflight", "pid": pid, "fd": made["fd"]}]
            assert row["ons"] == number("user")
        taken = ask()
        assert "".join(taken["data"]).removeprefix("before") == "helloafter"
        assert taken["inos"] == [made["uts"]]
        assert taken["peek"] == -1


def test_a_socket_in_a_message_is_looked_into_and_holds_its_network(nsctl: Nsctl) -> None:
    code = (
        _SEND
        + """
outer, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
net, inner = elsewhere(NET, "net", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM))
ino, fd = uts()
send(inner[0], fd)
send(outer, inner[1].fileno())
os.close(fd)
for each in inner:
    each.close()
ready(uts=ino, net=net, fd=receiver.fileno())
"""
    )
    with holding(code) as (pid, made, _):
        document = tell(nsctl)
        holder = {"kind": "inflight", "pid": pid, "fd": made["fd"]}
        assert row_of(document, "uts", made["uts"])["holders"] == [holder]
        assert row_of(document, "net", made["net"])["holders"] == [holder]


def test_where_a_peek_would_be_noticed_or_reaches_nothing_it_is_said(nsctl: Nsctl) -> None:
    code = (
        _SEND
        + """
ino, fd = uts()
moving, watched = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
watched.setsockopt(socket.SOL_SOCKET, 42, 0)
send(moving, fd)
queue, reader = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
send(queue, own("uts"))
send(queue, fd, fd)
listener = socket.socket(socket.AF_UNIX)
listener.bind("")
listener.listen()
client = socket.socket(socket.AF_UNIX)
client.connect(listener.getsockname())
send(client, fd, fd, fd)
print(json.dumps(dict(uts=ino)), flush=True)
sys.stdin.readline()
accepted, _ = listener.accept()
ready(offset=watched.getsockopt(socket.SOL_SOCKET, 42),
      count=len(accepted.recvmsg(10, 100)[1][0][2]))
"""
    )
    with holding(code) as (pid, made, ask):
        document = tell(nsctl)
        row = row_of(document, "uts", made["uts"])
        assert {holder["kind"] for holder in row["holders"]} == {"fd"}
        assert lacks(document, "SO_PEEK_OFF")
        assert lacks(document, "2 descriptors in unread messages they lie behind")
        assert lacks(document, "3 descriptors in unread messages nobody has accepted")
        taken = ask()
        assert taken == {"offset": 0, "count": 12}
        assert pid


def test_a_ring_holds_the_files_registered_with_it(nsctl: Nsctl) -> None:
    code = (
        _SEND
        + """
parameters = ctypes.create_string_buffer(120)
ring = libc.syscall(425, 4, parameters)
if ring < 0:
    ready(error=os.strerror(ctypes.get_errno()))
    sys.exit()
ino, fd = uts()
files = (ctypes.c_int * 3)(-1, fd, -1)
if libc.syscall(427, ring, 2, files, 3) < 0:
    raise OSError(ctypes.get_errno(), "io_uring_register")
os.close(fd)
ready(uts=ino, fd=ring)
"""
    )
    with holding(code) as (pid, made, _):
        if "error" in made:
            pytest.skip(f"needs io_uring: {made['error']}")
        row = look(nsctl, "uts", made["uts"])
        assert row["nprocs"] == 0
        assert row["holders"] == [{"kind": "ioring", "pid": pid, "fd": made["fd"]}]


def test_a_socket_in_the_own_table_of_a_thread_is_asked_there(nsctl: Nsctl) -> None:
    code = """
found = {}
made = threading.Event()
def work():
    unshare(FILES)
    net, kept = elsewhere(NET, "net", socket.socket)
    found.update(tid=threading.get_native_id(), net=net, fd=kept.fileno())
    made.set()
    threading.Event().wait()
threading.Thread(target=work, daemon=True).start()
made.wait()
ready(**found)
"""
    with holding(code) as (pid, made, _):
        assert look(nsctl, "net", made["net"])["holders"] == [
            {"kind": "socket", "pid": pid, "tid": made["tid"], "fd": made["fd"]}
        ]

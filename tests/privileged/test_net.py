"""`nsctl net` against ip(8) and ss(8), run inside each namespace of a lab of ten."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from support.holding import holding
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.privileged

Row = dict[str, Any]

# Names of its own, in a mount and a network namespace of its own: what it makes dies with it.
_LAB = r"""
set -e
mount -t tmpfs tmpfs /run
mkdir /run/netns
# Addresses are there at once, not when nobody has objected for a second.
settle='echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad'
sh -c "$settle"
ip link set lo up
for name in a b c d e f g h i; do
    ip netns add $name
    ip netns exec $name sh -c "$settle"
    ip -n $name link set lo up
done
ip link add br0 type bridge
ip addr add 10.61.0.254/24 dev br0
ip -6 addr add 2001:db8:61::254/64 dev br0 nodad
ip link set br0 up
for place in 1:a 2:b 3:c; do
    number=${place%:*} name=${place#*:}
    ip link add port$number type veth peer name eth0 netns $name
    ip link set port$number master br0 up
    ip -n $name addr add 10.61.0.$number/24 brd + dev eth0
    ip -n $name -6 addr add 2001:db8:61::$number/64 dev eth0 nodad
    ip -n $name link set eth0 up
    ip -n $name route add default via 10.61.0.254
    ip -n $name -6 route add default via 2001:db8:61::254 metric 77
done
# From one to another, past the host.
ip -n a link add across type veth peer name back netns d
ip -n a link set across up
ip -n d link set back up
ip -n d addr add 10.62.0.1 peer 10.62.0.2/32 dev back
ip -n d link property add dev back altname a-very-long-name-of-an-interface
# On a bridge of another namespace, twice.
for name in e f; do
    ip link add mv$name link br0 type macvlan mode bridge
    ip link set mv$name netns $name
done
ip -n e link set mve up
ip -n e addr add 10.61.0.5/24 dev mve
ip -n g link add vx0 type vxlan id 5 dstport 4789 dev lo
ip -n g link set vx0 up
# Both ends in one, and a pair whose other end is down.
ip -n h link add near type veth peer name far
ip -n h link set near up
ip -n h addr add 10.63.0.1/24 dev near
ip -n h link set far up
ip -n h route add 10.70.0.0/16 nexthop via 10.63.0.2 weight 3 nexthop via 10.63.0.3
ip -n h route add blackhole 10.71.0.0/16
ip -n h route add unreachable 10.72.0.0/16 metric 9
ip -n h route add prohibit 10.73.0.0/16
ip -n h route add 10.74.0.0/16 via 10.63.0.9 mtu 1280 table 1000
ip -n h -6 route add 2001:db8:70::/48 nexthop via fe80::2 dev near nexthop via fe80::3 dev near
ip -n h neigh add 10.63.0.2 lladdr 02:00:00:00:00:02 dev near
ip -n h neigh add 10.63.0.3 lladdr 02:00:00:00:00:03 dev near nud stale
ip -n i tuntap add mode tap name tap0
ip -n i addr add 10.64.0.1/24 dev tap0
ip netns exec a sh -c 'exec 3>&1; exec sleep 1000' &
sleeper=$!
echo $sleeper
read line || true
kill $sleeper
"""
_NAMES = ("a", "b", "c", "d", "e", "f", "g", "h", "i")


class Lab(NamedTuple):
    """Ten network namespaces; all but two are without a process.

    Attributes:
        pid: the process in the first, which has the bridge.
        sleeper: the process in "a".
    """

    pid: int
    sleeper: int

    def inside(self, name: str, *command: str) -> str:
        """Run a command in one of them, with the lab's own files; "" for the first."""
        prefix = ["nsenter", "-t", str(self.pid), "-m", "-n"]
        if name:
            prefix += ["ip", "netns", "exec", name]
        done = subprocess.run(
            [*prefix, *command], check=True, capture_output=True, env=clean_environment("/")
        )
        return done.stdout.decode(errors="surrogateescape")

    def ip(self, name: str, *words: str) -> list[Row]:
        """What ip -j says there; it says nothing where there is nothing."""
        found: list[Row] = json.loads(self.inside(name, "ip", "-j", *words) or "[]")
        return found

    def ino(self, name: str) -> int:
        """The inode of one of them."""
        return int(self.inside(name, "stat", "-L", "-c", "%i", "/proc/self/ns/net"))


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    missing = [name for name in ("ip", "ss", "unshare", "nsenter") if shutil.which(name) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    process = subprocess.Popen(
        ("unshare", "-m", "-n", "--propagation", "private", "sh", "-c", _LAB),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment("/"),
    )
    with process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            assert line, "the lab could not be made"
            yield Lab(process.pid, int(line))
        finally:
            assert process.stdin is not None
            process.stdin.close()
            process.wait(10)


@pytest.fixture(scope="module")
def seen(lab: Lab, nsctl: Nsctl) -> dict[str, Row]:
    """What nsctl says of each, from outside of them all."""
    rows = {row["ns"]: row for row in tell(nsctl)["net"]}
    return {name: rows[lab.ino(name)] for name in ("", *_NAMES)}


def tell(nsctl: Nsctl, *words: str) -> Row:
    found: Row = json.loads(nsctl("net", "-J", *words, check=0).stdout)
    return found


def net_of(nsctl: Nsctl, ino: int) -> Row:
    (row,) = tell(nsctl, f"net:[{ino}]")["net"]
    found: Row = row
    return found


_LINK = (
    *("ifname", "flags", "mtu", "qdisc", "operstate", "group", "txqlen", "link_type"),
    *("address", "broadcast", "master"),
)
_MORE = ("link", "link_index", "link_netnsid", "altnames")
_TIMES = ("valid_life_time", "preferred_life_time")
# "scope 0" has no word in the JSON of older ip(8).
_ADDRESS = ("family", "local", "address", "prefixlen", "broadcast", "scope", "label", "dynamic")


def as_link(row: Row) -> Row:
    made = {key: row.get(key) for key in _LINK}
    made |= {key: row[key] for key in _MORE if row.get(key)}
    made["kind"] = (row.get("linkinfo") or {}).get("info_kind")
    made["port"] = (row.get("linkinfo") or {}).get("info_slave_kind")
    made["addresses"] = [
        {key: each.get(key) for key in _ADDRESS if each.get(key) is not None}
        # What goes down each second is not the same in two answers.
        | ({} if each.get("dynamic") else {key: each[key] for key in _TIMES})
        for each in row["addr_info"]
    ]
    return made


@pytest.mark.parametrize("name", ["", *_NAMES])
def test_interfaces_and_addresses_are_those_of_ip(
    lab: Lab, seen: dict[str, Row], name: str
) -> None:
    ours = {row["ifindex"]: as_link(row) for row in seen[name]["interfaces"]}
    theirs = {row["ifindex"]: as_link(row) for row in lab.ip(name, "-d", "addr")}
    assert ours == theirs


def as_route(row: Row) -> Row:
    keys = ("dst", "dev", "gateway", "prefsrc", "metric", "flags", "pref", "metrics", "nexthops")
    made = {key: row[key] for key in keys if row.get(key) is not None}
    made["type"] = row.get("type", "unicast")
    made["table"] = row.get("table", "main")
    for word, default in (("protocol", "boot"), ("scope", None)):
        value = row.get(word, default)
        # ip leaves out a scope that is the usual one for the type.
        if word == "protocol" or value not in {None, "global"}:
            made[word] = value
    return made


def in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: json.dumps(row, sort_keys=True))


@pytest.mark.parametrize("name", ["", *_NAMES])
def test_routes_of_all_tables_are_those_of_ip(
    lab: Lab, nsctl: Nsctl, seen: dict[str, Row], name: str
) -> None:
    (row,) = tell(nsctl, "--table", "all", f"net:[{lab.ino(name)}]")["net"]
    for family, option in (("inet", "-4"), ("inet6", "-6")):
        theirs = lab.ip(name, option, "-d", "route", "show", "table", "all")
        ours = [each for each in row["routes"] if each["family"] == family]
        assert in_order(list(map(as_route, ours))) == in_order(list(map(as_route, theirs)))
        # Without --table those of `ip route`, and of tables that somebody made.
        main = [each for each in seen[name]["routes"] if each["family"] == family]
        plain = [each for each in main if each["table"] == "main"]
        theirs = lab.ip(name, option, "route")
        assert sorted(each["dst"] for each in plain) == sorted(each["dst"] for each in theirs)
    assert {each["table"] for each in seen[name]["routes"]} <= {"main", "1000"}


@pytest.mark.parametrize("name", ["", *_NAMES])
def test_neighbours_are_those_of_ip(lab: Lab, seen: dict[str, Row], name: str) -> None:
    keys = ("dst", "dev", "lladdr")
    ours = [{key: row[key] for key in keys} for row in seen[name]["neighbours"]]
    theirs = [{key: row.get(key) for key in keys} for row in lab.ip(name, "neigh")]
    assert in_order(ours) == in_order(theirs)
    if name == "h":
        states = {row["dst"]: row["state"] for row in seen[name]["neighbours"]}
        assert states == {"10.63.0.2": ["PERMANENT"], "10.63.0.3": ["STALE"]}


def peers(row: Row) -> dict[str, tuple[int, str]]:
    return {
        each["ifname"]: (each["peer"]["ns"], each["peer"]["ifname"])
        for each in row["interfaces"]
        if each["peer"]
    }


def test_both_ends_of_every_pair_are_matched(lab: Lab, seen: dict[str, Row]) -> None:
    inodes = {name: row["ns"] for name, row in seen.items()}
    assert peers(seen[""]) == {
        f"port{number}": (inodes[name], "eth0") for number, name in enumerate("abc", 1)
    }
    assert peers(seen["a"]) == {
        "eth0": (inodes[""], "port1"),
        "across": (inodes["d"], "back"),
    }
    assert peers(seen["d"]) == {"back": (inodes["a"], "across")}
    assert peers(seen["e"]) == {"mve": (inodes[""], "br0")}
    assert peers(seen["f"]) == {"mvf": (inodes[""], "br0")}
    assert peers(seen["h"]) == {"near": (inodes["h"], "far"), "far": (inodes["h"], "near")}
    assert seen["a"]["processes"] == [lab.sleeper]
    assert seen["b"]["processes"] == []
    (bridge,) = [
        each for each in seen[""]["interfaces"] if each["linkinfo"] == {"info_kind": "bridge"}
    ]
    assert [(port["ifname"], port["peer"]["ns"]) for port in bridge["ports"]] == [
        (f"port{number}", inodes[name]) for number, name in enumerate("abc", 1)
    ]
    assert bridge["ports"][0]["peer"]["whose"]["pid"] == lab.sleeper


def test_the_picture_names_the_other_ends(lab: Lab, nsctl: Nsctl) -> None:
    shown = nsctl("net", f"{lab.sleeper}", check=0).stdout
    assert "-> sh[" in shown
    assert ":port1 on br0" in shown
    assert "-> d:back" in shown
    host = nsctl("net", f"{lab.pid}", check=0).stdout
    assert "port1 " in host
    assert f"-> sleep[{lab.sleeper}]:eth0" in host
    multi = nsctl("net", "-a", f"net:[{lab.ino('h')}]", check=0).stdout
    assert (
        "10.70.0.0/16 [via 10.63.0.2 dev near weight 3] [via 10.63.0.3 dev near weight 1]" in multi
    )
    assert "blackhole 10.71.0.0/16" in multi
    assert "10.74.0.0/16 via 10.63.0.9 dev near table 1000" in multi


_SOCKETS = r"""
import fcntl, time
unshare(NET)
os.system("ip link set lo up")
tcp = socket.socket(); tcp.bind(("0.0.0.0", 80)); tcp.listen(5)
kept = [socket.create_connection(("127.0.0.1", 80)) for _ in range(3)]
accepted, _ = tcp.accept()
six = socket.socket(socket.AF_INET6); six.bind(("::", 81)); six.listen()
only = socket.socket(socket.AF_INET6); only.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
only.bind(("::", 82)); only.listen()
bound = socket.socket(); bound.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
bound.bind(("127.0.0.1", 83)); bound.listen()
udp = socket.socket(type=socket.SOCK_DGRAM); udp.bind(("127.0.0.1", 53))
udp.sendto(b"unread", udp.getsockname())
talking = socket.socket(type=socket.SOCK_DGRAM); talking.connect(("127.0.0.1", 53))
lite = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM, 136); lite.bind(("::1", 54))
raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)
raw6 = socket.socket(socket.AF_INET6, socket.SOCK_RAW, 58)
mptcp = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 262); mptcp.bind(("127.0.0.1", 84))
mptcp.listen()
packet = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.ntohs(0x800)); packet.bind(("lo", 0x800))
cooked = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.ntohs(3))
route = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0); route.bind((0, 1))
abstract = socket.socket(socket.AF_UNIX); abstract.bind(b"\0a\0\x1b[31m\xff"); abstract.listen(3)
client = socket.socket(socket.AF_UNIX); client.connect(b"\0a\0\x1b[31m\xff")
waiting = socket.socket(socket.AF_UNIX); waiting.connect(b"\0a\0\x1b[31m\xff")
peer, _ = abstract.accept()
path = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET); path.bind(sys.argv[1]); path.listen()
dgram = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
unbound = socket.socket()
brief = socket.socket(); brief.bind(("127.0.0.1", 85)); brief.listen()
closed = socket.create_connection(("127.0.0.1", 85)); other, _ = brief.accept()
closed.close(); other.recv(1); other.close()
child = os.fork()
if child == 0:
    time.sleep(1000)
names = {k: (v.fileno(), os.fstat(v.fileno()).st_ino) for k, v in dict(globals()).items()
         if isinstance(v, socket.socket) and v.fileno() >= 0}
ready(net=number("net"), child=child, names=names)
os.kill(child, 9)
"""


@contextlib.contextmanager
def sockets(tmp_path: os.PathLike[str]) -> Iterator[tuple[int, Row]]:
    """A process with sockets of every family in a network namespace of its own, and its child."""
    with holding(_SOCKETS, os.path.join(tmp_path, "s")) as (pid, made, _):
        try:
            yield pid, made
        finally:
            os.kill(made["child"], 9)


def of_ss(pid: int, *options: str) -> list[tuple[str, str, int, int, int]]:
    """What ss says: kind, state, queues and inode of every Internet socket."""
    done = subprocess.run(
        ("nsenter", "-t", str(pid), "-n", "ss", "-Hanpe", *options),
        check=True, capture_output=True, text=True,
    )  # fmt: skip
    found = []
    for line in done.stdout.split("\n"):
        words = line.split()
        if words:
            ino = next((int(word[4:]) for word in words if word.startswith("ino:")), 0)
            found.append((words[0], words[1], int(words[2]), int(words[3]), ino))
    return found


def test_internet_sockets_are_those_of_ss(nsctl: Nsctl, tmp_path: os.PathLike[str]) -> None:
    with sockets(tmp_path) as (pid, made):
        rows = net_of(nsctl, made["net"])["sockets"]
        inet = [row for row in rows if row["family"] in {"inet", "inet6"}]
        keys = ("netid", "state", "recv_q", "send_q")
        ours = sorted((*(row[key] for key in keys), row["inode"] or 0) for row in inet)
        # ss has no option for UDP-Lite, and tells no inode of raw sockets.
        told = [row for row in ours if row[0] != "udpl"]
        assert [row for row in told if row[0] != "raw"] == sorted(of_ss(pid, "-A", "tcp,udp,mptcp"))
        assert len(of_ss(pid, "-A", "raw,sctp")) == sum(row[0] == "raw" for row in told) == 2
        assert len(ours) == len(told) + 1
        local = {row["inode"]: row for row in rows}
        six, only = local[made["names"]["six"][1]], local[made["names"]["only"][1]]
        assert (six["local"], six["local_port"], six["v6only"]) == ("::", 81, False)
        assert (only["local"], only["v6only"]) == ("::", True)
        assert local[made["names"]["bound"][1]]["dev"] == "lo"
        assert local[made["names"]["udp"][1]]["recv_q"] > 0
        assert local[made["names"]["tcp"][1]]["recv_q"] == 2  # connections that nobody took
        assert local[made["names"]["raw6"][1]]["local_port"] == 58
        assert made["names"]["unbound"][1] not in local


def test_other_sockets_are_those_of_the_kernels_files(
    nsctl: Nsctl, tmp_path: os.PathLike[str]
) -> None:
    with sockets(tmp_path) as (pid, made):
        rows = net_of(nsctl, made["net"])["sockets"]
        for family, column in (("unix", 6), ("packet", 8), ("netlink", 9)):
            text = subprocess.run(
                ("cat", f"/proc/{pid}/net/{family}"), check=True, capture_output=True
            ).stdout
            lines = [line.split() for line in text.split(b"\n")[1:] if line]
            inodes = {int(line[column]) for line in lines} - {0}
            assert {row["inode"] for row in rows if row["family"] == family} == inodes
        local = {row["inode"]: row for row in rows}
        names = made["names"]
        abstract = local[names["abstract"][1]]
        assert abstract["local"] == "@a\0\x1b[31m\ufffd"
        assert bytes.fromhex(abstract["local_raw"]) == b"@a\0\x1b[31m\xff"
        assert (abstract["netid"], abstract["state"], abstract["abstract"]) == (
            "u_str",
            "LISTEN",
            True,
        )
        peer = local[names["client"][1]]
        assert (peer["peer"], peer["peer_inode"]) == (abstract["local"], names["peer"][1])
        path = local[names["path"][1]]
        assert (path["netid"], path["abstract"], path["listening"]) == ("u_seq", False, True)
        assert path["local"].endswith("/s")
        assert local[names["packet"][1]]["dev"] == "lo"
        assert local[names["cooked"][1]]["netid"] == "p_dgr"
        assert local[names["route"][1]]["local"] == "route"


def test_every_socket_names_all_its_processes(nsctl: Nsctl, tmp_path: os.PathLike[str]) -> None:
    with sockets(tmp_path) as (pid, made):
        rows = net_of(nsctl, made["net"])["sockets"]
        local = {row["inode"]: row for row in rows}
        for name, (fd, ino) in made["names"].items():
            if ino not in local:
                assert name == "unbound"
                continue
            owners = [(each["pid"], each["fd"]) for each in local[ino]["owners"]]
            assert owners == [(pid, fd), (made["child"], fd)], name
            assert local[ino]["unowned"] is None
        states = {(row["state"], row["unowned"]) for row in rows if not row["owners"]}
        assert ("TIME-WAIT", "time-wait") in states
        assert ("ESTAB", "not accepted") in states
        assert ("UNCONN", "kernel") in states
        shown = nsctl("net", "-s", "-a", f"net:[{made['net']}]", check=0).stdout
        assert "@a\\x00\\x1b[31m\\xff" in shown
        assert "\x1b" not in shown


def test_a_socket_of_another_network_is_shown_there_with_its_process(nsctl: Nsctl) -> None:
    code = """
def make():
    made = socket.socket(); made.bind(("0.0.0.0", 7001)); made.listen()
    return made.detach()
net, fd = elsewhere(NET, "net", make)
unshare(NET)
ready(net=net, own=number("net"), fd=fd)
"""
    with holding(code) as (pid, made, _):
        found = {row["ns"]: row for row in tell(nsctl)["net"]}
        # Nothing but the socket keeps that namespace.
        assert found[made["net"]]["processes"] == []
        (row,) = [each for each in found[made["net"]]["sockets"] if each["family"] == "inet"]
        (owner,) = row["owners"]
        assert (owner["pid"], owner["fd"], owner["elsewhere"]) == (pid, made["fd"], True)
        (there,) = found[made["own"]]["elsewhere"]
        assert (there["ns"], there["socket"]["local_port"]) == (made["net"], 7001)
        shown = nsctl("net", str(pid), check=0).stdout
        assert "holds" in shown
        assert "tcp 0.0.0.0:7001" in shown


def test_a_socket_in_an_unread_message_names_who_will_read_it(nsctl: Nsctl) -> None:
    code = """
unshare(NET)
sent = socket.socket(type=socket.SOCK_DGRAM); sent.bind(("0.0.0.0", 7002))
ino = os.fstat(sent.fileno()).st_ino
one, two = socket.socketpair(socket.AF_UNIX)
one.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [sent.fileno()]))])
sent.close()
ready(net=number("net"), fd=two.fileno(), ino=ino)
"""
    with holding(code) as (pid, made, _):
        rows = net_of(nsctl, made["net"])["sockets"]
        (row,) = [each for each in rows if each["inode"] == made["ino"]]
        (owner,) = row["owners"]
        assert (owner["pid"], owner["fd"], owner["kind"]) == (pid, made["fd"], "inflight")


def test_a_thread_with_a_table_of_its_own_is_named(nsctl: Nsctl) -> None:
    code = """
made = []
def work():
    unshare(FILES)
    kept = socket.socket(type=socket.SOCK_DGRAM); kept.bind(("127.0.0.1", 0))
    made.append((threading.get_native_id(), kept.fileno(), os.fstat(kept.fileno()).st_ino, kept))
    done.set()
    threading.Event().wait()
unshare(NET)
os.system("ip link set lo up")
done = threading.Event()
threading.Thread(target=work, daemon=True).start()
done.wait()
tid, fd, ino, _ = made[0]
ready(net=number("net"), tid=tid, fd=fd, ino=ino)
"""
    with holding(code) as (pid, made, _):
        rows = net_of(nsctl, made["net"])["sockets"]
        (row,) = [each for each in rows if each["inode"] == made["ino"]]
        assert [(o["pid"], o["tid"], o["fd"]) for o in row["owners"]] == [
            (pid, made["tid"], made["fd"])
        ]


def test_vsock_is_found_though_this_kernel_may_not_list_it(nsctl: Nsctl) -> None:
    code = """
unshare(NET)
try:
    made = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    made.bind((0xffffffff, 9999)); made.listen()
except OSError:
    ready(net=0)
else:
    ready(net=number("net"), fd=made.fileno())
"""
    with holding(code) as (pid, made, _):
        if not made["net"]:
            pytest.skip("needs a kernel with vsock")
        (row,) = [r for r in net_of(nsctl, made["net"])["sockets"] if r["family"] == "vsock"]
        assert (row["netid"], row["state"], row["local_port"]) == ("v_str", "LISTEN", 9999)
        assert [(o["pid"], o["fd"]) for o in row["owners"]] == [(pid, made["fd"])]


def test_a_tap_device_names_who_has_it_open(nsctl: Nsctl) -> None:
    if not os.path.exists("/dev/net/tun"):
        pytest.skip("needs /dev/net/tun")
    code = """
import fcntl
unshare(NET)
fd = os.open("/dev/net/tun", os.O_RDWR)
fcntl.ioctl(fd, 0x400454ca, struct.pack("16sH22x", b"tap7", 0x1002))
ready(net=number("net"), fd=fd)
"""
    with holding(code) as (pid, made, _):
        links = {row["ifname"]: row for row in net_of(nsctl, made["net"])["interfaces"]}
        users = links["tap7"]["users"]
        assert [(user["pid"], user["fd"]) for user in users] == [(pid, made["fd"])]


def test_names_of_interfaces_are_escaped(nsctl: Nsctl) -> None:
    code = r"""
unshare(NET)
name = b"e\x1b[31m\xff"
# RTM_NEWLINK: any bytes are a name that are no blank, slash or colon.
def attribute(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)
info = attribute(18, attribute(1, b"bridge"))
body = struct.pack("=BxHiII", 0, 0, 0, 0, 0) + attribute(3, name + b"\0") + info
with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as fd:
    fd.send(struct.pack("=IHHII", 16 + len(body), 16, 0x605, 1, 0) + body)
    kind, error = struct.unpack_from("=H10xi", fd.recv(4096), 4)
assert (kind, error) == (2, 0), (kind, error)
ready(net=number("net"))
"""
    with holding(code) as (_, made, _):
        links = net_of(nsctl, made["net"])["interfaces"]
        (row,) = [each for each in links if each["ifname"].startswith("e")]
        assert row["ifname"] == "e\x1b[31m\ufffd"
        assert bytes.fromhex(row["ifname_raw"]) == b"e\x1b[31m\xff"
        shown = nsctl("net", f"net:[{made['net']}]", check=0).stdout
        assert "e\\x1b[31m\\xff" in shown
        assert "\x1b" not in shown


def test_looking_leaves_no_socket_and_disturbs_no_queue(
    nsctl: Nsctl, tmp_path: os.PathLike[str]
) -> None:
    with sockets(tmp_path) as (_, made):
        before = net_of(nsctl, made["net"])["sockets"]
        after = net_of(nsctl, made["net"])["sockets"]
        kept = ("inode", "state", "recv_q", "send_q", "owners")
        # The kernel's own end of sock_diag counts what it is being asked.
        assert [[row[key] for key in kept] for row in after if row["family"] != "netlink"] == [
            [row[key] for key in kept] for row in before if row["family"] != "netlink"
        ]
        assert {row["inode"] for row in before} == {row["inode"] for row in after}


def test_a_saved_moment_shows_the_same_network(
    lab: Lab, nsctl: Nsctl, tmp_path: os.PathLike[str]
) -> None:
    file = os.path.join(tmp_path, "moment.json")
    nsctl("snapshot", file, check=0)
    (saved,) = tell(nsctl, "--from", file, f"net:[{lab.ino('a')}]")["net"]
    live = net_of(nsctl, lab.ino("a"))
    assert saved["interfaces"] == live["interfaces"]
    assert saved["routes"] == live["routes"]

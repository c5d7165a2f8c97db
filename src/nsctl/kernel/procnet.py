"""Sockets as the files below /proc/PID/net show them: proc_pid_net(5).

They say less than sock_diag(7), and stand in for it where that is missing or refused. A name of a
unix socket is not escaped there: one with a line end looks like another socket, and NULs of an
abstract name are shown as "@". Lines that are no socket are left out.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable, Iterator

from nsctl.kernel.rtnetlink import address_text
from nsctl.kernel.sockdiag import state_name
from nsctl.kernel.sockdiag_local import NETLINK_PROTOCOLS, TYPES
from nsctl.model.network import Socket

_INET = re.compile(
    rb" *[0-9]+: ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4}) ([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})"
    rb" ([0-9A-F]{2}) ([0-9A-F]{8,16}):([0-9A-F]{8,16}) [0-9A-F:]+ [0-9A-F]+ +([0-9]{1,10}) +[0-9]+"
    rb" ([0-9]{1,20})(?: .*)?"
)
_UNIX = re.compile(
    rb"[0-9a-fK]+: [0-9A-F]{8} [0-9A-F]{8} ([0-9A-F]{8}) ([0-9A-F]{4}) ([0-9A-F]{2})"
    rb" *([0-9]{1,20})(?: (.*))?",
    re.DOTALL,
)
_PACKET = re.compile(
    rb"[0-9a-fK]+ +[0-9]+ +([0-9]{1,10}) +([0-9a-f]{1,4}) +([0-9]{1,9}) +[0-9]+ +([0-9]{1,10})"
    rb" +([0-9]{1,10}) +([0-9]{1,20}) *"
)
_NETLINK = re.compile(
    rb"[0-9a-fK]+ +([0-9]{1,10}) +([0-9]{1,10}) +[0-9a-f]+ +([0-9]{1,10}) +([0-9]{1,10})"
    rb" +.* ([0-9]{1,20}) *"
)
_ACCEPTS = 0x10000  # __SO_ACCEPTCON
_CONNECTED, _CONNECTING = 3, 2
_LARGEST = (1 << 64) - 1

FILES: dict[str, tuple[str, str]] = {
    "tcp": ("tcp", "stream"),
    "tcp6": ("tcp", "stream"),
    "udp": ("udp", "dgram"),
    "udp6": ("udp", "dgram"),
    "udplite": ("udplite", "dgram"),
    "udplite6": ("udplite", "dgram"),
    "raw": ("raw", "raw"),
    "raw6": ("raw", "raw"),
    "icmp": ("icmp", "dgram"),
    "icmp6": ("icmp", "dgram"),
    "unix": ("unix", ""),
    "packet": ("packet", ""),
    "netlink": ("netlink", ""),
}
"""The files that list sockets: protocol and type of those, where the lines do not say it."""


def parse(name: str, raw: bytes) -> list[Socket]:
    """Parse one of the files.

    Args:
        name: one of `FILES`.
        raw: all of it.

    Returns:
        Its sockets.
    """
    protocol, kind = FILES[name]
    if protocol == "unix":
        line: Callable[[bytes], Socket | None] = _unix
    elif protocol == "packet":
        line = _packet
    elif protocol == "netlink":
        line = _netlink
    else:
        return list(_inet(raw, protocol, kind))
    rows = (line(each) for each in raw.split(b"\n")[1:])
    return [row for row in rows if row is not None]


def _inet(raw: bytes, protocol: str, kind: str) -> Iterator[Socket]:
    for line in raw.split(b"\n")[1:]:
        found = _INET.fullmatch(line)
        if found is None:
            continue
        local, local_port, peer, peer_port, state, written, read, uid, ino = found.groups()
        yield Socket(
            family="inet" if len(local) == 8 else "inet6",
            protocol=protocol,
            type=kind,
            state=state_name(int(state, 16)),
            local=_address(local),
            local_port=int(local_port, 16),
            peer=_address(peer),
            peer_port=int(peer_port, 16),
            recv_queue=int(read, 16),
            send_queue=int(written, 16),
            ino=min(int(ino), _LARGEST),
            uid=int(uid),
        )


def _address(written: bytes) -> bytes:
    """Read an address, written as 32-bit numbers of the machine's byte order."""
    words = [int(written[at : at + 8], 16) for at in range(0, len(written), 8)]
    raw = struct.pack(f"{'<' if sys.byteorder == 'little' else '>'}{len(words)}I", *words)
    return address_text(raw).encode()


def _unix(line: bytes) -> Socket | None:
    found = _UNIX.fullmatch(line)
    if found is None:
        return None
    flags, kind, state, ino, name = found.groups()
    connected = int(state, 16) in {_CONNECTED, _CONNECTING}
    word = "LISTEN" if int(flags, 16) & _ACCEPTS else "ESTAB" if connected else "UNCONN"
    name = name or b""
    return Socket(
        family="unix",
        protocol="unix",
        type=TYPES.get(int(kind, 16), str(int(kind, 16))),
        state=word,
        local=b"\0" + name[1:] if name.startswith(b"@") else name,
        local_port=-1,
        ino=min(int(ino), _LARGEST),
    )


def _packet(line: bytes) -> Socket | None:
    found = _PACKET.fullmatch(line)
    if found is None:
        return None
    kind, protocol, device, memory, uid, ino = found.groups()
    return Socket(
        family="packet",
        protocol="packet",
        type=TYPES.get(int(kind), str(int(kind))),
        state="UNCONN",
        local=b"",
        local_port=int(protocol, 16),
        device=int(device),
        recv_queue=int(memory),
        ino=min(int(ino), _LARGEST),
        uid=int(uid),
    )


def _netlink(line: bytes) -> Socket | None:
    found = _NETLINK.fullmatch(line)
    if found is None:
        return None
    family, port, read, written, ino = map(int, found.groups())
    return Socket(
        family="netlink",
        protocol="netlink",
        type="raw",
        state="UNCONN",
        local=NETLINK_PROTOCOLS.get(family, str(family)).encode(),
        local_port=port,
        recv_queue=read,
        send_queue=written,
        ino=min(ino, _LARGEST),
    )


COUNTS = ("sockstat", "sockstat6")
"""The files that count sockets."""
_COUNTED = ("inuse", "tw", "used")


def _is_count(word: bytes) -> bool:
    return word.isdigit() and len(word) < 20


def most_sockets(texts: tuple[bytes, bytes]) -> int | None:
    """Tell how many sockets a network namespace has at most.

    Args:
        texts: its `COUNTS`, whole.

    Returns:
        Those of programs, whatever their kind and whoever has them, those of the kernel's own that
        any protocol of the Internet knows, and what connections left behind; some are counted
        twice. None where the files are not as they should be.
    """
    found = 0
    for text in texts:
        protocols = 0
        for line in text.split(b"\n"):
            _, colon, rest = line.partition(b": ")
            words = rest.split(b" ")
            if not colon or len(words) % 2 or not all(map(_is_count, words[1::2])):
                if line:
                    return None
                continue
            counts = dict(zip(words[::2], map(int, words[1::2]), strict=True))
            protocols += b"inuse" in counts
            found += sum(counts.get(word.encode(), 0) for word in _COUNTED)
        if not protocols:
            return None
    return found

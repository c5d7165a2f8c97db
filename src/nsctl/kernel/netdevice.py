"""Network devices by ioctl: only what needs no netlink message (netdevice(7))."""

from __future__ import annotations

import socket
import struct
from fcntl import ioctl

_SIOCGIFFLAGS = 0x8913
_SIOCSIFFLAGS = 0x8914
_IFF_UP = 0x1
_IFREQ = struct.Struct("16sH22x")


def set_up(name: str) -> None:
    """Bring a device of the caller's network namespace up.

    Args:
        name: of the device, at most 15 bytes ("lo").

    Raises:
        OSError: ENODEV, or EPERM without CAP_NET_ADMIN.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as endpoint:
        answer = ioctl(endpoint, _SIOCGIFFLAGS, _IFREQ.pack(name.encode(), 0))
        _, flags = _IFREQ.unpack(answer)
        ioctl(endpoint, _SIOCSIFFLAGS, _IFREQ.pack(name.encode(), flags | _IFF_UP))

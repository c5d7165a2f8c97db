"""The network namespaces of sockets and of tun devices, and what a socket's fdinfo says.

A socket stays in the network namespace that it was made in, wherever its process goes, and keeps
it alive (network_namespaces(7)). Numbers are those of x86 and arm; mips, powerpc and sparc encode
ioctls differently. Sources: linux/sockios.h, linux/if_tun.h, proc_pid_fdinfo(5).
"""

from __future__ import annotations

from fcntl import ioctl

SIOCGSKNS = 0x894C
TUNGETDEVNETNS = 0x54E3
TUN_DEVICE = (10, 200)
"""Major and minor number of /dev/net/tun (devices.txt)."""

_SCM_FDS = b"scm_fds:"


def socket_netns(fd: int) -> int:
    """Open the network namespace of a socket (SIOCGSKNS, since 4.10).

    Args:
        fd: any socket.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        OSError: EPERM without CAP_NET_ADMIN in the user namespace that owns it.
    """
    return ioctl(fd, SIOCGSKNS)


def tun_netns(fd: int) -> int:
    """Open the network namespace of the tun device that a descriptor is attached to.

    Args:
        fd: of /dev/net/tun.

    Returns:
        A descriptor, close-on-exec, which the caller closes.

    Raises:
        OSError: EBADFD where it is attached to no device, EPERM without CAP_NET_ADMIN in the
            user namespace that owns the namespace, ENOTTY before 6.1.
    """
    return ioctl(fd, TUNGETDEVNETNS)


def parse_scm_fds(raw: bytes) -> int:
    """Parse how many descriptors lie in a unix socket's unread messages.

    Args:
        raw: a whole /proc/PID/fdinfo/FD.

    Returns:
        The number, for a listening socket that of all connections which nobody has accepted; 0
        for other sockets and before 5.6.

    Raises:
        ValueError: the line holds no number.
    """
    for line in raw.split(b"\n"):
        if line.startswith(_SCM_FDS):
            return int(line[len(_SCM_FDS) :])
    return 0


def parse_tun_name(raw: bytes) -> bytes:
    """Parse the name of the device that a descriptor of /dev/net/tun is attached to.

    Args:
        raw: a whole /proc/PID/fdinfo/FD.

    Returns:
        Its name in its network namespace; b"" where it is attached to none.
    """
    for line in raw.split(b"\n"):
        if line.startswith(b"iff:\t"):
            return line[5:]
    return b""

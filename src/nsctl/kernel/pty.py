"""Pseudoterminals by descriptor: pty(7), ioctl_tty(2), the kernel's filesystems/devpts.rst."""

from __future__ import annotations

import os
import struct
from fcntl import ioctl

_TIOCSPTLCK = 0x40045431
_TIOCGPTPEER = 0x5441
_TIOCSCTTY = 0x540E
_TIOCGWINSZ = 0x5413
_TIOCSWINSZ = 0x5414
_INT = struct.Struct("=i")


def open_pair(devpts_fd: int) -> tuple[int, int]:
    """Make a pseudoterminal in one certain devpts, never by a path.

    Args:
        devpts_fd: descriptor of the devpts's root.

    Returns:
        The master and the terminal itself, neither of them controlling anybody.

    Raises:
        OSError: the kernel's errno.
    """
    flags = os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC
    master = os.open("ptmx", flags | os.O_NOFOLLOW, dir_fd=devpts_fd)
    try:
        ioctl(master, _TIOCSPTLCK, _INT.pack(0))
        return master, ioctl(master, _TIOCGPTPEER, flags)
    except OSError:
        os.close(master)
        raise


def copy_window_size(source_fd: int, target_fd: int) -> None:
    """Give one terminal the size of another."""
    ioctl(target_fd, _TIOCSWINSZ, ioctl(source_fd, _TIOCGWINSZ, bytes(8)))


def window_size(fd: int) -> bytes:
    """Read a terminal's size, as struct winsize has it."""
    return ioctl(fd, _TIOCGWINSZ, bytes(8))


def set_window_size(fd: int, size: bytes) -> None:
    """Set a terminal's size.

    Args:
        fd: of the terminal or its master.
        size: struct winsize, as `window_size` gives it.
    """
    ioctl(fd, _TIOCSWINSZ, size)


def make_controlling(fd: int) -> None:
    """Make a terminal the controlling one of the caller's session, which it leads.

    Raises:
        OSError: EPERM where the caller leads no session, or has another terminal.
    """
    ioctl(fd, _TIOCSCTTY, 0)

"""What the fdinfo of an io_uring says of the files registered with it: io_uring_register(2).

Registered files are in no table of descriptors. The kernel shows each as the link of a descriptor
would, with blanks, tabs, newlines and backslashes escaped.
"""

from __future__ import annotations

from nsctl.kernel.mountinfo import unescape

LINK = "anon_inode:[io_uring]"
"""The link of a descriptor of a ring."""


def parse_user_files(raw: bytes) -> list[tuple[int, bytes]]:
    """Find the registered files in a ring's fdinfo.

    Args:
        raw: a whole /proc/PID/fdinfo/FD.

    Returns:
        Slot and link ("net:[4026531840]", "socket:[1234]", a path) of each; none for a file that
        is no ring, or while the ring is busy, when the kernel shows none.

    Raises:
        ValueError: the list has a line that is none of it.
    """
    files = []
    listed = False
    for line in raw.split(b"\n"):
        if line.startswith(b"UserFiles:"):
            listed = True
        elif listed:
            slot, separator, link = line.partition(b": ")
            if not line.startswith(b" ") or not separator:
                break
            files.append((int(slot), unescape(link)))
    return files


def count_user_files(raw: bytes) -> int:
    """How many slots a ring's fdinfo says that it has; 0 where it does not say."""
    for line in raw.split(b"\n"):
        if line.startswith(b"UserFiles:"):
            return int(line[10:])
    return 0

"""The names of the caller's UTS namespace: uname(2), uts_namespaces(7)."""

from __future__ import annotations

import ctypes

from nsctl.kernel.libc import syscall
from nsctl.model.contents import UtsNames

# linux/utsname.h: six fields; the second is the node name, the last the domain.
_FIELD = 65
_FIELDS = 6
_NODE = 1
_DOMAIN = 5


def names() -> UtsNames:
    """Ask for host and domain name.

    Returns:
        Raw bytes, at most 64 each; whoever may set them chooses them freely.
    """
    buffer = ctypes.create_string_buffer(_FIELD * _FIELDS)
    syscall("uname", buffer)
    return UtsNames(_field(buffer.raw, _NODE), _field(buffer.raw, _DOMAIN))


def _field(raw: bytes, index: int) -> bytes:
    return raw[index * _FIELD : (index + 1) * _FIELD].partition(b"\0")[0]

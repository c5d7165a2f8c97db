"""The syntax of a TARGET; nothing is looked up here.

``web`` (name or id prefix), ``docker://web``, ``4560`` (all digits are a PID), ``4560:4026532720``
(pinned), ``net:[4026532720]``, ``pod/[NAMESPACE:]POD[/CONTAINER]``, another path with a slash,
``@host``.
"""

from __future__ import annotations

import re

from nsctl.errors import TargetError
from nsctl.model.namespace import NamespaceType
from nsctl.model.target import Target

PID_LIMIT = 1 << 22  # the kernel's own (PID_MAX_LIMIT, proc_sys_kernel(5))
_NAMESPACE = re.compile(r"([a-z]+):\[([0-9]{1,20})\]")
_PINNED = re.compile(r"([0-9]{1,20}):([0-9]{1,20})")
_POD = re.compile(r"pod/(?:([^:/]+):)?([^:/]+)(?:/([^/]+))?")
_ENGINE = re.compile(r"([a-z][a-z0-9.-]*)://(.+)", re.DOTALL)


def parse(text: str) -> Target:
    """Take a TARGET apart.

    Args:
        text: as typed.

    Returns:
        Its parts.

    Raises:
        TargetError: it is empty, or names a type or PID that cannot exist.
    """
    if not text:
        raise TargetError("use", "TARGET", "it is empty", "name a container, a PID or @host")
    if text == "@host":
        return Target("host", text)
    if text.startswith("@"):
        raise TargetError("use", f"TARGET {text}", "the only name with @ is @host")
    if text.isascii() and text.isdecimal():
        return Target("pid", text, pid=_pid(text, text))
    if match := _PINNED.fullmatch(text):
        ino = int(match[2])
        if not ino:
            raise TargetError("use", f"TARGET {text}", "no namespace has the inode 0")
        return Target("pid", text, pid=_pid(text, match[1]), ino=ino)
    if match := _NAMESPACE.fullmatch(text):
        try:
            kind = NamespaceType(match[1])
        except ValueError:
            types = ", ".join(NamespaceType)
            raise TargetError(
                "use",
                f"TARGET {text}",
                f"there is no namespace type {match[1]!r}",
                f"one of {types}",
            ) from None
        return Target("namespace", text, ino=int(match[2]), type=kind)
    if match := _ENGINE.fullmatch(text):
        return Target("name", text, engine=match[1], name=match[2])
    if match := _POD.fullmatch(text):
        namespace, pod, name = match.groups(default="")
        return Target("pod", text, name=name, pod=pod, pod_namespace=namespace)
    if "/" in text:
        return Target("path", text)
    return Target("name", text, name=text)


def _pid(text: str, digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else 0
    if not 0 < number < PID_LIMIT:
        raise TargetError("use", f"TARGET {text}", f"a PID lies between 1 and {PID_LIMIT - 1}")
    return number

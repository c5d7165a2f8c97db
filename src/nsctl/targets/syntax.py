"""The syntax of a TARGET; nothing is looked up here.

``web`` (name or id prefix), ``docker://web``, ``4560`` (all digits are a PID), ``4560:4026532720``
(pinned), ``net:[4026532720]``, ``pod/[NAMESPACE:]POD[/CONTAINER]``, another path with a slash,
``@host``.
"""

from __future__ import annotations

from nsctl.errors import TargetError
from nsctl.model.namespace import NamespaceType
from nsctl.model.target import Target

PID_LIMIT = 1 << 22  # the kernel's own (PID_MAX_LIMIT, proc_sys_kernel(5))
_DIGITS = 20  # of a 64-bit number
_IN_ENGINES = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-")


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
    first, colon, second = text.partition(":")
    if colon and _is_number(first) and _is_number(second):
        ino = int(second)
        if not ino:
            raise TargetError("use", f"TARGET {text}", "no namespace has the inode 0")
        return Target("pid", text, pid=_pid(text, first), ino=ino)
    if _is_type(first) and second[:1] == "[" and second[-1:] == "]" and _is_number(second[1:-1]):
        try:
            kind = NamespaceType(first)
        except ValueError:
            types = ", ".join(NamespaceType)
            raise TargetError(
                "use",
                f"TARGET {text}",
                f"there is no namespace type {first!r}",
                f"one of {types}",
            ) from None
        return Target("namespace", text, ino=int(second[1:-1]), type=kind)
    engine, scheme, name = text.partition("://")
    if scheme and name and engine[:1].isalpha() and _IN_ENGINES.issuperset(engine):
        return Target("name", text, engine=engine, name=name)
    if text.startswith("pod/"):
        found = _pod(text)
        if found is not None:
            return found
    if "/" in text:
        return Target("path", text)
    return Target("name", text, name=text)


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and len(text) <= _DIGITS


def _is_type(text: str) -> bool:
    return text.isascii() and text.isalpha() and text.islower()


def _pod(text: str) -> Target | None:
    """Take ``pod/[NAMESPACE:]POD[/CONTAINER]`` apart; None for what is a path."""
    words = text.split("/")
    namespace, colon, pod = words[1].rpartition(":")
    if len(words) > 3 or not all(words) or ":" in namespace or not pod or (colon and not namespace):
        return None
    name = words[2] if len(words) == 3 else ""
    return Target("pod", text, name=name, pod=pod, pod_namespace=namespace)


def _pid(text: str, digits: str) -> int:
    number = int(digits) if len(digits) <= 20 else 0
    if not 0 < number < PID_LIMIT:
        raise TargetError("use", f"TARGET {text}", f"a PID lies between 1 and {PID_LIMIT - 1}")
    return number

"""A small root file system to try containers with, made from programs of this host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterable

from nsctl.errors import NsctlError

_DIRECTORIES = ("bin", "dev", "etc", "proc", "root", "sys", "tmp")
_FALLBACK = ("sh", "sleep", "id", "hostname", "cat", "ls", "ps", "uname")
_INTERPRETER = re.compile(rb"\x7fELF")


def make(directory: str) -> str:
    """Make a root file system from busybox, else from the host's own shell and its libraries.

    Args:
        directory: an empty directory, which becomes the root.

    Returns:
        What it is made of, for people: "busybox", or "this host's sh, sleep ..".

    Raises:
        NsctlError: there is neither.
    """
    for name in _DIRECTORIES:
        os.mkdir(os.path.join(directory, name), 0o755)
    os.chmod(directory, 0o755)  # noqa: S103  (the container's root is another user here)
    busybox = shutil.which("busybox")
    if busybox is not None and not _libraries(busybox):
        _busybox(busybox, directory)
        return "busybox"
    return _programs(directory)


def _busybox(busybox: str, directory: str) -> None:
    shutil.copyfile(busybox, f"{directory}/bin/busybox")
    os.chmod(f"{directory}/bin/busybox", 0o755)  # noqa: S103  (a program)
    listed = subprocess.run([busybox, "--list"], capture_output=True, check=True, timeout=10)
    for applet in listed.stdout.decode("ascii", "replace").split("\n"):
        if applet and applet != "busybox" and "/" not in applet:
            os.symlink("busybox", f"{directory}/bin/{applet}")


def _programs(directory: str) -> str:
    found = {name: path for name in _FALLBACK if (path := shutil.which(name))}
    if "sh" not in found or "sleep" not in found:
        raise NsctlError(
            "make",
            "a root file system",
            "this host has no busybox, and no sh and sleep",
            "install busybox-static",
        )
    libraries: set[str] = set()
    for name, path in found.items():
        shutil.copyfile(path, f"{directory}/bin/{name}")
        os.chmod(f"{directory}/bin/{name}", 0o755)  # noqa: S103  (a program)
        libraries |= _libraries(path)
    _copy(libraries, directory)
    return f"this host's {', '.join(found)}"


def _libraries(path: str) -> set[str]:
    """The shared libraries and loader of a program, empty for a static one (ldd(1))."""
    with open(path, "rb") as file:
        if not _INTERPRETER.match(file.read(4)):
            return set()
    listed = subprocess.run(["ldd", path], capture_output=True, check=False, timeout=10)
    words = re.findall(r"(?:=> )?(/\S+) \(0x", listed.stdout.decode("utf-8", "replace"))
    return set(words)


def _copy(paths: Iterable[str], directory: str) -> None:
    for path in paths:
        target = directory + path
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(path, target)
        os.chmod(target, 0o755)  # noqa: S103  (the loader is a program)

"""The tools of a debug shell: what of the host, of a directory or of an image its root consists of.

The root is an empty file system in memory in which each directory of the tools is attached,
read-only; so nothing has to be made in the tools themselves, and of the host there is nothing but
programs, what those load, and the few files of /etc that they look into.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from nsctl.debug.request import BUSYBOX, HOST
from nsctl.errors import NsctlError, UsageError, translate
from nsctl.model.record import NamedTuple

BIND, LINK = "bind", "link"

FLAT = "/tools"
"""Where a directory of programs is that is no root file system."""

_PROGRAMS = ("usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix/store", "gnu/store")
_ETC = (
    "alternatives",
    "bindresvport.blacklist",
    "ca-certificates",
    "ethertypes",
    "gai.conf",
    "gdb",
    "group",
    "host.conf",
    "inputrc",
    "iproute2",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "nanorc",
    "networks",
    "nsswitch.conf",
    "passwd",
    "pki/ca-trust",
    "pki/tls/certs",
    "protocols",
    "rpc",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "vim",
)
_OWN = frozenset({"proc", "sys", "dev", "run", "tmp", "target", "root", ".", ".."})
"""What of a root file system is the shell's own, whatever the tools have there."""

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_SHELLS = ("bash", "sh", "ash", "dash")
_ELF = b"\x7fELF"
_PT_INTERP = 3


class Entry(NamedTuple):
    """One thing in the root.

    Attributes:
        kind: `BIND` for a clone of a file or directory, `LINK` for a symbolic link.
        path: where, absolute.
        value: what is cloned, or where the link leads.
    """

    kind: str
    path: str
    value: str


class Tools(NamedTuple):
    """What the root consists of.

    Attributes:
        words: what it is, for people.
        entries: what is put there.
        path: PATH.
        shell: what runs where no command is given.
    """

    words: str
    entries: tuple[Entry, ...]
    path: str
    shell: tuple[str, ...]


def find(text: str) -> Tools:
    """Find the tools that were asked for.

    Args:
        text: as in `nsctl.debug.request.Request.tools`.

    Raises:
        UsageError: there is no such thing.
        NsctlError: an image cannot be unpacked.
    """
    if text == HOST:
        return of_host()
    if text == BUSYBOX:
        return of_busybox()
    from nsctl.run.sources import open_root
    from nsctl.run.store import default_store

    if not text:
        raise UsageError("--tools takes host, busybox, or a directory, archive or image")
    root = open_root(text, default_store())
    return of_directory(root.path, root.image or root.path)


def of_host(root: str = "/") -> Tools:
    """The host's programs.

    Args:
        root: of the host.
    """
    entries = [entry for name in _PROGRAMS for entry in _entry(root, name, "/" + name)]
    entries += [entry for name in _ETC for entry in _entry(f"{root}/etc", name, f"/etc/{name}")]
    shell = os.environ.get("SHELL", "")
    known = any(shell.startswith(f"/{name}/") for name in _PROGRAMS) and os.access(shell, os.X_OK)
    if not known:
        shell = "/bin/bash" if os.access("/bin/bash", os.X_OK) else "/bin/sh"
    return Tools("the host's tools", tuple(entries), _PATH, (shell,))


def of_busybox(busybox: str = "") -> Tools:
    """One static busybox and its names.

    Args:
        busybox: its path; "" for the host's.
    """
    path = busybox or shutil.which("busybox") or ""
    if not path or not is_static(path):
        cause = f"{path} needs libraries" if path else "there is none here"
        raise NsctlError("use", "busybox", cause, "install a static one (Debian: busybox-static)")
    try:
        listed = subprocess.run([path, "--list"], capture_output=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise NsctlError("use", "busybox", f"{path} --list fails") from error
    names = [name for name in os.fsdecode(listed).split("\n") if name and "/" not in name]
    entries = [Entry(BIND, "/bin/busybox", os.path.realpath(path))]
    entries += [Entry(LINK, f"/bin/{name}", "busybox") for name in names if name != "busybox"]
    return Tools("busybox", tuple(entries), "/bin", ("/bin/sh",))


def of_directory(directory: str, words: str = "") -> Tools:
    """A root file system with tools, or a directory of programs.

    Args:
        directory: its path.
        words: what it is called; "" for its path.
    """
    directory = os.path.abspath(directory)
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise translate(error, "read", f"the tools in {directory}") from error
    words = words or directory
    if not {"bin", "usr", "sbin"} & set(names):
        return _of_programs(directory, names, words)
    entries = [
        entry
        for name in names
        if name not in _OWN and name != "etc"
        for entry in _entry(directory, name, "/" + name)
    ]
    etc = f"{directory}/etc"
    if os.path.isdir(etc) and not os.path.islink(etc):
        entries += [
            entry for name in sorted(os.listdir(etc)) for entry in _entry(etc, name, f"/etc/{name}")
        ]
    for place in ("bin", "usr/bin"):
        for name in _SHELLS:
            if os.path.lexists(f"{directory}/{place}/{name}"):
                return Tools(words, tuple(entries), _PATH, (f"/{place}/{name}",))
    return Tools(words, tuple(entries), _PATH, ("/bin/sh",))


def _of_programs(directory: str, names: list[str], words: str) -> Tools:
    shell = next((name for name in _SHELLS if name in names), "")
    argv: tuple[str, ...] = (f"{FLAT}/{shell or 'sh'}",)
    if not shell and "busybox" in names:
        argv = (f"{FLAT}/busybox", "sh")
    return Tools(words, (Entry(BIND, FLAT, directory),), FLAT, argv)


def _entry(directory: str, name: str, path: str) -> list[Entry]:
    """What stands for one name of a directory; nothing where it is neither file nor directory."""
    source = os.path.join(directory, name)
    if os.path.islink(source):
        return [Entry(LINK, path, os.readlink(source))]
    if os.path.isdir(source) or os.path.isfile(source):
        return [Entry(BIND, path, source)]
    return []


def is_static(path: str) -> bool:
    """Tell whether a program is an ELF file that names no interpreter (elf(5))."""
    try:
        with open(path, "rb") as file:
            head = file.read(64)
            if len(head) < 64 or head[:4] != _ELF or head[4] not in {1, 2}:
                return False
            order = "little" if head[5] == 1 else "big"
            wide = head[4] == 2
            offset = int.from_bytes(head[32:40] if wide else head[28:32], order)  # type: ignore[arg-type]
            size, count = (
                int.from_bytes(head[at : at + 2], order)  # type: ignore[arg-type]
                for at in ((54, 56) if wide else (42, 44))
            )
            file.seek(offset)
            table = file.read(size * count)
    except OSError:
        return False
    kinds = [
        int.from_bytes(table[at : at + 4], order)  # type: ignore[arg-type]
        for at in range(0, len(table), size or 1)
    ]
    return bool(kinds) and _PT_INTERP not in kinds

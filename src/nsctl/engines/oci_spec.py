"""What an OCI configuration asks for, in the words of ``Container.declared``.

Sources: the OCI runtime specification's config.md and config-linux.md, and for runc's own
``state.json`` libcontainer/configs. What is said:

- ``mnt``, ``pid``, ``net``, ``ipc``, ``uts``, ``user``, ``cgroup``, ``time``: "own", "host", or
  "path:PATH" for that of a path (another container's is ``/proc/PID/ns/..``);
- ``seccomp``: "filter" or "none"; ``apparmor``, ``selinux``: profile or label, if there is one;
- ``no-new-privileges``, ``read-only``: "yes" or "no";
- ``mount:DESTINATION``: what of the host's is mounted there, with ",ro" if it is read-only.
"""

from __future__ import annotations

from nsctl.engines.fields import Fields, below, flag, rows, text, texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

Declared = tuple[tuple[str, str], ...]

_NAMES = {
    "mount": "mnt",
    "pid": "pid",
    "network": "net",
    "ipc": "ipc",
    "uts": "uts",
    "user": "user",
    "cgroup": "cgroup",
    "time": "time",
}
_LIBCONTAINER = {
    "NEWNS": "mnt",
    "NEWPID": "pid",
    "NEWNET": "net",
    "NEWIPC": "ipc",
    "NEWUTS": "uts",
    "NEWUSER": "user",
    "NEWCGROUP": "cgroup",
    "NEWTIME": "time",
}
_MS_RDONLY = 1
_MS_BIND = 4096


def of_config(config: Fields, engine_dirs: Iterable[str] = ()) -> Declared:
    """Say what a bundle's config.json asks for.

    Args:
        config: the file.
        engine_dirs: directories of the engine itself; what it mounts from there (resolv.conf)
            is nobody's wish.
    """
    linux, process = below(config, "linux"), below(config, "process")
    said = _namespaces(linux, _NAMES)
    said["seccomp"] = "filter" if isinstance(linux.get("seccomp"), dict) else "none"
    if profile := text(process, "apparmorProfile"):
        said["apparmor"] = profile
    if label := text(process, "selinuxLabel"):
        said["selinux"] = label
    said["no-new-privileges"] = _yes(flag(process, "noNewPrivileges"))
    said["read-only"] = _yes(flag(below(config, "root"), "readonly"))
    for mount in rows(config, "mounts"):
        options = texts(mount, "options")
        if text(mount, "type") == "bind" or "bind" in options or "rbind" in options:
            _add_mount(said, mount, engine_dirs, read_only="ro" in options)
    return tuple(said.items())


def of_runc_state(config: Fields) -> Declared:
    """Say what the configuration inside runc's state.json asks for.

    Args:
        config: the file's "config".
    """
    said = _namespaces(config, _LIBCONTAINER)
    said["seccomp"] = "filter" if isinstance(config.get("seccomp"), dict) else "none"
    if profile := text(config, "apparmor_profile"):
        said["apparmor"] = profile
    if label := text(config, "process_label"):
        said["selinux"] = label
    said["no-new-privileges"] = _yes(flag(config, "no_new_privileges"))
    said["read-only"] = _yes(flag(config, "readonlyfs"))
    for mount in rows(config, "mounts"):
        flags = mount.get("flags")
        if isinstance(flags, int) and flags & _MS_BIND:
            _add_mount(said, mount, (), read_only=bool(flags & _MS_RDONLY))
    return tuple(said.items())


def _namespaces(holder: Fields, names: dict[str, str]) -> dict[str, str]:
    """A namespace that is not in the list is the one that the runtime was started in."""
    said = dict.fromkeys(names.values(), "host")
    for row in rows(holder, "namespaces"):
        kind = names.get(text(row, "type"))
        if kind is not None:
            path = text(row, "path")
            said[kind] = f"path:{path}" if path else "own"
    return said


def _add_mount(
    said: dict[str, str], mount: Fields, engine_dirs: Iterable[str], *, read_only: bool
) -> None:
    source, destination = text(mount, "source"), text(mount, "destination")
    if source and destination and not any(source.startswith(f"{top}/") for top in engine_dirs):
        said[f"mount:{destination}"] = f"{source},ro" if read_only else source


def _yes(value: bool) -> str:
    return "yes" if value else "no"

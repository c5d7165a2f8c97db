"""Runtime bundles: a directory with config.json of the OCI runtime specification, as a `Spec`.

What is asked for is honoured, or refused with a sentence; only the control group's path, the maps of
ids and the rules for devices are nsctl's own whatever the bundle says, because what they would set is
what keeps containers apart. Source: the specification's config.md and config-linux.md.
"""

from __future__ import annotations

import json
import os
from typing import Any

from nsctl.errors import NsctlError, UsageError, translate
from nsctl.model import capabilities
from nsctl.model.namespace import NamespaceType
from nsctl.run.spec import BIND, CPUS, HOST, MEMORY, PATH, PIDS, PRIVATE, TMPFS, Mount, Spec

_LIMIT = 16 << 20
_NAMESPACES = {
    "mount": NamespaceType.MNT,
    "pid": NamespaceType.PID,
    "network": NamespaceType.NET,
    "ipc": NamespaceType.IPC,
    "uts": NamespaceType.UTS,
    "user": NamespaceType.USER,
    "cgroup": NamespaceType.CGROUP,
    "time": NamespaceType.TIME,
}
# What every container of ours has there, of these types.
_OWN = {
    "/proc": {"proc"},
    "/dev": {"tmpfs"},
    "/dev/pts": {"devpts"},
    "/dev/shm": {"tmpfs"},  # noqa: S108  (a place inside)
    "/dev/mqueue": {"mqueue"},
    "/sys": {"sysfs", "none", "bind"},
    "/sys/fs/cgroup": {"cgroup", "cgroup2", "none", "bind"},
}
_SETS = ("inheritable", "permitted", "effective", "bounding", "ambient")
_RLIMITS = (
    *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS"),
    *("LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
)
"""Each at the place of its number on x86 and Arm (asm-generic/resource.h)."""

_UNLIMITED = 0xFFFFFFFFFFFFFFFF
# Keys of "linux" that are not honoured: refused where they say anything.
_REFUSED = (
    *("sysctl", "devices", "intelRdt", "personality", "mountLabel", "netDevices"),
    *("memoryPolicy", "timeOffsets"),
)
_ABSENT: tuple[object, ...] = (None, "", [], {}, 0, False)


def rootfs_of(directory: str) -> str:
    """Path of a bundle's root file system.

    Raises:
        UsageError: there is no bundle.
        NsctlError: its config.json cannot be read.
    """
    return _rootfs(directory, _object(_read(directory), "root"))


def read(directory: str) -> Spec:
    """Read a bundle.

    Args:
        directory: with config.json.

    Returns:
        What it asks for.

    Raises:
        UsageError: there is no bundle, or it asks for what cannot be given.
        NsctlError: its config.json cannot be read.
    """
    config = _read(directory)
    root, process, linux = (_object(config, key) for key in ("root", "process", "linux"))
    _check(config, process, linux)
    user = _object(process, "user")
    spec = Spec(
        rootfs=_rootfs(directory, root),
        argv=tuple(_texts(process, "args")),
        env=tuple(_pair(text) for text in _texts(process, "env")),
        cwd=_text(process, "cwd") or "/",
        hostname=_text(config, "hostname"),
        namespaces=_namespaces(linux),
        read_only=_flag(root, "readonly"),
        no_new_privs=_flag(process, "noNewPrivileges"),
        image=os.path.abspath(directory),
        uid=_number(user, "uid"),
        gid=_number(user, "gid"),
        groups=tuple(_numbers(user, "additionalGids")),
        mounts=tuple(_mounts(config, directory)),
        masked=tuple(_texts(linux, "maskedPaths")),
        read_only_paths=tuple(_texts(linux, "readonlyPaths")),
        umask=_number(user, "umask") if user.get("umask") is not None else 0o022,
        limits=tuple(_limits(_object(linux, "resources"))),
        rlimits=tuple(_rlimits(process)),
        init=False,
        make_cwd=True,
        terminal=_flag(process, "terminal"),
    )
    return _with_powers(spec, process, linux)


def _with_powers(spec: Spec, process: dict[str, Any], linux: dict[str, Any]) -> Spec:
    if isinstance(process.get("capabilities"), dict):
        held = _object(process, "capabilities")
        sets = tuple(capabilities.mask(_texts(held, name)) for name in _SETS)
        # The kernel raises none that is not permitted and inheritable too; runtimes pass over it.
        sets = (*sets[:4], sets[4] & sets[1] & sets[0])
        everything = sets[0] | sets[1] | sets[2] | sets[3]
        spec = spec._replace(capabilities=everything, sets=sets)
    else:
        spec = spec._replace(capabilities=0)
    if linux.get("seccomp"):
        return spec._replace(seccomp_profile=json.dumps(_object(linux, "seccomp")))
    return spec._replace(seccomp=False)


def _read(directory: str) -> dict[str, Any]:
    path = f"{directory}/config.json"
    try:
        with open(path, "rb") as file:
            raw = file.read(_LIMIT + 1)
    except FileNotFoundError as error:
        raise UsageError(f"{directory} is no bundle: it has no config.json") from error
    except OSError as error:
        raise translate(error, "read", path) from error
    try:
        config = json.loads(raw) if len(raw) <= _LIMIT else None
    except (ValueError, RecursionError) as error:
        raise NsctlError("read", path, "it is not JSON") from error
    if not isinstance(config, dict):
        raise NsctlError("read", path, "it is no configuration of a bundle")
    return config


def _rootfs(directory: str, root: dict[str, Any]) -> str:
    path = _text(root, "path")
    if not path:
        raise UsageError(f"the bundle {directory} names no root file system")
    return os.path.join(os.path.abspath(directory), path)


def _check(config: dict[str, Any], process: dict[str, Any], linux: dict[str, Any]) -> None:
    """Refuse what is not honoured and would be missed."""
    refused = [f"linux.{key}" for key in _REFUSED if linux.get(key) not in _ABSENT]
    refused += [key for key in ("hooks", "domainname") if config.get(key) not in _ABSENT]
    profiles = ("apparmorProfile", "selinuxLabel", "scheduler", "ioPriority", "execCPUAffinity")
    refused += [f"process.{key}" for key in profiles if process.get(key) not in _ABSENT]
    known = {"memory", "cpu", "pids", "devices", "unified"}
    for key, value in _object(linux, "resources").items():
        if value not in _ABSENT and (key not in known or key == "unified"):
            refused.append(f"linux.resources.{key}")
    for key, honoured in (("memory", {"limit"}), ("cpu", {"quota", "period"}), ("pids", {"limit"})):
        rest = _object(_object(linux, "resources"), key)
        refused += [
            f"linux.resources.{key}.{word}"
            for word, value in rest.items()
            if word not in honoured and value not in _ABSENT
        ]
    for kind in ("uid", "gid"):
        if linux.get(f"{kind}Mappings") and "user" not in _namespaces(linux):
            refused.append(f"linux.{kind}Mappings without a user namespace")
    if refused:
        raise UsageError(
            f"the bundle asks for what nsctl does not do: {', '.join(refused)}",
            "take it out of config.json",
        )


def _namespaces(linux: dict[str, Any]) -> dict[str, str]:
    """A type that is not listed is the one that the runtime is started in."""
    chosen = {str(kind): HOST for kind in _NAMESPACES.values()}
    for row in _rows(linux, "namespaces"):
        kind = _NAMESPACES.get(_text(row, "type"))
        if kind is None:
            raise UsageError(f"the bundle has a namespace of no known type: {row.get('type')!r}")
        path = _text(row, "path")
        chosen[str(kind)] = f"{PATH}{path}" if path else PRIVATE
    if chosen["mnt"] == HOST:
        raise UsageError("the bundle asks for the host's mount namespace, with a root of its own")
    return chosen


def _mounts(config: dict[str, Any], directory: str) -> list[Mount]:
    found = []
    for row in _rows(config, "mounts"):
        target = os.path.normpath("/" + _text(row, "destination").lstrip("/"))
        options = _texts(row, "options")
        kind = _text(row, "type") or "none"
        if {"bind", "rbind"} & set(options):
            kind = BIND
        if kind in _OWN.get(target, ()):
            continue
        if kind == BIND:
            source = os.path.join(os.path.abspath(directory), _text(row, "source"))
            found.append(Mount(BIND, source, target, ",".join(options)))
        elif kind == TMPFS:
            kept = [word for word in options if not word.startswith(("uid=", "gid="))]
            found.append(Mount(TMPFS, "", target, ",".join(kept)))
        else:
            raise UsageError(f"the bundle asks for a mount of type {kind} on {target}")
    return found


def _limits(resources: dict[str, Any]) -> list[tuple[str, int]]:
    found = []
    memory, cpu, pids = (_object(resources, key) for key in ("memory", "cpu", "pids"))
    if (limit := memory.get("limit")) and limit > 0:
        found.append((MEMORY, int(limit)))
    if (quota := cpu.get("quota")) and quota > 0:
        found.append((CPUS, max(int(quota) * 1000 // int(cpu.get("period") or 100_000), 1)))
    if (limit := pids.get("limit")) and limit > 0:
        found.append((PIDS, int(limit)))
    return found


def _rlimits(process: dict[str, Any]) -> list[tuple[int, int, int]]:
    found = []
    for row in _rows(process, "rlimits"):
        name = _text(row, "type").removeprefix("RLIMIT_")
        if name not in _RLIMITS:
            raise UsageError(f"the bundle has a limit of no known type: {row.get('type')!r}")
        soft, hard = (_number(row, key) for key in ("soft", "hard"))
        if max(soft, hard) > _UNLIMITED:
            raise UsageError(f"the bundle's limit of {name} is too large")
        found.append((_RLIMITS.index(name), soft, hard))
    return found


def _pair(text: str) -> tuple[str, str]:
    key, _, value = text.partition("=")
    return key, value


# --- Fields, strictly ----------------------------------------------------------------------------


def _wrong(key: str) -> UsageError:
    return UsageError(f"the bundle's config.json is damaged: {key} is of another type")


def _object(row: dict[str, Any], key: str) -> dict[str, Any]:
    value = row.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise _wrong(key)
    return value


def _rows(row: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise _wrong(key)
    return value


def _texts(row: dict[str, Any], key: str) -> list[str]:
    value = row.get(key) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _wrong(key)
    return value


def _numbers(row: dict[str, Any], key: str) -> list[int]:
    value = row.get(key) or []
    if not isinstance(value, list) or not all(type(each) is int for each in value):
        raise _wrong(key)
    return value


def _text(row: dict[str, Any], key: str) -> str:
    value = row.get(key) or ""
    if not isinstance(value, str):
        raise _wrong(key)
    return value


def _number(row: dict[str, Any], key: str) -> int:
    value = row.get(key) or 0
    if type(value) is not int or value < 0:
        raise _wrong(key)
    return value


def _flag(row: dict[str, Any], key: str) -> bool:
    value = row.get(key) or False
    if not isinstance(value, bool):
        raise _wrong(key)
    return value

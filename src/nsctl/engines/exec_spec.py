"""How an engine's own exec would start a command: from the configuration of a running container.

That is the OCI runtime's config.json (config.md, "process", and config-linux.md, "seccomp"), which
docker-exec(1), podman-exec(1) and crictl(1) start from too. It lies in the container's bundle, and
the container's monitor, the parent of its first process, says where: beside the working directory
of a containerd-shim, an argument of conmon. The state of a container of ours has what it needs itself.

Only what the host's own engine, or the reader's own, says is taken: else a made-up container would
choose with which user and powers root enters it.
"""

from __future__ import annotations

import os
import stat

from nsctl.engines.fields import Fields, below, flag, number, parse, rows, text, texts
from nsctl.errors import NsctlError
from nsctl.kernel.below import open_below
from nsctl.kernel.procfs import parse_stat, parse_status, read_file
from nsctl.model import capabilities
from nsctl.model.container import Container
from nsctl.model.execution import Execution
from nsctl.model.task import CapabilitySets

_LIMIT = 16 << 20
_INSTRUCTION = 8
_FILTER_LIMIT = 4096 * _INSTRUCTION  # BPF_MAXINSNS
_UMASK_OF_RUNTIMES = 0o022
_ID_LIMIT = 0xFFFFFFFF
_RLIMITS = (
    *("CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS"),
    *("LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"),
)
_OWN_PATH = b"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def of_container(container: Container, proc_fd: int) -> Execution | None:
    """Find how a container's engine would start a command in it.

    Args:
        container: of which engine.
        proc_fd: descriptor of /proc/PID of its first process.

    Returns:
        What its configuration says; None where it has none that is to be believed.
    """
    if container.vouched_by or container.user not in {0, os.geteuid()}:
        return None
    if container.engine == "nsctl":
        return _of_own(container)
    try:
        config = _config(proc_fd, container)
    except (OSError, ValueError):
        # The container's end, or a configuration of another kind: the process itself is read then.
        return None
    if config is None:
        return None
    found = of_config(config, "config.json")
    if found.seccomp is not None and os.geteuid() != 0:
        found = found._replace(seccomp=_copy_of_filter(container) or found.seccomp)
    return _as_podmans(found, text(config, "hostname")) if container.engine == "podman" else found


def _copy_of_filter(container: Container) -> bytes:
    """Read the filter that crun keeps of an ordinary user's container: byte for byte the one in force.

    The kernel shows its own to root alone (ptrace(2), PTRACE_SECCOMP_GET_FILTER).
    """
    runtime_dir = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime_dir.startswith("/") or "/" in container.id:
        return b""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(f"{runtime_dir}/crun/{container.id}/seccomp.bpf", flags)
    except OSError:
        return b""  # another runtime, or another place: the profile is compiled
    try:
        status = os.fstat(fd)
        is_own = stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid()
        raw = os.read(fd, _FILTER_LIMIT + 1) if is_own else b""
    finally:
        os.close(fd)
    return raw if len(raw) <= _FILTER_LIMIT and not len(raw) % _INSTRUCTION else b""


def _as_podmans(found: Execution, hostname: str) -> Execution:
    """podman-exec(1) leaves out what podman-run(1) adds to a configuration when it starts."""
    added = f"HOSTNAME={hostname}".encode()
    return found._replace(
        env=tuple(entry for entry in found.env if entry != added),
        groups=tuple(group for group in found.groups if group != found.gid),
    )


def _config(proc_fd: int, container: Container) -> Fields | None:
    """Read config.json of the bundle, through the monitor's own view of the file system."""
    parent = parse_stat(read_file("stat", proc_fd)).ppid
    monitor = os.open(f"/proc/{parent}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = parse_stat(read_file("stat", monitor)).comm
        uids = parse_status(read_file("status", monitor)).credentials.uids
        # It may have ended, and its number be another's, before its directory was opened.
        if (
            not set(uids) <= {container.user}
            or parse_stat(read_file("stat", proc_fd)).ppid != parent
        ):
            return None
        if name.startswith(b"containerd-shim"):
            # One shim serves a whole pod, and is in the bundle of its first container.
            bundles = os.path.dirname(os.readlink("cwd", dir_fd=monitor))
            return _read(monitor, "root", f"{bundles}/{container.id}/config.json", container)
        if name == b"conmon":
            return _read(monitor, "root", f"{_bundle(monitor)}/config.json", container)
        for place in ("/run/crun/{}/config.json", "/run/runc/{}/state.json"):
            config = _read(monitor, "root", place.format(container.id), container)
            if config is not None and "labels" in below(config, "config"):
                labels = texts(below(config, "config"), "labels")
                bundle = [label[7:] for label in labels if label.startswith("bundle=")]
                config = _read(monitor, "root", f"{bundle[0]}/config.json", container)
            if config is not None:
                return config
    finally:
        os.close(monitor)
    return None


def _bundle(monitor: int) -> str:
    words = [os.fsdecode(word) for word in read_file("cmdline", monitor).split(b"\0")]
    for place, word in enumerate(words[:-1]):
        if word in {"-b", "--bundle"}:
            return words[place + 1]
    return ""


def _read(monitor: int, top: str, path: str, container: Container) -> Fields | None:
    """Read a file below the monitor's root or working directory, which root or its user owns."""
    directory = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=monitor)
    try:
        fd = open_below(directory, path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
    except FileNotFoundError:
        return None
    finally:
        os.close(directory)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode) or status.st_uid not in {0, container.user}:
            return None
        chunks, size = [], 0
        while size < _LIMIT and (chunk := os.read(fd, 1 << 20)):
            chunks.append(chunk)
            size += len(chunk)
    finally:
        os.close(fd)
    return parse(b"".join(chunks))


def _of_own(container: Container) -> Execution | None:
    """Of a container of ours: `nsctl.run` wrote its state."""
    from nsctl.engines import own

    place = own.directory_of(os.geteuid(), os.environ.get("XDG_RUNTIME_DIR", ""))
    try:
        fd = os.open(f"{place}/containers", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        spec = own.read_state(fd, container.id).spec
    except NsctlError:
        return None  # another user's: its process is read
    finally:
        os.close(fd)
    pairs = spec.get("env")
    values = {b"HOME": b"/root", b"container": b"nsctl"}
    values[b"container_name"] = os.fsencode(container.name)
    for pair in pairs if isinstance(pairs, list) else ():
        key, value = (os.fsencode(str(word)) for word in pair)
        values[key] = value
    env = tuple(key + b"=" + value for key, value in values.items())
    if b"PATH" not in values:
        env = (_OWN_PATH, *env)
    return Execution(
        "the container's state",
        env=env,
        cwd=text(spec, "cwd"),
        seccomp=_own_profile(spec) if flag(spec, "seccomp") else None,
    )


def _own_profile(spec: Fields) -> dict[str, object] | str:
    """The profile that was given, or the word for the default one."""
    given = text(spec, "seccomp_profile")
    try:
        return dict(parse(given.encode())) if given else "default"
    except ValueError:
        return "default"  # nsctl.run has compiled it: a damaged one is another version's


def of_config(config: Fields, source: str) -> Execution:
    """Read an OCI configuration.

    Args:
        config: the file.
        source: whence, for people.

    Returns:
        What it says of processes.
    """
    process, linux = below(config, "process"), below(config, "linux")
    user = below(process, "user")
    seccomp = linux.get("seccomp")
    umask = user.get("umask")
    return Execution(
        source=source,
        env=tuple(word.encode() for word in texts(process, "env") if word.find("=") > 0),
        cwd=text(process, "cwd"),
        uid=min(number(user, "uid"), _ID_LIMIT - 1),
        gid=min(number(user, "gid"), _ID_LIMIT - 1),
        groups=_numbers(user, "additionalGids"),
        umask=number(user, "umask") & 0o777 if umask is not None else _UMASK_OF_RUNTIMES,
        capabilities=_sets(process),
        no_new_privs=flag(process, "noNewPrivileges"),
        limits=tuple(_limits(process)),
        apparmor=text(process, "apparmorProfile"),
        selinux=text(process, "selinuxLabel"),
        seccomp=seccomp if isinstance(seccomp, dict) else None,
    )


def _numbers(fields: Fields, key: str) -> tuple[int, ...]:
    value = fields.get(key)
    if not isinstance(value, list):
        return ()
    return tuple(item for item in value if isinstance(item, int) and 0 <= item < _ID_LIMIT)


def _sets(process: Fields) -> CapabilitySets | None:
    if not isinstance(process.get("capabilities"), dict):
        return None
    said = below(process, "capabilities")
    names = ("inheritable", "permitted", "effective", "bounding", "ambient")
    return CapabilitySets(*(_mask(texts(said, name)) for name in names))


def _mask(names: list[str]) -> int:
    """What the table here does not know is left out: less, not more."""
    held = 0
    for name in names:
        known = capabilities.NUMBERS.get(name.upper())
        held |= 0 if known is None else 1 << known
    return held


def _limits(process: Fields) -> list[tuple[int, int, int]]:
    found = []
    for row in rows(process, "rlimits"):
        name = text(row, "type").removeprefix("RLIMIT_")
        soft, hard = row.get("soft"), row.get("hard")
        if name in _RLIMITS and isinstance(soft, int) and isinstance(hard, int):
            found.append((_RLIMITS.index(name), soft & (1 << 64) - 1, hard & (1 << 64) - 1))
    return found

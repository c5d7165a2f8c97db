"""Docker, named from its state on disk: no daemon is asked, so one that hangs costs nothing.

Where the state lies is found from dockerd's own arguments and configuration; where no dockerd
lives, from the bundles of its shims, whose configurations mount files out of it; and at the default
place. With ``--userns-remap`` it lies in a directory UID.GID below.

State of a container: ``containers/ID/config.v2.json`` and ``hostconfig.json``.
"""

from __future__ import annotations

from nsctl.engines import shims as containerd_shims
from nsctl.engines.fields import (
    Fields,
    below,
    flag,
    is_id,
    number,
    pairs,
    rows,
    seconds,
    text,
    texts,
)
from nsctl.engines.shims import MOBY, Shim
from nsctl.engines.survey import Survey, View, option
from nsctl.model.container import Container
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

    from nsctl.model.storage import DataRoot

ENGINE = "docker"

_DEFAULT_ROOT = "/var/lib/docker"
_DEFAULT_CONFIG = "/etc/docker/daemon.json"
_SHORT = 12
_FILES_OF = frozenset({"hostname", "hosts", "resolv.conf"})
_UID_DIGITS = 10


class _Root(NamedTuple):
    """A data root.

    Attributes:
        view: in whose view of the file system.
        path: of the directory.
        daemon: the dockerd that uses it, None where that is not known to live.
    """

    view: View
    path: str
    daemon: Task | None


class _State(NamedTuple):
    """What a container's two files hold."""

    id: str
    config: Fields
    wanted: Fields


def containers(survey: Survey) -> list[Container]:
    """List the containers of all Dockers that can be found, those that do not run too.

    Args:
        survey: the processes that were seen.

    Returns:
        Their rows; what could not be read is noted.
    """
    moby = [shim for shim in containerd_shims.shims(survey) if shim.namespace == MOBY]
    by_id: dict[str, list[Shim]] = {}
    for shim in moby:
        by_id.setdefault(shim.id, []).append(shim)
    found: list[Container] = []
    served: set[int] = set()
    known: set[tuple[int, str, str]] = set()
    for root in _roots(survey):
        served |= _read_root(survey, root, by_id, found, known)
    for shim in moby:
        # Of a daemon that is gone, or whose state lies where nobody says.
        if shim.task.pid not in served and (path := _root_of(survey, shim)):
            served |= _read_root(survey, _Root(shim.view, path, None), by_id, found, known)
        if shim.task.pid not in served and (row := _of(survey, shim)):
            found.append(row)
    return found


def _roots(survey: Survey) -> Iterator[_Root]:
    """Find the data roots of living daemons, and the host's."""
    for daemon in survey.named("dockerd"):
        view = survey.view_of(daemon)
        if view is not None:
            yield _Root(view, _data_root(survey, daemon, view), daemon)
    host = survey.host_view()
    if host is not None:
        path = _configured(survey, host, _DEFAULT_CONFIG) or _DEFAULT_ROOT
        yield _Root(host, path, None)


def _data_root(survey: Survey, daemon: Task, view: View) -> str:
    """Where a dockerd keeps its containers (dockerd(8))."""
    arguments = survey.command(daemon)
    path = option(arguments, "--data-root", "--graph", "-g")
    if path:
        return survey.path_of(daemon, path)
    environ = survey.environ(daemon) if view.trust.kind != "host" else {}
    home = environ.get("HOME", "")
    # Whether it is an ordinary user's it tells by who started it (rootlesskit(1)).
    is_rootless = (
        "--rootless" in arguments
        or "--rootless=true" in arguments
        or "ROOTLESSKIT_STATE_DIR" in environ
    )
    config = option(arguments, "--config-file")
    if not config and is_rootless:
        config = f"{environ.get('XDG_CONFIG_HOME') or f'{home}/.config'}/docker/daemon.json"
    configured = _configured(survey, view, config or _DEFAULT_CONFIG)
    if configured:
        return configured
    if is_rootless:
        return f"{environ.get('XDG_DATA_HOME') or f'{home}/.local/share'}/docker"
    return _DEFAULT_ROOT


def _configured(survey: Survey, view: View, path: str) -> str:
    settings = survey.read_json(view, path, ENGINE) or {}
    return text(settings, "data-root") or text(settings, "graph")


def _root_of(survey: Survey, shim: Shim) -> str:
    """Where the state of a shim's container lies: its /etc/hostname is a file in there."""
    if not shim.bundle:
        return ""
    config = containerd_shims.config(survey, shim.view, shim.bundle, ENGINE)
    for mount in rows(config, "mounts"):
        directory, _, file = text(mount, "source").rpartition("/")
        root = directory.removesuffix(f"/containers/{shim.id}")
        if file in _FILES_OF and root != directory and len(root) > 1 and is_id(shim.id):
            parent, _, name = root.rpartition("/")
            return root if _remapped_to(name) is None else parent
    return ""


def _remapped_to(name: str) -> int | None:
    """Which user's root a directory UID.GID is, None for one that is called otherwise."""
    uid, dot, gid = name.partition(".")
    if dot and all(_is_number(word) for word in (uid, gid)):
        return int(uid)
    return None


def _is_number(word: str) -> bool:
    return word.isascii() and word.isdecimal() and len(word) <= _UID_DIGITS


def _read_root(
    survey: Survey,
    root: _Root,
    by_id: Mapping[str, list[Shim]],
    found: list[Container],
    known: set[tuple[int, str, str]],
) -> set[int]:
    """Read all containers of a data root that was not read before.

    Returns:
        The shims whose containers were found.
    """
    path = root.path.rstrip("/") or "/"
    whose = "host" if root.view.by is None or root.view.trust.kind == "host" else str(root.view.by)
    key = (root.view.mntns, path, whose)
    if key in known:
        return set()
    known.add(key)
    places = {path: 0}
    for name in survey.list(root.view, path, ENGINE):
        owner = _remapped_to(name)
        if owner is not None:
            places[f"{path}/{name}"] = owner
    served: set[int] = set()
    for place, owner in places.items():
        states, passed_over = _states(survey, root, f"{place}/containers", owner, by_id)
        others = (_shim_of(root, by_id[container_id]) for container_id in passed_over)
        served |= {shim.task.pid for shim in others if shim is not None}
        names = _Names({state.id: text(state.config, "Name").lstrip("/") for state in states})
        for state in states:
            shim = _shim_of(root, by_id.get(state.id, ()))
            if shim is not None:
                served.add(shim.task.pid)
            by = shim.task if shim is not None else root.view.by
            users = "own" if owner else "rootless" if root.view.trust.kind == "user" else "host"
            found.append(_row(survey, state, names, by, users))
    return served


def _states(
    survey: Survey, root: _Root, place: str, owner: int, running: Collection[str]
) -> tuple[list[_State], list[str]]:
    """Read the state files of all containers in a directory.

    Returns:
        What they hold; and the ids of those that run and are not looked for.
    """
    found, passed_over = [], []
    for container_id in survey.list(root.view, place, ENGINE):
        if not is_id(container_id) or (survey.wanted and container_id not in running):
            continue
        below_it = f"{place}/{container_id}"
        path = f"{below_it}/config.v2.json"
        raw = survey.read(root.view, path, ENGINE, owner=owner)
        if raw is None:
            continue
        if not survey.may_be_wanted(container_id, raw):
            passed_over.append(container_id)
            continue
        config = survey.json_of(raw, path, ENGINE)
        if config is None:
            continue
        if text(config, "ID") != container_id:
            survey.note(ENGINE, path, "it tells of another container")
            continue
        wanted = None
        if not survey.wanted:
            path = f"{below_it}/hostconfig.json"
            wanted = survey.read_json(root.view, path, ENGINE, owner=owner)
        found.append(_State(container_id, config, wanted or {}))
    return found, passed_over


def _row(survey: Survey, state: _State, names: _Names, by: Task | None, users: str) -> Container:
    said, config = below(state.config, "State"), below(state.config, "Config")
    pid = number(said, "Pid")
    first = survey.process(pid, by, cgroup=state.id) if pid else None
    row = Container(
        name=names.by_id[state.id] or state.id[:_SHORT],
        engine=ENGINE,
        id=state.id,
        image=text(config, "Image"),
        state=_state_word(said, is_running=first is not None),
        created=0.0 if survey.wanted else seconds(text(state.config, "Created")),
        pod=_pod(config),
        labels=pairs(config, "Labels"),
        declared=tuple(_declared(state, names, users).items()),
    )
    return survey.row(row, by, first)


def _shim_of(root: _Root, candidates: Iterable[Shim]) -> Shim | None:
    """The shim of a container of this root: root's own, or one in the same place as its daemon."""
    for shim in candidates:
        if root.view.trust.kind == shim.view.trust.kind == "host":
            return shim
        if root.view.by is not None and root.view.mntns == shim.view.mntns:
            return shim
    return None


def _of(survey: Survey, shim: Shim) -> Container | None:
    """A row of what a shim alone tells."""
    if not is_id(shim.id) or not survey.may_be_wanted(shim.id, b""):
        return None
    pid = containerd_shims.init_pid(survey, shim.view, shim.bundle, ENGINE) if shim.bundle else 0
    first = survey.process(pid, shim.task) if pid else None
    if first is None:
        return None
    return survey.row(Container(shim.id[:_SHORT], ENGINE, shim.id), shim.task, first)


def _state_word(state: Fields, *, is_running: bool) -> str:
    """A container's state, in the words of docker-inspect(1).

    What the file says of a container that no longer runs may be older than its end.
    """
    if is_running:
        if flag(state, "Paused"):
            return "paused"
        return "restarting" if flag(state, "Restarting") else "running"
    if flag(state, "RemovalInProgress"):
        return "removing"
    if flag(state, "Dead"):
        return "dead"
    return "exited" if seconds(text(state, "StartedAt")) else "created"


def _pod(config: Fields) -> str:
    """The pod that cri-dockerd made a container for: its labels say so."""
    labels = dict(pairs(config, "Labels"))
    name = labels.get("io.kubernetes.pod.name", "")
    return f"{labels.get('io.kubernetes.pod.namespace', 'default')}:{name}" if name else ""


_MODES = (
    ("pid", "PidMode"),
    ("net", "NetworkMode"),
    ("ipc", "IpcMode"),
    ("uts", "UTSMode"),
    ("cgroup", "CgroupnsMode"),
)


def _declared(state: _State, names: _Names, users: str) -> dict[str, str]:
    """What was asked for; the words are those of `nsctl.engines.oci_spec` where they can be.

    Args:
        state: of the container.
        names: of all containers of the daemon.
        users: in whose user namespace the daemon starts containers: "own" to each, "host", or
            "rootless" for that of an ordinary user's daemon.
    """
    wanted = state.wanted
    said: dict[str, str] = {}
    if not wanted:
        return said
    for kind, key in _MODES:
        mode = text(wanted, key)
        scheme, colon, other = mode.partition(":")
        if scheme == "container" and colon:
            said[kind] = f"container:{names.of(other)}"
        else:
            said[kind] = "own" if mode in {"", "private"} else mode
    if said["net"] == "default":
        said["net"] = "bridge"
    said["user"] = "host" if users == "own" and text(wanted, "UsernsMode") == "host" else users
    said["privileged"] = "yes" if flag(wanted, "Privileged") else "no"
    _add_confinement(said, state.config, wanted)
    said["read-only"] = "yes" if flag(wanted, "ReadonlyRootfs") else "no"
    for key, word in (("CapAdd", "cap-add"), ("CapDrop", "cap-drop")):
        if names_of := texts(wanted, key):
            said[word] = ",".join(names_of)
    _add_mounts(said, wanted)
    return said


class _Names:
    """What the containers of a daemon are called.

    Args:
        by_id: name by whole id.
    """

    def __init__(self, by_id: dict[str, str]) -> None:
        self.by_id = by_id
        # Ids that begin alike are neighbours.
        self._ids = sorted(by_id)

    def of(self, other: str) -> str:
        """Name a container that was written as an id, the beginning of one, or a name."""
        if other in self.by_id:
            return self.by_id[other]
        from bisect import (
            bisect_left,  # whoever looks for one container by its name asks no others'
        )

        at = bisect_left(self._ids, other)
        begins = [each for each in self._ids[at : at + 2] if other and each.startswith(other)]
        return self.by_id[begins[0]] if len(begins) == 1 else other


def _add_confinement(said: dict[str, str], config: Fields, wanted: Fields) -> None:
    said["seccomp"] = "none" if flag(wanted, "Privileged") else "default"
    said["no-new-privileges"] = "no"
    for word in texts(wanted, "SecurityOpt"):
        key, _, value = (
            word.replace(":", "=", 1).partition("=") if "=" not in word else (word.partition("="))
        )
        if key == "seccomp":
            # A profile is written out in full.
            said["seccomp"] = "none" if value == "unconfined" else "profile"
        elif key == "no-new-privileges":
            said["no-new-privileges"] = "no" if value == "false" else "yes"
        elif key == "apparmor":
            said["apparmor"] = value
    if profile := text(config, "AppArmorProfile"):
        said.setdefault("apparmor", profile)
    if label := text(config, "ProcessLabel"):
        said["selinux"] = label


def _add_mounts(said: dict[str, str], wanted: Fields) -> None:
    for bind in texts(wanted, "Binds"):
        words = bind.split(":")
        if len(words) >= 2:
            ro = len(words) > 2 and "ro" in words[2].split(",")
            said[f"mount:{words[1]}"] = f"{words[0]},ro" if ro else words[0]
    for mount in rows(wanted, "Mounts"):
        source, target = text(mount, "Source"), text(mount, "Target")
        if target and text(mount, "Type") in {"bind", "volume"}:
            said[f"mount:{target}"] = f"{source},ro" if flag(mount, "ReadOnly") else source


def data_roots(survey: Survey) -> Iterator[DataRoot]:
    """Where every Docker that can be found keeps its containers and layers.

    Args:
        survey: the processes that were seen.

    Yields:
        The host's default place too, which need not exist.
    """
    from nsctl.engines.roots import root_of

    for root in _roots(survey):
        yield root_of(ENGINE, root.view, root.path, root.daemon)
    for shim in containerd_shims.shims(survey):
        # Of a daemon that is gone, or whose state lies where nobody says.
        if shim.namespace == MOBY and (path := _root_of(survey, shim)):
            yield root_of(ENGINE, shim.view, path, None)

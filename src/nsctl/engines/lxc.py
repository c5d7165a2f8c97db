"""LXC's containers (and those of LXD and Incus, which use it), found by their monitors.

Each running container has a monitor, whose command line is ``[lxc monitor] LXCPATH NAME`` and
whose child is the container's first process. ``LXCPATH/NAME/config`` tells what was asked for
(lxc.container.conf(5)). There are no ids: a name is unique in its path, which is the scope here, and
stands in the control group ``lxc.payload.NAME`` too.
"""

from __future__ import annotations

import posixpath

from nsctl.engines.roots import root_of
from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey
from nsctl.model.container import Container
from nsctl.model.storage import DataRoot
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

ENGINE = "lxc"
DEFAULT_PATH = "/var/lib/lxc"
_CONFIG = "/etc/lxc/lxc.conf"

Settings = list[tuple[str, str]]
"""A configuration's keys and values, in order; keys may come again."""

_TITLE = "[lxc monitor] "
_PROGRAMS = ("lxc-start", "lxc-execute", "lxd", "incusd")
_MONITOR_GROUP = b"/lxc.monitor"
_CONFIG_LIMIT = 1 << 20
_INCLUDES = 64
_KINDS = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup", "time")


def containers(survey: Survey) -> list[Container]:
    """List the containers that monitors tell of, and those that lie beside them.

    Args:
        survey: the processes that were seen.

    Returns:
        One row a container, those that do not run too.
    """
    found: list[Container] = []
    places: dict[tuple[int, str, str, int], tuple[View, str, set[str]]] = {}
    for task in _candidates(survey):
        told = monitor_of(survey.command(task))
        view = survey.view_of(task) if told else None
        if told is None or view is None:
            continue
        path, name = told
        found.append(_row(survey, view, path, name, task))
        # Of two who tell of one place, a stranger must not speak for root.
        key = (view.mntns, path, view.trust.kind, view.trust.uid)
        places.setdefault(key, (view, path, set()))[2].add(name)
    host = survey.host_view()
    if host is not None:
        for path in dict.fromkeys((_configured(survey, host), DEFAULT_PATH)):
            places.setdefault((host.mntns, path, "host", 0), (host, path, set()))
    for view, path, running in places.values():
        names = [name for name in survey.list(view, path, ENGINE) if name not in running]
        settings = ((name, _settings(survey, view, path, name)) for name in names)
        found += [
            _described(survey, path, name, asked, view.by, None)
            for name, asked in settings
            if asked
        ]
    return found


def _configured(survey: Survey, host: View) -> str:
    """Where root's containers are by configuration (lxc.system.conf(5))."""
    settings = dict(parse_config(survey.read(host, _CONFIG, ENGINE) or b""))
    path = settings.get("lxc.lxcpath", "")
    return posixpath.normpath(path) if path.startswith("/") else DEFAULT_PATH


def _candidates(survey: Survey) -> list[Task]:
    """All processes that may be monitors: a title of a program's own does not change its name."""
    found = {task.pid: task for task in survey.named(*_PROGRAMS)}
    for task in survey.grouped:
        if task.cgroup and _MONITOR_GROUP in task.cgroup:
            found[task.pid] = task
    return [found[pid] for pid in sorted(found)]


def monitor_of(arguments: tuple[str, ...]) -> tuple[str, str] | None:
    """Read the title of a monitor.

    Args:
        arguments: its command line.

    Returns:
        The path of its containers, and the name of its own; None for another command.
    """
    if not arguments or not arguments[0].startswith(_TITLE):
        return None
    # The title takes the place of the old arguments and may be followed by what is left of them.
    path, blank, name = arguments[0].removeprefix(_TITLE).rpartition(" ")
    if not blank or not path.startswith("/") or not name or "/" in name or name in {".", ".."}:
        return None
    return posixpath.normpath(path), name


def _row(survey: Survey, view: View, path: str, name: str, monitor: Task) -> Container:
    alive = [task for task in survey.children(monitor.pid) if task.state not in "ZX"]
    # While it starts a container it may have other children.
    first = min(alive, key=lambda task: (task.start, task.pid), default=None)
    settings = _settings(survey, view, path, name)
    return _described(survey, path, name, settings, monitor, first)


def _described(
    survey: Survey, path: str, name: str, settings: Settings, by: Task | None, first: Task | None
) -> Container:
    values = dict(settings)
    root = values.get("lxc.rootfs.path", "")
    container = Container(
        name=name,
        engine=ENGINE,
        id=name,
        image=root.removeprefix("dir:") or f"{path}/{name}/rootfs",
        scope=path,
        declared=tuple(declared(settings)),
    )
    return survey.row(container, by, first)


def _settings(survey: Survey, view: View, path: str, name: str) -> Settings:
    found: Settings = []
    queue = [f"{path}/{name}/config"]
    for _ in range(_INCLUDES):
        if not queue:
            return found
        place = queue.pop(0)
        raw = survey.read(view, place, ENGINE, limit=_CONFIG_LIMIT) or b""
        settings = parse_config(raw)
        if not all(map(_is_setting, raw.split(b"\n"))):
            survey.note(ENGINE, place, "it has a line that is no setting, or is only half written")
        found += settings
        for key, value in settings:
            if key == "lxc.include" and value.startswith("/"):
                queue += _included(survey, view, value)
    survey.note(ENGINE, f"{path}/{name}/config", "it includes too many files")
    return found


def _is_setting(line: bytes) -> bool:
    """Whether a line is "key = value", a comment, or empty."""
    text = line.strip(b" \t\r")
    return not text or text.startswith(b"#") or b"=" in text


def _included(survey: Survey, view: View, place: str) -> list[str]:
    """A file, or all of a directory's that end in .conf."""
    if place.endswith((".conf", "/config")):
        return [place]
    names = [name for name in survey.list(view, place, ENGINE) if name.endswith(".conf")]
    return [f"{place}/{name}" for name in names] or [place]


def parse_config(raw: bytes) -> Settings:
    """Parse a configuration (lxc.container.conf(5)).

    Args:
        raw: the file.

    Returns:
        Its keys and values. What is no "key = value" is passed over, as LXC itself would refuse
        to start with it.
    """
    found = []
    for line in raw.split(b"\n"):
        key, equals, value = line.decode("utf-8", "surrogateescape").partition("=")
        key, value = key.strip(" \t"), value.strip(" \t\r")
        if equals and key.startswith("lxc."):
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found.append((key, value[1:-1] if quoted else value))
    return found


def declared(settings: Settings) -> Iterator[tuple[str, str]]:
    """Say what a configuration asks for, in the words of ``Container.declared``.

    Args:
        settings: as `parse_config` gives them.

    Yields:
        For each type of namespace "own", "host" or "container:NAME"; id maps, time offsets,
        profiles, capabilities and mounts where there are any.
    """
    values = dict(settings)
    yield from _namespaces(settings, values).items()
    if maps := [value for key, value in settings if key == "lxc.idmap"]:
        yield "idmap", "; ".join(maps)
    for clock in ("boot", "monotonic"):
        if value := values.get(f"lxc.time.offset.{clock}", ""):
            yield f"time.{clock}", value
    for word, key in (
        ("seccomp", "lxc.seccomp.profile"),
        ("apparmor", "lxc.apparmor.profile"),
        ("selinux", "lxc.selinux.context"),
    ):
        if value := values.get(key, ""):
            yield word, value
    for word, key in (("cap-keep", "lxc.cap.keep"), ("cap-drop", "lxc.cap.drop")):
        if names := [value for name, value in settings if name == key]:
            yield word, ",".join(" ".join(names).split(" "))
    for key, value in settings:
        fields = value.split(" ")
        if key == "lxc.mount.entry" and len(fields) > 3 and "bind" in fields[3]:
            read_only = "ro" in fields[3].split(",")
            yield f"mount:/{fields[1].lstrip('/')}", f"{fields[0]},ro" if read_only else fields[0]


def _namespaces(settings: Settings, values: dict[str, str]) -> dict[str, str]:
    said = dict.fromkeys(_KINDS, "own")
    if "lxc.idmap" not in values:
        said["user"] = "host"
    if not values.keys() & {"lxc.time.offset.boot", "lxc.time.offset.monotonic"}:
        said["time"] = "host"
    if _networks(settings) == {"none"}:
        said["net"] = "host"
    for kind in values.get("lxc.namespace.keep", "").split(" "):
        if kind in said:
            said[kind] = "host"
    for kind in _KINDS:
        if value := values.get(f"lxc.namespace.share.{kind}", ""):
            said[kind] = f"path:{value}" if value.startswith("/") else f"container:{value}"
    return said


def _networks(settings: Settings) -> set[str]:
    """The types of all its networks."""
    parts = [(key.split("."), value) for key, value in settings]
    return {
        value
        for words, value in parts
        if len(words) == 4 and words[:2] == ["lxc", "net"] and words[3] == "type"
    }


def data_roots(survey: Survey) -> Iterator[DataRoot]:
    """Where monitors say that their containers are, and the usual place; see the Docker module."""
    for task in _candidates(survey):
        told = monitor_of(survey.command(task))
        view = survey.view_of(task) if told else None
        if told is not None and view is not None:
            yield root_of(ENGINE, view, told[0], None)
    host = survey.host_view()
    if host is not None:
        yield root_of(ENGINE, host, DEFAULT_PATH, None)

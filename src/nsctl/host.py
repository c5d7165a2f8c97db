"""This host: opens its sources, wires the engines into discovery, and keeps saved snapshots.

The archive is imported when a file is touched: decoding strictly costs 30 ms of start-up.
"""

from __future__ import annotations

import os
import sys

from nsctl import ahead
from nsctl.discovery.draft import Draft
from nsctl.errors import NsctlError, translate
from nsctl.kernel.procfs import ProcFs, read_file
from nsctl.model.container import Container
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.part import Gap, Part
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import ModuleType

    from nsctl.discovery.draft import ContainerSource
    from nsctl.engines.live_survey import LiveSurvey
    from nsctl.engines.survey import Survey
    from nsctl.model.storage import DataRoot


def take_snapshot(
    parts: Iterable[Part] = tuple(Part), *, proc_root: str = "/proc", ask_daemons: bool = False
) -> Snapshot:
    """Take a snapshot of this host.

    Args:
        parts: what to read, everything by default; the rest is marked "not asked".
        proc_root: where the host's procfs is mounted.
        ask_daemons: ask the engines' daemons for what their state on disk does not tell of their
            containers, which may take a second where one hangs.

    Returns:
        The snapshot; what could not be read is in its ``gaps``.

    Raises:
        KernelRefusal: the procfs cannot be read at all.
    """
    from nsctl.discovery.take import take

    wanted = frozenset(parts)
    source = ahead.source()
    walk = ahead.expected()
    if Part.CONTAINERS not in wanted:
        return take(wanted, proc_root=proc_root, source=source, walk=walk)
    surveyor = _Surveyor()
    answers = surveyor.answers if ask_daemons else None
    return take(
        wanted,
        proc_root=proc_root,
        sources=_sources(surveyor),
        answers=answers,
        source=source,
        walk=walk,
    )


def engine_names() -> tuple[str, ...]:
    """Name the engines whose containers a snapshot lists, each once."""
    names = dict.fromkeys(source.partition(" ")[0] for source in _sources(_Surveyor()))
    return tuple(name for name in names if name != "by_cgroup")


# In this order: of what two of them tell, the first is heard. The last knows the least.
_ENGINES = ("docker", "cri", "containerd", "podman", "crio", "lxc", "nspawn", "oci", "by_cgroup")
# Without any of these there is nobody to ask.
_DAEMONS = ("dockerd", "podman")


def _sources(surveyor: _Surveyor) -> dict[str, ContainerSource]:
    """All engines that discovery can ask, by name."""
    from nsctl.engines import own

    found: dict[str, ContainerSource] = {}
    for name, source in own.sources().items():
        found[name] = _unsurveyed(source)
    for name in _ENGINES:
        found[name] = surveyor.source(name)
    return found


def _unsurveyed(source: Callable[[], Iterable[Container]]) -> ContainerSource:
    """An engine that needs no processes to find its containers."""
    return lambda _draft: source()


# By which of their programs' names an engine is found, where containers of it run. The others
# leave no process, and are asked always.
_PROGRAMS = {
    "docker": ("dockerd", "containerd-shim"),
    "cri": ("containerd", "containerd-shim"),
    "containerd": ("containerd", "containerd-shim"),
    "podman": ("conmon",),
    "crio": ("conmon",),
    "lxc": ("lxc-start", "lxc-execute", "lxd", "incusd"),
    "nspawn": ("systemd-nspawn",),
}


# What an engine that no process of these is of leaves on the host: directories, and names in them.
_STATE = {
    "docker": {"/etc/docker": "daemon.json", "/var/lib": "docker"},
    "cri": {"/run": "containerd", "/var/lib": "containerd"},
    "containerd": {
        "/etc/containerd": "config.toml",
        "/run": "containerd",
        "/var/lib": "containerd",
    },
    "podman": {"/var/lib": "containers"},
    "crio": {},
    "lxc": {"/var/lib": "lxc"},
    "nspawn": {},
}
# A file without one of these words does not tell of another place.
_WORDS = ("/etc/containerd/config.toml", (b"root", b"state"))
_CONFIGURED = {"cri": _WORDS, "containerd": _WORDS}
_LXC_GROUP = b"/lxc.monitor"


class _Signs:
    """Tells which engines there can be nothing of, so that their modules need not be imported.

    Ten engines of which nothing is there would cost a small host a fifth of a list's time.
    """

    def __init__(self, draft: Draft) -> None:
        mnt = TYPES.index(NamespaceType.MNT)
        here = draft.reader.ns[mnt] == draft.reference.ns[mnt] and draft.proc.root == "/proc"
        self._is_host = here and draft.reader.ns[mnt] > 0
        self._comms = {task.comm for task in draft.tasks}
        # Not of each process: thousands share one group.
        groups = {task.cgroup for task in draft.tasks if task.cgroup}
        self._has_lxc = any(_LXC_GROUP in group for group in groups)
        self._names: dict[str, frozenset[str] | None] = {}

    def lack(self, engine: str) -> bool:
        """Tell that neither a program nor a file of an engine is there."""
        if engine not in _PROGRAMS or not self._is_host or (engine == "lxc" and self._has_lxc):
            return False
        # The kernel keeps 15 bytes of a name.
        if any(name.encode()[:15] in self._comms for name in _PROGRAMS[engine]):
            return False
        if engine in _CONFIGURED and _mentions(*_CONFIGURED[engine]):
            return False
        return not any(self._may_hold(place, name) for place, name in _STATE[engine].items())

    def _may_hold(self, place: str, name: str) -> bool:
        # The names alone: what is mounted there may hang.
        if place not in self._names:
            try:
                self._names[place] = frozenset(os.listdir(place))
            except FileNotFoundError:
                self._names[place] = frozenset()
            except OSError:
                self._names[place] = None
        names = self._names[place]
        return names is None or name in names


def _mentions(path: str, words: tuple[bytes, ...]) -> bool:
    """Tell whether a file has one of some words, or cannot be read though it is there."""
    try:
        raw = read_file(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return any(word in raw for word in words)


class Running(NamedTuple):
    """What engines tell without a snapshot.

    Attributes:
        containers: those that run, and those that the same engines tell of besides.
        gaps: what could not be read.
        shift: what was added to the starts that /proc shows, in clock ticks (see Task.start).
    """

    containers: list[Container]
    gaps: list[Gap]
    shift: int


def list_running(*, by_groups: bool = False, wanted: str = "", engine: str = "") -> Running:
    """List containers without a snapshot: one pass over the names of processes, then the engines.

    Args:
        by_groups: list those too of which only the control groups of their processes tell.
        wanted: list only what has this name, without a user's behind "@", or this id, or one that
            begins so, and what is not told apart from that at little cost. Of these no more is
            told than what they are called and their first processes.
        engine: with ``wanted``, whose containers are looked for alone; "" for everybody's.

    Returns:
        Them; engines of which no process lives are not asked.

    Raises:
        KernelRefusal: the procfs cannot be read at all.
    """
    from nsctl.discovery import containers, reader, reference
    from nsctl.discovery.tasks import TaskReader
    from nsctl.engines.live_survey import LiveSurvey, names, programs

    parts = frozenset({Part.TASKS, Part.CGROUPS, Part.COMMANDS, Part.CONTAINERS})
    draft = Draft(ProcFs(), parts, {})
    survey: LiveSurvey | None = None
    try:
        reader.run(draft)
        shift = draft.start_of(0)
        rows = programs(draft.proc, shift, _ALL_PROGRAMS) if wanted else names(draft.proc, shift)
        tasks = TaskReader(draft)
        # The known host process is one of these.
        draft.tasks = [row for pid in _FIRST if (row := tasks.read(pid)) is not None]
        reference.run(draft)
        survey = LiveSurvey(
            draft.proc, rows, draft.reference, draft.reader, shift, tasks.read, wanted
        )
        draft.sources = _likely_sources(survey, engine, by_groups=by_groups)
        containers.run(draft, names_only=bool(wanted))
    except OSError as error:
        raise translate(error, "read", draft.proc.root) from error
    except ValueError as error:
        raise NsctlError("understand", draft.proc.root, str(error)) from error
    finally:
        draft.close()
        if survey is not None:
            survey.close()
    return Running(draft.containers, draft.gaps, shift)


_FIRST = (1, 2)
_ALL_PROGRAMS = tuple(
    dict.fromkeys(name for names in _PROGRAMS.values() for name in (*names, "runc", "crun"))
)


# Those of which one module alone tells.
_SOLE = frozenset({"docker", "lxc", "nspawn", "nsctl"})


def _likely_sources(
    survey: LiveSurvey, engine: str, *, by_groups: bool
) -> dict[str, ContainerSource]:
    """The engines of which something may run, and may be what is looked for."""
    surveyor = _Surveyor(survey)

    def keep_known(draft: Draft) -> list[Container]:
        """Leave in the draft what the engines asked of processes: it names whose an engine is."""
        draft.tasks = list(survey.known)
        return []

    sources: dict[str, ContainerSource] = {}
    if survey.wanted:
        from nsctl.engines import likely

        sole = engine if engine in _SOLE else ""
        place = likely.own_place() if sole in {"", "nsctl"} else ""
        if place:
            from nsctl.engines import own

            sources[f"nsctl {place}"] = _unsurveyed(lambda: own.containers((place,)))
        sources |= {
            name: surveyor.source(name)
            for name in _ENGINES
            if sole in {"", name} and likely.may(name, survey)
        }
    else:
        sources = _sources(surveyor)
        for name, programs in _PROGRAMS.items():
            if not survey.named(*programs):
                del sources[name]
    if not by_groups:
        sources.pop("by_cgroup", None)
    return {**sources, "processes": keep_known}


class _Surveyor:
    """Makes one survey for all engines, and gives each engine's module its turn."""

    def __init__(self, survey: Survey | None = None) -> None:
        self._survey = survey
        self._may_skip = survey is None
        self._signs: _Signs | None = None

    def source(self, name: str) -> ContainerSource:
        """The engine of a module below nsctl.engines, which is imported when it is asked."""

        def ask(draft: Draft) -> list[Container]:
            try:
                if self._may_skip:
                    self._signs = self._signs or _Signs(draft)
                    if self._signs.lack(name):
                        return []
                return self._list(name, draft)
            finally:
                if name == _ENGINES[-1]:
                    self._of(draft).close()

        return ask

    def answers(self, draft: Draft) -> list[Container]:
        """What daemons say, where one may be running and its numbers are the reader's own."""
        if not draft.own_numbers or not self._of(draft).named(*_DAEMONS):
            return []
        return self._list("answers", draft)

    def _list(self, name: str, draft: Draft) -> list[Container]:
        module = _engine(name)
        list_containers: Callable[[Survey], list[Container]] = module.containers
        survey = self._of(draft)
        noted = len(survey.gaps)
        try:
            return list_containers(survey)
        finally:
            draft.gaps.extend(survey.gaps[noted:])

    def _of(self, draft: Draft) -> Survey:
        if self._survey is None:
            from nsctl.engines.survey import Survey

            shift = draft.start_of(0)
            self._survey = Survey(draft.proc, draft.tasks, draft.reference, draft.reader, shift)
        return self._survey


def _engine(name: str) -> ModuleType:
    """Import an engine's module; `importlib` for that would cost a name half a millisecond."""
    path = f"nsctl.engines.{name}"
    __import__(path)
    return sys.modules[path]


# Those whose modules have `data_roots`.
_WITH_ROOTS = ("docker", "podman", "containerd", "lxc")


def find_storage(snapshot: Snapshot) -> tuple[list[DataRoot], list[Gap]]:
    """Find where the engines keep what containers are made of.

    Args:
        snapshot: of this host just now, with tasks and their control groups.

    Returns:
        Their directories, which need not exist; and what could not be read.
    """
    from nsctl.engines.roots import own_roots
    from nsctl.engines.survey import Survey
    from nsctl.kernel.procfs import parse_stat, read_file

    proc = ProcFs()
    own = parse_stat(read_file("/proc/self/stat")).start
    shift = next((row.start - own for row in snapshot.tasks if row.pid == snapshot.reader.pid), 0)
    survey = Survey(proc, snapshot.tasks, snapshot.host, snapshot.reader, shift)
    found: dict[DataRoot, None] = dict.fromkeys(own_roots())
    try:
        for name in _WITH_ROOTS:
            module = _engine(name)
            list_roots: Callable[[Survey], Iterable[DataRoot]] = module.data_roots
            found.update(dict.fromkeys(list_roots(survey)))
    finally:
        survey.close()
    return list(found), survey.gaps


def save_snapshot(snapshot: Snapshot, path: str) -> None:
    """Write a snapshot to a file of mode 0600, whole or not at all.

    Raises:
        KernelRefusal: the file cannot be written.
    """
    from nsctl.archive import snapshots

    snapshots.save(snapshot, path)


def load_snapshot(path: str) -> Snapshot:
    """Read a saved snapshot, trusting nothing in it.

    Raises:
        KernelRefusal: the file cannot be read.
        ArchiveError: it is damaged, no snapshot, or of another version.
    """
    from nsctl.archive import snapshots

    return snapshots.load(path)

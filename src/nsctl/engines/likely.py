"""Which engines one name may be of: told cheaply, so that no more of them are asked.

What is left out here for a name is found all the same where nothing else has it: a snapshot is
taken then.
"""

from __future__ import annotations

import os

from nsctl.engines.survey import option
from nsctl.model.namespace import TYPES, NamespaceType

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.engines.live_survey import LiveSurvey
    from nsctl.engines.state_files import View

_MNT = TYPES.index(NamespaceType.MNT)
_MOBY = "moby"
_RUNTIMES = ("runc", "crun")
_DATABASES = ("libpod/bolt_state.db", "db.sql", "db.sql-wal")
_DATABASE_LIMIT = 64 << 20


def may(engine: str, survey: LiveSurvey) -> bool:
    """Tell whether a container that runs may be an engine's, and be what is looked for.

    Args:
        engine: name of its module.
        survey: with the engines' programs, and what is looked for.
    """
    if engine == "docker":
        return _MOBY in _shims_of(survey)
    if engine in {"cri", "containerd"}:
        return bool(_shims_of(survey) - {_MOBY})
    if engine in {"podman", "crio"}:
        return _may_be_of_monitor(survey, is_podman=engine == "podman")
    if engine == "lxc":
        # A daemon's monitors are its children, and its names stand in front of them.
        monitors = survey.named("lxc-start", "lxc-execute")
        told = (word for task in monitors for word in survey.command(task))
        return bool(survey.named("lxd", "incusd")) or any(survey.wanted in word for word in told)
    if engine == "nspawn":
        return bool(survey.named("systemd-nspawn"))
    return engine == "oci" and _has_state(survey)


def _may_be_of_monitor(survey: LiveSurvey, *, is_podman: bool) -> bool:
    """Whether a conmon or, of Podman's, the database beside it has the word that is looked for.

    A monitor has the name that its container was made with; podman-rename(1) writes into the
    database alone, in which a name is always in one piece.
    """
    places: dict[tuple[int, str], View] = {}
    for task in survey.named("conmon"):
        command = survey.command(task)
        # A monitor calls its engine when the container has ended.
        if is_podman is not any("podman" in word for word in command):
            continue
        if not is_podman or any(survey.wanted in word for word in command):
            return True
        graph = option(command, "-b", "--bundle").rpartition("/")[0].rpartition("-containers/")[0]
        view = survey.view_of(task)
        if view is not None:
            places[view.mntns, graph.rpartition("/")[0]] = view
    for (_, graph), view in places.items():
        for name in _DATABASES:
            raw = survey.read(view, f"{graph}/{name}", "podman", limit=_DATABASE_LIMIT)
            if raw is not None and survey.may_be_wanted("", raw):
                return True
    return False


def _shims_of(survey: LiveSurvey) -> set[str]:
    """The namespaces of containerd that shims tell of."""
    tasks = survey.named("containerd-shim")
    return {option(survey.command(task), "-namespace", "--namespace") for task in tasks}


def _has_state(survey: LiveSurvey) -> bool:
    """Whether a runtime that nobody calls knows an id that begins so."""
    reader = survey.reader
    if reader.ns[_MNT] != survey.reference.ns[_MNT] or survey.named(*_RUNTIMES):
        return True
    places = [f"/run/{name}" for name in _RUNTIMES]
    if reader.uid and (mine := os.environ.get("XDG_RUNTIME_DIR", "")).startswith("/"):
        places += [f"{mine}/{name}" for name in _RUNTIMES]
    return any(name.startswith(survey.wanted) for place in places for name in _names(place))


def own_place() -> str:
    """Tell where the caller has containers of our own, "" where there are none."""
    from nsctl.engines import own

    place = own.directory_of(os.geteuid(), os.environ.get("XDG_RUNTIME_DIR", ""))
    return place if os.path.lexists(place) and _names(f"{place}/containers") else ""


def _names(directory: str) -> list[str]:
    """What is in a directory; what is not there, or is refused, is told by who reads for real."""
    try:
        return os.listdir(directory)
    except FileNotFoundError:
        return []
    except OSError:
        return [""]

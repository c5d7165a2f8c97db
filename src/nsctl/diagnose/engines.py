"""Which container engines are on this machine: programs, sockets and state. None is asked."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Collection, Mapping

from nsctl.diagnose.answer import Answer, State
from nsctl.model.record import NamedTuple


class Engine(NamedTuple):
    """Where to look for an engine.

    Attributes:
        name: as nsctl names it.
        programs: looked for in PATH.
        sockets: that its daemon listens on; ``{run}`` stands for $XDG_RUNTIME_DIR.
        state: directories that it keeps its state in, likewise.
    """

    name: str
    programs: tuple[str, ...]
    sockets: tuple[str, ...] = ()
    state: tuple[str, ...] = ()


ENGINES: tuple[Engine, ...] = (
    Engine("nsctl", (), (), ("/run/nsctl", "{run}/nsctl")),
    Engine(
        "docker",
        ("docker", "dockerd"),
        ("/run/docker.sock", "{run}/docker.sock"),
        ("/var/lib/docker",),
    ),
    Engine(
        "podman",
        ("podman",),
        ("/run/podman/podman.sock", "{run}/podman/podman.sock"),
        ("/run/containers/storage", "{run}/containers"),
    ),
    Engine(
        "containerd",
        ("containerd", "nerdctl"),
        ("/run/containerd/containerd.sock",),
        ("/run/containerd/io.containerd.runtime.v2.task",),
    ),
    Engine("cri", ("crio", "kubelet"), ("/run/crio/crio.sock",), ("/run/crio",)),
    Engine("lxc", ("lxc-start", "lxd", "incus"), (), ("/var/lib/lxc", "/var/lib/incus")),
    Engine("nspawn", ("systemd-nspawn",), (), ("/run/systemd/nspawn", "/var/lib/machines")),
    Engine("oci", ("runc", "crun"), (), ("/run/runc", "/run/crun", "{run}/crun")),
)
"""All that nsctl knows of."""

_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def answers(asked: Collection[str], environ: Mapping[str, str] | None = None) -> list[Answer]:
    """Look for all engines.

    Args:
        asked: names of those whose containers nsctl lists.
        environ: PATH and XDG_RUNTIME_DIR are read; None for the process's own.

    Returns:
        A line each; nothing is connected to, so a hanging daemon costs nothing.
    """
    variables = os.environ if environ is None else environ
    return [_answer(engine, engine.name in asked, variables) for engine in ENGINES]


def _answer(engine: Engine, is_asked: bool, environ: Mapping[str, str]) -> Answer:
    places = environ.get("PATH", _DEFAULT_PATH).split(":")
    programs = [
        name for name in engine.programs if any(_runs(f"{place}/{name}") for place in places)
    ]
    sockets = [path for path in _paths(engine.sockets, environ) if _is(path, stat.S_ISSOCK)]
    state = [path for path in _paths(engine.state, environ) if _is(path, stat.S_ISDIR)]
    found = [
        f"{word} {', '.join(names)}"
        for word, names in (("program", programs), ("socket", sockets), ("state", state))
        if names
    ]
    asked = "" if is_asked else "nsctl does not ask it: its containers are named by their processes"
    if found:
        label: State = "ok" if is_asked else "partial"
        return Answer("engines", engine.name, label, engine.name, "; ".join(found), asked)
    if is_asked:
        return Answer("engines", engine.name, "ok", engine.name, "no containers yet")
    return Answer("engines", engine.name, "absent", engine.name, "no program, socket or state")


def _paths(patterns: tuple[str, ...], environ: Mapping[str, str]) -> list[str]:
    run = environ.get("XDG_RUNTIME_DIR", "")
    return [path.format(run=run) for path in patterns if run or "{run}" not in path]


def _runs(path: str) -> bool:
    return os.access(path, os.X_OK) and os.path.isfile(path)


def _is(path: str, kind: Callable[[int], bool]) -> bool:
    try:
        mode = os.stat(path).st_mode
    except OSError:  # not there, or not to be seen by us: the same to who cannot use it
        return False
    return kind(mode)

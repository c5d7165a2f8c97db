"""Containers of systemd-nspawn(1), found by its processes.

It leaves no state unless systemd-machined(8) runs, which keeps a private file for each machine in
``/run/systemd/machines``; so the name comes from that file, from nspawn's own arguments or from
the control group that the machine was given, in this order. The first process is nspawn's child.
"""

from __future__ import annotations

import posixpath

from nsctl.engines import cgroup_names
from nsctl.engines.state_files import View
from nsctl.engines.survey import Survey
from nsctl.model.container import Container
from nsctl.model.record import NamedTuple
from nsctl.model.task import Task

ENGINE = "nspawn"
MACHINES = "/run/systemd/machines"

_SHORT = "hD:u:abL:M:jS:Z:qi:xp:nUE:P"
"""As in getopt(3): with a colon, those that have a value."""

# Long options whose value, if they have one at all, must be attached.
_LONG_FLAGS = frozenset(
    {
        *("help", "version", "quiet", "no-pager", "ephemeral", "as-pid2", "boot", "pipe"),
        *("read-only", "volatile", "keep-unit", "share-system"),
        *("private-users", "private-users-chown", "private-network", "network-veth"),
    }
)
_NAMES = {
    "D": "directory",
    "M": "machine",
    "i": "image",
    "n": "network-veth",
    "U": "private-users",
    "b": "boot",
    "a": "as-pid2",
    "x": "ephemeral",
    "u": "user",
}


class Machine(NamedTuple):
    """What a file of systemd-machined tells.

    Attributes:
        name: of the machine.
        root: its root directory.
        leader: process id of its first process.
        created: seconds since the epoch.
    """

    name: str
    root: str
    leader: int
    created: float


def containers(survey: Survey) -> list[Container]:
    """List the containers of all running systemd-nspawn processes.

    Args:
        survey: the processes that were seen.

    Returns:
        One row a container.
    """
    found = []
    machines: dict[tuple[int, str, int], dict[int, Machine]] = {}
    for task in survey.named("systemd-nspawn"):
        view = survey.view_of(task)
        first = _first(survey, task)
        if view is None or first is None:
            continue
        key = (view.mntns, view.trust.kind, view.trust.uid)
        if key not in machines:
            machines[key] = _machines(survey, view)
        found.append(_row(survey, task, first, machines[key].get(first.pid)))
    return found


def _first(survey: Survey, nspawn: Task) -> Task | None:
    """Its child; while it starts there is another, which is in nspawn's own namespaces."""
    inside = [
        task
        for task in survey.children(nspawn.pid)
        if task.state not in "ZX" and task.ns != nspawn.ns and task.comm != nspawn.comm
    ]
    return min(inside, key=lambda task: (task.start, task.pid), default=None)


def _row(survey: Survey, nspawn: Task, first: Task, machine: Machine | None) -> Container:
    asked = options(survey.command(nspawn))
    root = asked.get("directory", "") or asked.get("image", "")
    root = survey.path_of(nspawn, root) if root else survey.path_of(nspawn, ".")
    named = [name for name in cgroup_names.names(first.cgroup or b"") if name.engine == ENGINE]
    name = machine.name if machine else asked.get("machine", "")
    if not name and named:
        name = named[-1].id
    if not name:
        name = posixpath.basename(posixpath.normpath(root)).removesuffix(".raw")
    row = survey.row(
        Container(
            name=name,
            engine=ENGINE,
            id=name,
            image=machine.root if machine and machine.root else posixpath.normpath(root),
            created=machine.created if machine else 0.0,
            declared=tuple(declared(asked).items()),
        ),
        nspawn,
        first,
    )
    return row._replace(cgroups=_payload(first, nspawn))


def _payload(first: Task, nspawn: Task) -> tuple[str, ...]:
    """The groups of the payload; nspawn itself is in another, below the same scope."""
    supervisor = {path for _, path in cgroup_names.paths(nspawn.cgroup or b"")}
    found: dict[str, None] = {}
    for _, path in cgroup_names.paths(first.cgroup or b""):
        above, payload, _ = path.partition("/payload")
        own = above + payload
        if payload and not any(f"{other}/".startswith(f"{own}/") for other in supervisor):
            found[own] = None
    return tuple(found)


def _machines(survey: Survey, view: View) -> dict[int, Machine]:
    """What systemd-machined says of machines that are nspawn's, by the reader's process id."""
    found = {}
    for name in survey.list(view, MACHINES, ENGINE):
        # Links by unit ("unit:machine-web.scope") lead to the same files.
        if ":" in name:
            continue
        raw = survey.read(view, f"{MACHINES}/{name}", ENGINE)
        if raw is not None and b"\nSERVICE=" not in b"\n" + raw:
            survey.note(ENGINE, f"{MACHINES}/{name}", "it is only half written")
        machine = parse_machine(raw or b"")
        if machine is not None and machine.name == name:
            found[machine.leader] = machine
    return found


def parse_machine(raw: bytes) -> Machine | None:
    """Parse a file of ``/run/systemd/machines``.

    Args:
        raw: the file, "KEY=value" a line.

    Returns:
        What it tells; None where that is another service's, or not whole.
    """
    values: dict[str, str] = {}
    for line in raw.split(b"\n"):
        key, _, value = line.decode("utf-8", "surrogateescape").partition("=")
        values[key] = value.strip('"')
    leader, began = values.get("LEADER", ""), values.get("REALTIME", "")
    if values.get("SERVICE") != "systemd-nspawn" or not values.get("NAME"):
        return None
    if not (leader.isascii() and leader.isdigit() and len(leader) <= 10):
        return None
    whole = began.isascii() and began.isdigit() and len(began) <= 20
    created = int(began) / 1e6 if whole else 0.0
    return Machine(values["NAME"], values.get("ROOT", ""), int(leader), created)


def options(arguments: tuple[str, ...]) -> dict[str, str]:
    """Read the arguments of systemd-nspawn(1).

    Args:
        arguments: its command line, the program's name first.

    Returns:
        Options by their long names, with their values; "" for those without.
    """
    found: dict[str, str] = {}
    words = iter(arguments[1:])
    for word in words:
        if word == "--" or not word.startswith("-") or word == "-":
            break  # the command that is to be run inside
        if word.startswith("--"):
            key, equals, value = word[2:].partition("=")
            if not equals and key not in _LONG_FLAGS:
                value = next(words, "")
            found[key] = value
            continue
        letters = word[1:]
        while letters:
            letter, letters = letters[0], letters[1:]
            value = ""
            if f"{letter}:" in _SHORT:
                value, letters = letters or next(words, ""), ""
            found[_NAMES.get(letter, letter)] = value
    return found


def declared(asked: dict[str, str]) -> dict[str, str]:
    """Say what options ask for, in the words of ``Container.declared``.

    Args:
        asked: as `options` gives them.
    """
    said = dict.fromkeys(("mnt", "pid", "ipc", "uts", "cgroup"), "own")
    users = asked.get("private-users")
    said["user"] = "host" if users is None or users == "no" else "own"
    private = any(key == "private-network" or key.startswith("network-") for key in asked)
    said["net"] = "own" if private else "host"
    if path := asked.get("network-namespace-path", ""):
        said["net"] = f"path:{path}"
    said["time"] = "host"
    if users is not None:
        said["private-users"] = users or "pick"
    said["read-only"] = "yes" if "read-only" in asked else "no"
    return said

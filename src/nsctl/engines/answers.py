"""What the engines' daemons say of their containers, for what their state on disk does not tell.

One read-only question to each daemon, all at once, within one second (`nsctl.engines.api`). Podman's
service answers the same one as Docker's. A daemon that hangs or fails is a line in the note. What
process a container is of is not taken from here: numbers are believed from state on disk only,
where the process agrees.
"""

from __future__ import annotations

import functools
import os
from contextlib import ExitStack

from nsctl.engines import api
from nsctl.engines.fields import Fields, is_id, number, pairs, parse_rows, text, texts
from nsctl.engines.sockets import Daemon, daemons
from nsctl.engines.survey import Survey
from nsctl.kernel import below
from nsctl.kernel.unix import peer_of
from nsctl.model.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

_LIST = "/containers/json?all=1"
_SHORT = 12


def containers(survey: Survey) -> list[Container]:
    """Ask all daemons of the host, and the reader's own.

    Args:
        survey: the processes that were seen.

    Returns:
        A row for each container that a daemon tells of, without its process.
    """
    found: list[Container] = []
    with ExitStack() as opened:
        places = [
            (daemon, path, fd)
            for daemon in daemons(survey)
            for path, fd in _opened(survey, daemon, opened)
        ]
        questions = [
            api.Question(fd, functools.partial(_is_of, survey, daemon)) for daemon, _, fd in places
        ]
        answers = api.ask(_LIST, questions) if questions else []
    heard: set[int] = set()
    failures: dict[int, tuple[Daemon, str, str]] = {}
    for (daemon, path, _), answer in zip(places, answers, strict=True):
        pid = daemon.task.pid
        failure = answer.failure
        if not failure and pid not in heard:
            try:
                found += _rows(survey, daemon, answer.body)
            except ValueError as error:
                failure = f"its answer is not understood: {error}"
        if not failure:
            heard.add(pid)
        elif pid not in failures or not answer.is_stranger:
            failures[pid] = (daemon, path, failure)
    for pid, (daemon, path, failure) in failures.items():
        if pid not in heard:
            survey.note(daemon.engine, f"{daemon.engine} at {path}", failure)
    return found


def _opened(survey: Survey, daemon: Daemon, opened: ExitStack) -> list[tuple[str, int]]:
    """Open the files of a daemon's sockets; they are closed with the stack."""
    found: list[tuple[str, int]] = []
    for path in daemon.paths:
        try:
            fd = below.open_socket(daemon.view.root, path)
        except OSError as error:
            if not found and path == daemon.paths[-1]:
                what = f"{daemon.engine} at {path}"
                survey.note(daemon.engine, what, error.strerror or str(error))
            continue
        opened.callback(os.close, fd)
        found.append((path, fd))
    return found


def _is_of(survey: Survey, daemon: Daemon, connection: socket.socket) -> bool:
    """Tell whether a daemon itself listens there, or who may make sockets for it.

    A path can have been taken over, or its line in the kernel's table forged. A service manager
    that hands its sockets over is the one who called listen(2).
    """
    peer = peer_of(connection)
    task = survey.row_of(peer.pid) if peer is not None else None
    if peer is None or task is None:
        return False
    trust = daemon.view.trust
    return peer.uid == trust.uid and (task.pid == daemon.task.pid or survey.trust(task) == trust)


def _rows(survey: Survey, daemon: Daemon, body: bytes) -> list[Container]:
    """Read ContainerSummary rows of Docker's API.

    Raises:
        ValueError: it is no list; in words.
    """
    return [
        survey.row(_row(daemon.engine, fields), daemon.task, None)
        for fields in parse_rows(body)
        if is_id(text(fields, "Id"))
    ]


def _row(engine: str, fields: Fields) -> Container:
    container_id = text(fields, "Id")
    # A link of another container's is "/OTHER/ALIAS".
    names = [name[1:] for name in texts(fields, "Names") if name.rfind("/") == 0]
    return Container(
        name=names[0] if names else container_id[:_SHORT],
        engine=engine,
        id=container_id,
        image=text(fields, "Image"),
        state=text(fields, "State"),
        created=float(number(fields, "Created")),
        labels=pairs(fields, "Labels"),
    )

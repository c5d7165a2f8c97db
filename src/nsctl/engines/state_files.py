"""State files of engines: whose view of the file system they are in, and reading them safely.

What could not be read or believed is noted, and is no reason to stop.
"""

from __future__ import annotations

import errno
import os

from nsctl.engines.fields import Fields, parse
from nsctl.errors import refused, vanished
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.record import NamedTuple
from nsctl.model.snapshot import Reader
from nsctl.model.task import Task

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    from nsctl.engines.guarded import GuardedReader

FILE_LIMIT = 4 << 20
"""Bytes of a state file; an engine's own are far below it."""
NAME_LIMIT = 100_000
"""Names in a directory of state, likewise."""


class Trust(NamedTuple):
    """How far a process's word counts.

    Attributes:
        kind: "host" for root of the host: all that it says counts. "user" for somebody else on
            the host: counts for what descends from the process. "inside" for a process in a
            container or something like one: counts for what descends from it, and for processes
            of its PID namespace where that is its own.
        uid: its real user id, in the reader's numbers.
    """

    kind: Literal["host", "user", "inside"]
    uid: int


class View(NamedTuple):
    """A file system as somebody sees it.

    Attributes:
        root: path of its root directory.
        trust: whose word what is found there is.
        by: the process whose view it is, None for the host's own.
        mntns: inode of its mount namespace, so that one place is not read twice.
    """

    root: str
    trust: Trust
    by: Task | None
    mntns: int


class StateFiles:
    """Reads state files, and collects what is to be noted.

    Args:
        reader: who looks.

    Attributes:
        reader: as given.
        gaps: what was noted.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.gaps: list[Gap] = []
        self._guarded: GuardedReader | None = None

    def close(self) -> None:
        """End the helper that reads what belongs to others, if there is one."""
        if self._guarded is not None:
            self._guarded.close()
            self._guarded = None

    def read(
        self, view: View, path: str, engine: str, *, limit: int = FILE_LIMIT, owner: int = 0
    ) -> bytes | None:
        """Read a state file.

        Args:
            view: in whose view of the file system.
            path: of the file there.
            engine: whose state it is, for the note.
            limit: bytes that it may have.
            owner: for the host's engines, who may own it besides root and the reader.

        Returns:
            Its content; None where there is none, which is no matter, or where it cannot be
            read or believed, which is noted.
        """
        if _is_absent(view, path):
            return None
        try:
            if view.trust.kind == "host":
                from nsctl.kernel import below

                content = below.read_file(view.root, path, limit)
            else:
                content = self._guard().read_file(view.root, path, limit)
        except OSError as error:
            if vanished(error) and self.read_link(view, path, engine):
                self.note(engine, path, "it is a link that leads nowhere")
            else:
                self._note_error(engine, path, error)
            return None
        cause = ""
        if not content.whole:
            cause = f"it is longer than {limit} bytes"
        elif view.trust.kind == "host" and (
            content.uid not in {0, owner, self.reader.uid} or content.mode & 0o022
        ):
            cause = f"it is not root's alone (uid {content.uid}, mode {content.mode:04o})"
        if cause:
            self.note(engine, path, cause)
            return None
        return content.data

    def read_json(
        self, view: View, path: str, engine: str, *, limit: int = FILE_LIMIT, owner: int = 0
    ) -> Fields | None:
        """Read a state file that is a JSON object; see `read`. A half-written one is noted."""
        raw = self.read(view, path, engine, limit=limit, owner=owner)
        return None if raw is None else self.json_of(raw, path, engine)

    def json_of(self, raw: bytes, path: str, engine: str) -> Fields | None:
        """Parse what `read` gave; see `read_json`."""
        try:
            return parse(raw)
        except ValueError as error:
            self.note(engine, path, str(error))
            return None

    def list(self, view: View, path: str, engine: str) -> list[str]:
        """List a directory of state.

        Returns:
            Names, sorted; [] where there is no such directory, or where it cannot be read, which
            is noted.
        """
        if _is_absent(view, path):
            return []
        try:
            if view.trust.kind == "host":
                from nsctl.kernel import below

                names = below.list_directory(view.root, path, NAME_LIMIT)
            else:
                names = self._guard().list_directory(view.root, path, NAME_LIMIT)
        except OSError as error:
            self._note_error(engine, path, error)
            return []
        return sorted(names)

    def read_link(self, view: View, path: str, engine: str) -> str:
        """Read a symbolic link.

        Returns:
            Where it leads, as it is written; "" where there is none, or where it cannot be read,
            which is noted.
        """
        try:
            if view.trust.kind == "host":
                from nsctl.kernel import below

                return below.read_link(view.root, path)
            return self._guard().read_link(view.root, path)
        except OSError as error:
            self._note_error(engine, path, error)
            return ""

    def _guard(self) -> GuardedReader:
        if self._guarded is None:
            from nsctl.engines.guarded import GuardedReader

            self._guarded = GuardedReader()
        return self._guarded

    def note(self, engine: str, what: str, cause: str, needs: str = "") -> None:
        """Note what could not be read or believed.

        Args:
            engine: whose it is.
            what: the file or directory.
            cause: why, in words.
            needs: the capability that would mend it.
        """
        gap = Gap(Part.CONTAINERS, engine, what, PartState.PARTIAL, cause, needs)
        if gap not in self.gaps:
            self.gaps.append(gap)

    def _note_error(self, engine: str, path: str, error: OSError) -> None:
        # A directory on the way may be a file in a container's image: then there is no state.
        if vanished(error) or error.errno == errno.ENOTDIR:
            return
        cause = error.strerror or str(error)
        self.note(engine, path, cause, "CAP_DAC_READ_SEARCH" if refused(error) else "")


def _is_absent(view: View, path: str) -> bool:
    """Tell cheaply that the host has no such engine: what reads for real takes 3 ms to import."""
    return view.root == "/" and not os.path.lexists(path)

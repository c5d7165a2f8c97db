"""What root's and an ordinary user's tests of unshare both ask."""

from __future__ import annotations

from collections.abc import Callable
from subprocess import CompletedProcess

from support.unsharing import PROBE, arguments

Run = Callable[..., "CompletedProcess[str]"]


def same_situation(run: Run, peer: str, ours: str, options: tuple[str, ...]) -> None:
    """A program finds the same situation whichever of the two began it."""
    command = (*options, "sh", "-c", PROBE, "sh", *arguments())
    theirs = run(peer, *command)
    mine = run(ours, *command)
    assert theirs.returncode == 0, theirs.stderr
    assert (mine.returncode, mine.stdout) == (0, theirs.stdout), mine.stderr


def same_end(run: Run, peer: str, ours: str, words: tuple[str, ...]) -> None:
    """Both end with the same status; whoever refuses says so."""
    theirs, mine = run(peer, *words), run(ours, *words)
    assert mine.returncode == theirs.returncode, mine.stderr
    assert bool(mine.stderr) == bool(theirs.stderr)
    assert "Traceback" not in mine.stderr

"""The completeness note that stands under every view: what was not read, and what would help."""

from __future__ import annotations

from collections.abc import Collection

from nsctl.model.part import Part
from nsctl.model.snapshot import Snapshot
from nsctl.report.escape import clip, escape, width
from nsctl.report.style import PLAIN, Style


def note(
    snapshot: Snapshot,
    shown: int | None = None,
    style: Style = PLAIN,
    *,
    parts: Collection[Part] | None = None,
) -> list[str]:
    """Say how many rows are shown and what the view lacks.

    Args:
        snapshot: what the view was made from.
        shown: the number of rows, None where a view has no such number.
        style: its width wraps the note.
        parts: the parts that the view was made from, where gaps in others do not concern it.

    Returns:
        Lines such as ``3 shown. Not read: namespaces of 12 processes (needs CAP_SYS_PTRACE).``;
        none where nothing is missing and no number is given. Gaps that one capability would mend,
        or that have one cause, are named together.
    """
    objects: dict[str, list[str]] = {}
    for gap in snapshot.gaps:
        if parts is None or gap.part in parts:
            reason = f"needs {gap.needs}" if gap.needs else gap.cause
            together = objects.setdefault(reason, [])
            if gap.object not in together:
                together.append(gap.object)
    sentences = [] if shown is None else [f"{shown} shown."]
    if objects:
        missing = [
            ", ".join(together) + (f" ({reason})" if reason else "")
            for reason, together in objects.items()
        ]
        sentences.append(f"Not read: {'; '.join(missing)}.")
    sentences += snapshot.remarks
    text = style.text(escape(" ".join(sentences)))
    return [style.paint(line, "note") for line in wrap(text, style.width)] if text else []


def wrap(text: str, limit: int | None) -> list[str]:
    """Break text into lines at its blanks.

    Args:
        text: from `nsctl.report.escape.escape`.
        limit: cells that a line may take, None for one line.

    Returns:
        At least one line. A word that is longer than a line is broken, but not within an escape.
    """
    if limit is None or width(text) <= limit:
        return [text]
    lines = []
    line = ""
    for part in text.split(" "):
        word = part
        if line and width(line) + 1 + width(word) <= limit:
            line = f"{line} {word}"
            continue
        if line:
            lines.append(line)
        while width(word) > limit and (piece := clip(word, limit)):
            lines.append(piece)
            word = word[len(piece) :]
        line = word
    return [*lines, line]

"""JSON of what nsctl itself keeps, containers and images: the common head, and texts with their bytes."""

from __future__ import annotations

import sys
import time

from nsctl.report.jsonout import FORMAT_VERSION, document, put_text, put_texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from nsctl.report.jsonout import Row


def put_json(
    list_key: str,
    found: Sequence[Mapping[str, object]],
    source: str,
    began: float,
    boot_id: str,
    gaps: Sequence[Row] = (),
) -> None:
    """Print a document.

    Args:
        list_key: name of its list.
        found: what is in the list; texts are such as `os.fsdecode` gives.
        source: the directory that it was read from.
        began: when that was begun, in seconds since the epoch.
        boot_id: of this boot.
        gaps: what could not be read, from `gap`.
    """
    about: Row = {
        "version": FORMAT_VERSION,
        "began": began,
        "ended": time.time(),
        "boot_id": boot_id,
        "read_from": [source],
        "completeness": list(gaps),
    }
    sys.stdout.write(document(list_key, [_row(each) for each in found], about))


def gap(source: str, name: str, cause: str) -> Row:
    """Say what could not be read.

    Args:
        source: the directory that it is in.
        name: what of it.
        cause: why.

    Returns:
        A row of ``completeness``.
    """
    row: Row = {"source": source}
    return row | {"object": name, "state": "unreadable", "cause": cause, "needs": None}


def _row(found: Mapping[str, object]) -> Row:
    row: Row = {}
    for key, value in found.items():
        if isinstance(value, str):
            put_text(row, key, _raw(value))
        elif isinstance(value, dict):
            row[key] = _row(value)
        elif isinstance(value, list) and value and isinstance(value[0], str):
            put_texts(row, key, map(_raw, value))
        elif isinstance(value, list):
            row[key] = [_row(each) if isinstance(each, dict) else each for each in value]
        else:
            row[key] = value
    return row


def _raw(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that an image's own JSON had
        return text.encode("utf-8", "replace")

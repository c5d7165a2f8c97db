"""Views as JSON: what others build on.

The text is UTF-8. Bytes that are not are shown as U+FFFD, with the raw bytes in hex beside them,
and whatever a terminal, a log or an editor could act on is written as an escape of JSON, which
reads back as the same text. Documents are laid out two blanks a level, small objects on one line.
Nothing here recurses: rows nest as deep as hostile processes do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from nsctl.model.owner import Owner
from nsctl.model.remember import remembered
from nsctl.model.snapshot import Snapshot
from nsctl.report.escape import seen

FORMAT_VERSION = 1
"""``version`` of every document; it changes when a key changes its meaning or goes away."""

Row = dict[str, object]

_INDENT = "  "
# Deeper levels are not indented further: a chain of nested rows must not grow by its square.
# Namespaces nest 32 deep, each by an object and a list.
_INDENTED_LEVELS = 72
# An object of that many keys, none of them an object, stands on one line.
_SMALL = 8
_REPLACED = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


def document(list_key: str, rows: Sequence[Row], about: Row) -> str:
    """Write one view.

    Args:
        list_key: name of the list, as the original command or the view has it.
        rows: its elements; a list under ``children`` nests more of them.
        about: the other keys of the top level, from `envelope`.

    Returns:
        One JSON object and a line end: the list first, then the others in their order.
    """
    return _write({list_key: rows, **about}, pretty=True)


def ndjson(rows: Iterable[Row]) -> str:
    """Write rows as one JSON object a line.

    Args:
        rows: see `document`.

    Returns:
        The lines, each with its line end; "" for no rows.
    """
    encode = _encoder()
    return "".join(
        [
            # Only children nest without a bound.
            _write(row, pretty=False) if "children" in row else _visible(encode(row)) + "\n"
            for row in rows
        ]
    )


def envelope(snapshot: Snapshot) -> Row:
    """Say of which moment and how complete a view is.

    Args:
        snapshot: what the view was made from.

    Returns:
        ``version``, ``began`` and ``ended`` (seconds since the epoch), ``boot_id``,
        ``read_from`` and ``completeness`` (a row for each gap).
    """
    return {
        "version": FORMAT_VERSION,
        "began": snapshot.began,
        "ended": snapshot.ended,
        "boot_id": snapshot.boot_id,
        "read_from": list(snapshot.read_from),
        "completeness": [
            {
                "source": gap.source,
                "object": gap.object,
                "state": str(gap.state),
                "cause": gap.cause,
                "needs": gap.needs or None,
            }
            for gap in snapshot.gaps
        ],
    }


def whose(owner: Owner | None, *, was: bool = False) -> Row | None:
    """Write an owner.

    Args:
        owner: None where nobody is known.
        was: it no longer runs.

    Returns:
        ``kind``, ``engine``, ``name``, ``id``, ``pod`` and ``was``, null where it has none; for a
        process also its ``pid``.
    """
    if owner is None:
        return None
    row: Row = {"kind": owner.kind, "engine": owner.engine or None}
    try:
        name = owner.name.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that an engine's own JSON had
        name = owner.name.encode("utf-8", "replace")
    put_text(row, "name", name)
    row.update(id=owner.id or None, pod=owner.pod or None, was=was)
    if owner.kind == "process":
        row["pid"] = owner.pid
    return row


def put_text(row: Row, key: str, raw: bytes | None) -> None:
    """Add text that came as bytes.

    Args:
        row: what to add it to.
        key: its key.
        raw: what should be UTF-8; None where it was not read.

    ``row[key]`` becomes the text (or None); a byte that is not part of valid UTF-8 is U+FFFD in
    it, and then ``row[key + "_raw"]``, right after it, is the whole in hex.
    """
    if raw is None:
        row[key] = None
        return
    row[key], hexed = _readable(raw)
    if hexed is not None:
        row[f"{key}_raw"] = hexed


def put_texts(row: Row, key: str, raws: Iterable[bytes]) -> None:
    """Add a list of texts that came as bytes.

    Args:
        row: what to add it to.
        key: its key.
        raws: what should be UTF-8.

    ``row[key]`` becomes the list of texts, as `put_text` makes them; if any was not valid UTF-8,
    ``row[key + "_raw"]`` is a list of the same length, null for those that were.
    """
    pairs = [_readable(raw) for raw in raws]
    row[key] = [text for text, _ in pairs]
    if any(hexed is not None for _, hexed in pairs):
        row[f"{key}_raw"] = [hexed for _, hexed in pairs]


def _readable(raw: bytes) -> tuple[str, str | None]:
    """Decode bytes, each bad one to U+FFFD, and give them in hex where there was one."""
    text = raw.decode("utf-8", "surrogateescape")
    if text.isascii():
        return text, None
    readable = text.translate(_REPLACED)
    return readable, None if readable == text else raw.hex()


def quoted(text: str) -> str:
    """Write one string of JSON; what cannot be seen is escaped in it."""
    return _visible(_encoder()(text))


def select(rows: Sequence[Row], keys: Sequence[str]) -> list[Row]:
    """Keep the keys that were asked for.

    Args:
        rows: see `document`; they are left as they are.
        keys: in the order wanted.

    Returns:
        Rows with exactly these keys, null where a row has no such key. The ``_raw`` of a key
        follows it, and ``children`` stays, with the same keys.
    """
    kept: list[Row] = []
    stack: list[tuple[Sequence[Row], list[Row]]] = [(rows, kept)]
    while stack:
        source, into = stack.pop()
        for row in source:
            new: Row = {}
            for key in keys:
                new[key] = row.get(key)
                if f"{key}_raw" in row:
                    new[f"{key}_raw"] = row[f"{key}_raw"]
            below = row.get("children")
            if isinstance(below, (list, tuple)):
                children: list[Row] = []
                new["children"] = children
                stack.append((below, children))
            into.append(new)
    return kept


def _write(value: object, *, pretty: bool) -> str:
    """Lay out a value, from a stack of what is still to be written: text, or a value and depth."""
    out: list[str] = []
    stack: list[str | tuple[object, int]] = [(value, 0)]
    while stack:
        item = stack.pop()
        if isinstance(item, str):
            out.append(item)
        elif (text := _on_one_line(item[0])) is not None:
            out.append(text)
        else:
            stack.extend(reversed(_opened(*item, pretty=pretty)))
    out.append("\n")
    return "".join(out)


def _opened(part: object, depth: int, *, pretty: bool) -> list[str | tuple[object, int]]:
    """Lay out one level of an object or a list; what does not fit on a line stays to be done."""
    inner = "\n" + _INDENT * min(depth + 1, _INDENTED_LEVELS) if pretty else ""
    outer = "\n" + _INDENT * min(depth, _INDENTED_LEVELS) if pretty else ""
    comma = f",{inner or ' '}"
    pieces: list[str | tuple[object, int]] = []
    named: list[tuple[str, object]] = []
    text, end = "[" + inner, outer + "]"
    if isinstance(part, dict):
        named = [(f"{_key(key)}: ", each) for key, each in part.items()]
        text, end = "{" + inner, outer + "}"
    elif isinstance(part, (list, tuple)):
        named = [("", each) for each in part]
    for name, each in named:
        text += name
        line = _on_one_line(each)
        if line is None:
            pieces += (text, (each, depth + 1))
            text = comma
        else:
            text += line + comma
    # The last one's comma is still in front of us.
    pieces.append(text.removesuffix(comma) + end)
    return pieces


def _on_one_line(part: object) -> str | None:
    """Encode a plain value, an empty or a small container; None for one that takes more lines."""
    kind = type(part)
    if kind is int:
        return str(part)
    if part is None:
        return "null"
    if isinstance(part, (dict, list, tuple)) and part and not _is_small(part):
        return None
    return _visible(_encoder()(part))


@remembered(256)
def _key(key: str) -> str:
    return _visible(_encoder()(key))


def _is_small(part: dict[object, object] | list[object] | tuple[object, ...]) -> bool:
    """Tell what stands on one line: lists of plain values, and short objects of such."""
    if isinstance(part, dict):
        return len(part) <= _SMALL and all(
            not isinstance(each, dict)
            and (not isinstance(each, (list, tuple)) or _is_plain_list(each))
            for each in part.values()
        )
    return _is_plain_list(part)


def _is_plain_list(part: Sequence[object]) -> bool:
    return not any(isinstance(each, (dict, list, tuple)) for each in part)


def _visible(text: str) -> str:
    r"""Write what cannot be seen in encoded JSON as ``\uXXXX``.

    Outside strings JSON is ASCII, so whatever is not can be replaced without looking where it
    stands; a lone surrogate, which UTF-8 cannot carry, becomes U+FFFD.
    """
    if seen(text):
        return text
    return "".join([c if seen(c) else _escape(c) for c in text])


def _escape(character: str) -> str:
    if "\ud800" <= character <= "\udfff":
        return "\ufffd"
    units = character.encode("utf-16-be")
    return "".join(
        [f"\\u{units[index]:02x}{units[index + 1]:02x}" for index in range(0, len(units), 2)]
    )


_encoders: list[Callable[[object], str]] = []


def _encoder() -> Callable[[object], str]:
    if not _encoders:
        # 9 ms that a view without -J does not pay.
        import json

        _encoders.append(json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode)
    return _encoders[0]

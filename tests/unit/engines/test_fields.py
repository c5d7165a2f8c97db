"""Typed readers of what engines wrote."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.engines.fields import (
    below,
    clean,
    flag,
    load,
    number,
    pairs,
    parse,
    parse_rows,
    rows,
    seconds,
    text,
    texts,
)

pytestmark = pytest.mark.unit

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.sampled_from("abc"), _JSON), st.sampled_from("abcd"))
def test_what_is_of_another_type_counts_as_not_there(fields: dict[str, object], key: str) -> None:
    assert isinstance(text(fields, key), str)
    assert 0 <= number(fields, key) < 1 << 63
    assert isinstance(flag(fields, key), bool)
    assert isinstance(below(fields, key, key), dict)
    assert all(isinstance(row, dict) for row in rows(fields, key))
    assert all(isinstance(row, str) for row in texts(fields, key))
    for name, value in pairs(fields, key):
        assert isinstance((name + value).encode(), bytes)


def test_what_utf8_cannot_hold_is_replaced() -> None:
    fields = parse(b'{"a": "x\\ud800y", "b": ["\\udcff"], "c": {"\\udc80": "\\ud800"}}')
    assert text(fields, "a") == "x?y"
    assert texts(fields, "b") == ["?"]
    assert pairs(fields, "c") == (("?", "?"),)
    assert clean("é") == "é"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"a": 1', b"[]", b"1", b"\xff", b"[" * 100_000, b'{"a":' * 100_000]
)
def test_what_is_no_object_is_told(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|nested"):
        parse(raw)
    assert parse(b'{"a": [1]}') == {"a": [1]}


@pytest.mark.parametrize("raw", [b"", b"[", b"{}", b"1", b"[" * 100_000])
def test_what_is_no_list_is_told(raw: bytes) -> None:
    with pytest.raises(ValueError, match=r"JSON|nested"):
        parse_rows(raw)
    assert parse_rows(b'[{"a": 1}, 2, null]') == [{"a": 1}]


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(2500, 1, 1)),  # noqa: DTZ001  (the zone is added)
    st.integers(-23 * 60, 23 * 60),
)
def test_times_are_read_in_every_zone(when: datetime, minutes: int) -> None:
    local = when.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert seconds(local.isoformat()) == pytest.approx(local.timestamp(), abs=1e-5)
    universal = when.replace(tzinfo=UTC)
    written = universal.isoformat().replace("+00:00", "Z")
    assert seconds(written) == pytest.approx(universal.timestamp(), abs=1e-5)


@pytest.mark.parametrize(
    "written",
    ["", "0001-01-01T00:00:00Z", "2026-13-01T00:00:00Z", "2026-11-24", "٢026-11-24T00:00:00Z"],
)
def test_what_is_no_time_is_zero(written: str) -> None:
    assert seconds(written) == 0


def test_nanoseconds_are_read() -> None:
    assert seconds("2026-11-24T12:55:46.312842082Z") == pytest.approx(1795524946.312842, abs=1e-5)


@given(st.text())
def test_any_text_is_a_time_or_zero(written: str) -> None:
    assert seconds(written) >= 0


_ODD = (
    *(
        b'{"a":',
        b'{"a"',
        b"{",
        b"[1,]",
        b"[1] x",
        b'["\\x"]',
        b"[-]",
        b"[01]",
        b"[nul]",
        b'["\xff"]',
    ),
    *(b"", b"nul", b'"x"', b" [1] ", b"[NaN, -Infinity]", b'{"a":1,"a":2}', b"[" * 100_000),
    *(b'["\\ud800"]', b"\xef\xbb\xbf[1]", "[1]".encode("utf-16"), b"[" + b"1" * 5000 + b"]"),
)


@pytest.mark.parametrize("raw", _ODD, ids=range(len(_ODD)))
def test_json_is_what_the_standard_library_makes_of_it_whether_that_is_there_or_not(
    raw: bytes,
) -> None:
    """Its scanner in C loses some errors as long as the module in front of it is not imported."""
    code = (
        "import sys\n"
        "from nsctl.engines.fields import load\n"
        "def told(read, raw):\n"
        "    try:\n"
        "        return repr(read(raw))\n"
        "    except (ValueError, RecursionError) as error:\n"
        "        return [kind.__name__ for kind in type(error).__mro__]\n"
        "raw = bytes.fromhex(sys.stdin.read())\n"
        "assert 'json' not in sys.modules\n"
        "own = told(load, raw)\n"
        "import json\n"
        "assert own == told(json.loads, raw), (own, told(json.loads, raw))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=raw.hex(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@given(_JSON)
def test_json_that_is_whole_is_read_as_it_was_written(value: object) -> None:
    raw = json.dumps([value]).encode()
    assert repr(load(raw)) == repr(json.loads(raw))

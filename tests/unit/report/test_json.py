"""JSON is valid whatever the bytes were, and says what its schema says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import UsageError
from nsctl.model.owner import HOST, Owner
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Reference, Snapshot
from nsctl.report import jsonout
from nsctl.report.schema import VIEWS, load_schema

pytestmark = pytest.mark.unit

GAP = Gap(
    Part.TASKS,
    "/proc",
    "namespaces of 12 processes",
    PartState.UNREADABLE,
    "the process may not be read",
    "CAP_SYS_PTRACE",
)
SNAPSHOT = Snapshot(
    began=1750000000.25,
    ended=1750000000.5,
    boot_id="5f0a3c3e-0000-4000-8000-000000000000",
    host_name=b"host",
    kernel="6.18",
    uptime=12.5,
    read_from=("/proc", "nsfs"),
    reader=Reader(1, 0, 0, ()),
    host=Reference("pid1", 1, ()),
    parts={},
    tasks=(),
    namespaces=(),
    gaps=(GAP,),
)
ABOUT = jsonout.envelope(SNAPSHOT)

# Text without lone surrogates, which JSON as UTF-8 cannot carry.
TEXT = st.text(max_size=20)
PLAIN_VALUE = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXT
)
KEY = st.one_of(st.sampled_from(["ns", "children", "whose"]), st.text(max_size=4))
VALUE = st.recursive(
    PLAIN_VALUE,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEY, inner, max_size=3)),
    max_leaves=6,
)
ROWS = st.lists(st.dictionaries(KEY, VALUE, max_size=4), max_size=3)


def violations(view: str, text: str) -> list[str]:
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    validator = jsonschema.Draft202012Validator(load_schema(view))
    return [error.message for error in validator.iter_errors(json.loads(text))]


def test_the_list_comes_first_then_the_envelope() -> None:
    text = jsonout.document("namespaces", [], ABOUT)
    assert list(json.loads(text)) == [
        "namespaces",
        "version",
        "began",
        "ended",
        "boot_id",
        "read_from",
        "completeness",
    ]
    assert text.endswith("}\n")


def test_a_document_is_laid_out_for_reading() -> None:
    rows: list[jsonout.Row] = [
        {
            "ns": 1,
            "whose": jsonout.whose(HOST),
            "processes": [1, 2],
            "holders": [{"kind": "fd", "pid": 7}],
            "children": [{"ns": 2, "type": "uts"}],
        }
    ]
    assert jsonout.document("namespaces", rows, {"version": 1}) == (
        "{\n"
        '  "namespaces": [\n'
        "    {\n"
        '      "ns": 1,\n'
        '      "whose": {"kind": "host", "engine": null, "name": "host", "id": null, "pod": null, '
        '"was": false},\n'
        '      "processes": [1, 2],\n'
        '      "holders": [\n'
        '        {"kind": "fd", "pid": 7}\n'
        "      ],\n"
        '      "children": [\n'
        '        {"ns": 2, "type": "uts"}\n'
        "      ]\n"
        "    }\n"
        "  ],\n"
        '  "version": 1\n'
        "}\n"
    )


@given(ROWS)
def test_any_rows_read_back_as_they_were(rows: list[jsonout.Row]) -> None:
    text = jsonout.document("list", rows, {"version": 1})
    assert json.loads(text.encode()) == {"list": rows, "version": 1}
    assert all(line.isprintable() for line in text.split("\n"))
    lines = jsonout.ndjson(rows).encode().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line) for line in lines] == rows


def test_what_a_terminal_could_act_on_is_escaped_and_means_the_same() -> None:
    value = "a\x1b[2J\x7f\x9b\u202e\u2028\ufeff\U000e0041\\\u200bé日"
    text = jsonout.ndjson([{"name": value}])
    assert text == (
        '{"name": "a\\u001b[2J\\u007f\\u009b\\u202e\\u2028\\ufeff\\udb40\\udc41\\\\\\u200bé日"}\n'
    )
    assert json.loads(text) == {"name": value}


def test_a_lone_surrogate_never_reaches_the_output() -> None:
    text = jsonout.document("list", [{"a\udcff": "b\ud800"}], {})
    assert json.loads(text.encode("utf-8")) == {"list": [{"a\ufffd": "b\ufffd"}]}


@given(st.binary(max_size=40))
def test_any_bytes_can_be_had_back(raw: bytes) -> None:
    row: jsonout.Row = {}
    jsonout.put_text(row, "command", raw)
    [back] = [json.loads(line) for line in jsonout.ndjson([row]).encode().split(b"\n")[:-1]]
    assert list(back) in (["command"], ["command", "command_raw"])
    if "command_raw" in back:
        assert bytes.fromhex(back["command_raw"]) == raw
        assert "\ufffd" in back["command"]
    else:
        assert back["command"].encode() == raw


def test_each_byte_that_is_not_utf8_is_one_replacement_character() -> None:
    row: jsonout.Row = {}
    jsonout.put_text(row, "command", b"a\xe2\x80b\xff")
    assert row == {"command": "a\ufffd\ufffdb\ufffd", "command_raw": "61e28062ff"}


def test_a_replacement_character_of_the_writers_own_needs_no_raw_field() -> None:
    row: jsonout.Row = {}
    jsonout.put_text(row, "command", "\ufffd".encode())
    assert row == {"command": "\ufffd"}


def test_text_that_was_not_read_is_null() -> None:
    row: jsonout.Row = {}
    jsonout.put_text(row, "command", None)
    assert row == {"command": None}


def test_a_list_of_texts_has_a_raw_list_only_if_it_is_needed() -> None:
    row: jsonout.Row = {}
    jsonout.put_texts(row, "good", [b"/run/netns/a", "é".encode()])
    jsonout.put_texts(row, "bad", [b"/a", b"/\xff"])
    assert row == {
        "good": ["/run/netns/a", "é"],
        "bad": ["/a", "/\ufffd"],
        "bad_raw": [None, "2fff"],
    }


def test_exactly_the_keys_asked_for_are_kept_in_their_order() -> None:
    rows: list[jsonout.Row] = [
        {
            "ns": 1,
            "command": "\ufffd",
            "command_raw": "ff",
            "pid": 7,
            "children": [{"ns": 2, "command": "x", "pid": 8, "children": []}],
        }
    ]
    kept = jsonout.select(rows, ["command", "ns", "user"])
    assert kept == [
        {
            "command": "\ufffd",
            "command_raw": "ff",
            "ns": 1,
            "user": None,
            "children": [{"command": "x", "ns": 2, "user": None, "children": []}],
        }
    ]
    assert list(kept[0]) == ["command", "command_raw", "ns", "user", "children"]
    assert "pid" in rows[0]


def test_rows_nested_deeper_than_python_recurses_are_selected_and_written() -> None:
    depth = 20_000
    row: jsonout.Row = {"ns": depth, "extra": 0, "children": []}
    for ns in range(depth):
        row = {"ns": ns, "extra": 0, "children": [row]}
    kept = jsonout.select([row], ["ns"])
    text = jsonout.document("namespaces", kept, {})
    assert text.count('"ns": ') == depth + 1
    assert len(text) < depth * 1000
    assert jsonout.ndjson(kept).count("\n") == 1


def test_the_envelope_says_when_where_from_and_what_is_missing() -> None:
    assert ABOUT == {
        "version": 1,
        "began": 1750000000.25,
        "ended": 1750000000.5,
        "boot_id": "5f0a3c3e-0000-4000-8000-000000000000",
        "read_from": ["/proc", "nsfs"],
        "completeness": [
            {
                "source": "/proc",
                "object": "namespaces of 12 processes",
                "state": "unreadable",
                "cause": "the process may not be read",
                "needs": "CAP_SYS_PTRACE",
            }
        ],
    }


def test_an_owner_has_all_its_keys() -> None:
    owner = Owner("container", "web", "docker", "3f2a9c", "", 4560)
    assert jsonout.whose(owner, was=True) == {
        "kind": "container",
        "engine": "docker",
        "name": "web",
        "id": "3f2a9c",
        "pod": None,
        "was": True,
    }
    assert jsonout.whose(None) is None


@pytest.mark.parametrize("view", VIEWS)
def test_each_schema_is_a_schema_and_its_references_resolve(view: str) -> None:
    jsonschema: Any = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    jsonschema.Draft202012Validator.check_schema(load_schema(view))
    assert violations(view, "{}")


def test_a_view_without_schema_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="no schema"):
        load_schema("../secrets")


def test_loading_a_schema_twice_gives_two_values() -> None:
    load_schema("ls").clear()
    assert load_schema("ls")["title"] == "nsctl ls -J"


LS_ROW: jsonout.Row = {
    "ns": 4026532720,
    "type": "net",
    "path": "/proc/4560/ns/net",
    "nprocs": 5,
    "pid": 4560,
    "ppid": 1,
    "command": "nginx",
    "uid": 0,
    "user": "root",
    "netnsid": "unassigned",
    "nsfs": "/run/netns/web",
    "pns": 0,
    "ons": 4026531837,
    "netnsid_num": -1,
    "nsfs_paths": ["/run/netns/\ufffd"],
    "nsfs_paths_raw": ["2f72756e2f6e65746e732fff"],
    "dev": "0:4",
    "ns_id": 77,
    "whose": jsonout.whose(Owner("container", "web", "docker", "3f2a9c", "", 4560)),
    "members": [jsonout.whose(HOST)],
    "processes": [4560, 4561],
    "holders": [{"kind": "bind", "path": "/run/netns/web", "mntns": 4026531832}],
}


def test_rows_of_ls_fit_its_schema() -> None:
    row = {**LS_ROW, "children": [{"ns": 4026532721, "type": "uts"}]}
    assert not violations("ls", jsonout.document("namespaces", [row, {}], ABOUT))
    chosen = jsonout.select([row], ["type", "command", "whose"])
    assert not violations("ls", jsonout.document("namespaces", chosen, ABOUT))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("colour", "red"),
        ("ns", "4026532720"),
        ("type", "mount"),
        ("netnsid", 3),
        ("command_raw", "xyz"),
        ("whose", {"kind": "host"}),
        ("children", [{"colour": "red"}]),
        ("holders", [{"pid": 1}]),
    ],
)
def test_a_row_of_ls_with_something_else_does_not_fit(key: str, value: object) -> None:
    assert violations("ls", jsonout.document("namespaces", [{**LS_ROW, key: value}], ABOUT))


def test_a_document_without_its_envelope_or_with_more_does_not_fit() -> None:
    assert violations("ls", jsonout.document("namespaces", [], {}))
    assert violations("ls", jsonout.document("namespaces", [], {**ABOUT, "more": 1}))
    assert violations("ls", jsonout.document("namespaces", [], {**ABOUT, "version": 2}))


CELL: jsonout.Row = {"is": "own", "ns": 4026532720, "with": [], "group": None, "offset": None}
CELLS: jsonout.Row = {
    "mnt": CELL,
    "net": {**CELL, "is": "shared", "with": [jsonout.whose(HOST)], "group": "a"},
    "pid": {**CELL, "is": "unreadable", "ns": None},
    "time": {**CELL, "offset": {"monotonic": 0, "boottime": 172800000000000}},
}


def test_groups_of_the_matrix_fit_its_schema() -> None:
    group: jsonout.Row = {
        "whose": jsonout.whose(HOST),
        "leader": 1,
        "pids": [1, 2],
        "cells": CELLS,
    }
    host = {"basis": "pid1", "pid": 1, "pids": [1], "ns": {"mnt": 4026531832, "time": None}}
    about = {**ABOUT, "host": host, "unreadable": []}
    assert not violations("matrix", jsonout.document("groups", [group], about))
    assert violations("matrix", jsonout.document("groups", [group], ABOUT))
    group["cells"] = {"mount": CELL}
    assert violations("matrix", jsonout.document("groups", [group], about))
    group["cells"] = {"mnt": {**CELL, "is": "different"}}
    assert violations("matrix", jsonout.document("groups", [group], about))


def test_cards_of_show_fit_its_schema() -> None:
    card: jsonout.Row = {
        "whose": jsonout.whose(HOST),
        "pid": 4560,
        "pids": [4560],
        "command": "nginx",
        "cgroup": "0::/\ufffd",
        "cgroup_raw": "303a3a2fff",
        "uid": 0,
        "user": "root",
        "cells": CELLS,
        "capabilities": {"effective": ["CAP_CHOWN"], "bounding": []},
        "no_new_privs": None,
        "seccomp": "filter",
        "seccomp_filters": 1,
        "uid_map": [{"inside": 0, "outside": 0, "count": 4294967295}],
        "gid_map": None,
    }
    assert not violations("show", jsonout.document("targets", [card], ABOUT))
    assert violations("show", jsonout.document("targets", [{**card, "seccomp": 2}], ABOUT))


def test_namespaces_of_tree_fit_its_schema() -> None:
    extents = [{"inside": 0, "outside": 100000, "count": 65536}]
    leaf: jsonout.Row = {"ns": 4026532721, "type": "user", "whose": None, "uid_map": extents}
    root: jsonout.Row = {"ns": 4026531837, "type": "user", "whose": None, "children": [leaf]}
    assert not violations("tree", jsonout.document("namespaces", [root], ABOUT))
    del leaf["ns"]
    assert violations("tree", jsonout.document("namespaces", [root], ABOUT))

"""Rules of the kernel's audit, as it gives them and as files write them.

The messages are constructed from linux/audit.h: nothing here may load a rule.
"""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.kernel import audit
from nsctl.kernel.netlink import NetlinkError

pytestmark = pytest.mark.unit


def message(fields: list[tuple[int, int, bytes]], *, action: int = 2, flags: int = 4) -> bytes:
    """struct audit_rule_data."""
    empty = [0] * (64 - len(fields))
    numbers = [kind for kind, _, _ in fields] + empty
    values = [len(text) if text else value for _, value, text in fields] + empty
    texts = b"".join(text for _, _, text in fields)
    form = struct.Struct("=III64I64I64I64II")
    head = (flags, action, len(fields), *[0xFFFFFFFF] * 64, *numbers, *values, *[0] * 64)
    return form.pack(*head, len(texts)) + texts


def test_a_watched_directory_is_read_with_accesses_and_key() -> None:
    rule = audit.parse_rule(
        message([(107, 0, b"/var/lib/docker"), (106, 10, b""), (210, 0, b"docker")])
    )
    assert rule is not None
    assert (rule.path, rule.tree, rule.perm, rule.key) == (b"/var/lib/docker", True, "wa", "docker")
    assert rule.text == "-a always,exit -F dir=/var/lib/docker -F perm=wa -k docker"


def test_a_rule_without_a_path_is_none_and_its_texts_are_skipped() -> None:
    assert audit.parse_rule(message([(112, 0, b"/bin/x"), (210, 0, b"k")])) is None
    rule = audit.parse_rule(message([(112, 0, b"/bin/x"), (105, 0, b"/etc/passwd")]))
    assert rule is not None
    assert (rule.path, rule.tree, rule.perm) == (b"/etc/passwd", False, "")


@given(st.integers(0, 1100))
def test_a_rule_that_is_cut_short_is_refused(size: int) -> None:
    whole = message([(107, 0, b"/var/lib/docker"), (210, 0, b"docker")])
    if size < len(whole):
        with pytest.raises(NetlinkError):
            audit.parse_rule(whole[:size])


@given(st.binary(max_size=2000))
def test_any_bytes_end_with_a_rule_or_an_error(raw: bytes) -> None:
    try:
        audit.parse_rule(raw)
    except NetlinkError:
        return


def test_files_of_rules_are_read_as_auditctl_does() -> None:
    text = b"""
## comment
-D
-b 8192
-w /var/lib/docker -p rwxa -k docker
-a always,exit -F dir=/var/lib/containers/ -F perm=wa -k podman
-a always,exit -F arch=b64 -S execve -k exec
-a never,exit -F dir=/var/lib/docker/tmp
-w "/a b" -p w
-w 'unfinished
"""
    found = audit.parse_rules(text, "/etc/audit/audit.rules")
    assert [(rule.path, rule.tree, rule.perm, rule.key) for rule in found] == [
        (b"/var/lib/docker", True, "rwxa", "docker"),
        (b"/var/lib/containers", True, "wa", "podman"),
        (b"/a b", True, "w", ""),
    ]


@given(st.binary(max_size=200))
def test_any_file_of_rules_can_be_read(raw: bytes) -> None:
    assert isinstance(audit.parse_rules(raw, "f"), list)

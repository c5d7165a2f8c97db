"""Names of debug shells' control groups say whose they are, whatever a TARGET is called."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nsctl.relate.debugged import debugged_by, maker_of, name_of

TARGETS = st.text(min_size=1, max_size=60).filter(
    lambda text: (
        len(text.encode("utf-8", "surrogatepass")) < 60
        and not any(0xD800 <= ord(letter) < 0xE000 for letter in text)
    )
)


@given(TARGETS, st.integers(1, 1 << 22), st.integers(0, 1 << 63))
def test_a_name_is_a_file_s_and_leads_back(target: str, pid: int, start: int) -> None:
    name = name_of(target, pid, start)
    assert len(name) <= 255
    assert not set(name) & set("/\n\0")
    assert maker_of(name) == (pid, start)
    assert debugged_by(f"4:pids:/nsctl-debug/{name}\n0::/\n".encode()) == target
    assert debugged_by(f"0::/nsctl-debug/{name}/inner\n".encode()) == target


@given(st.text(max_size=5000), st.integers(1, 1 << 22), st.integers(0, 1 << 63))
def test_a_name_that_is_too_long_is_cut(target: str, pid: int, start: int) -> None:
    name = name_of(target.encode("utf-8", "replace").decode(), pid, start)
    assert len(name) <= 255


@given(st.binary(max_size=200))
def test_whatever_a_group_is_called_is_read(words: bytes) -> None:
    debugged_by(b"0::/nsctl-debug/" + words)
    debugged_by(words)


def test_a_group_that_is_not_at_the_root_is_nobody_s_debug_shell() -> None:
    # Whoever is in a container can make groups below its own.
    assert debugged_by(b"0::/docker/abc/nsctl-debug/1-2.web\n") == ""
    assert debugged_by(b"0::/nsctl-debug\n") == ""
    assert debugged_by(None) == ""


def test_what_is_no_name_of_ours_has_no_maker() -> None:
    for name in ("web", "1.web", "1-x.web", "-2.web", "1-2", ""):
        assert maker_of(name) is None

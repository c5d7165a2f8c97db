"""Environment, shell and words of a command; and what starting it may import."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.cli.enter import OPTIONS, _parse
from nsctl.enter import surroundings
from nsctl.enter.request import FOLLOW, number
from nsctl.enter.surroundings import Account, parse_account, shell_of, unique
from nsctl.errors import UsageError

pytestmark = pytest.mark.unit

DEAR = [
    "argparse",
    "ast",
    "base64",
    "dataclasses",
    "datetime",
    "inspect",
    "json",
    "logging",
    "msgspec",
    "pathlib",
    "random",
    "shutil",
    "socket",
    "subprocess",
    "tempfile",
    "threading",
    "tomllib",
    "traceback",
    "typing",
    "unittest",
    "zlib",
]


def test_an_account_is_found_by_its_number_alone() -> None:
    raw = b"x:1:12:0:::/bin/x\nroot:x:0:0:root:/root:/bin/ash\nbad\n:::\nb:x:0:0::/b:/b\n"
    assert parse_account(raw, 0) == Account(b"/root", b"/bin/ash")
    assert parse_account(raw, 12) == Account(b"", b"/bin/x")
    assert parse_account(raw, 13) == Account()
    assert parse_account(b"", 0) == Account()


@given(st.binary(max_size=60), st.integers(0, 1 << 32))
def test_any_file_is_read_as_accounts(raw: bytes, uid: int) -> None:
    parse_account(raw, uid)


@pytest.mark.parametrize(
    ("shell", "used"),
    [
        (b"/bin/bash", b"/bin/bash"),
        (b"", b"/bin/sh"),
        (b"/usr/sbin/nologin", b"/bin/sh"),
        (b"/bin/false", b"/bin/sh"),
        (b"relative", b"/bin/sh"),
    ],
)
def test_a_shell_that_is_none_is_not_used(shell: bytes, used: bytes) -> None:
    assert shell_of(Account(b"/", shell)) == used


@given(st.lists(st.binary(max_size=8), max_size=8))
def test_an_environment_has_each_name_once(entries: list[bytes]) -> None:
    found = unique(entries)
    names = [entry.partition(b"=")[0] for entry in found]
    assert len(set(names)) == len(names)
    assert all(names)
    assert set(found) <= set(entries)


def test_what_the_last_stage_itself_was_told_is_no_environment() -> None:
    assert unique([b"PLAN=3", b"REPORT=4", b"A=1", b"A=2"]) == (b"A=1",)


def test_ids_are_numbers_or_follow() -> None:
    assert (number(None, "uid"), number("7", "uid"), number("follow", "uid")) == (None, 7, FOLLOW)
    for text in ("", "-1", "4294967295", "x", "\u0667"):
        with pytest.raises(UsageError, match="failed to parse uid"):
            number(text, "uid")


@pytest.mark.parametrize(
    ("words", "operands", "names_target"),
    [
        ("web", ("web",), True),
        ("web -n ip addr", ("web", "ip", "addr"), True),
        ("-n web -u ip -4", ("web", "ip", "-4"), True),
        ("web -- -x", ("web", "-x"), True),
        ("-- web -x", ("web", "-x"), True),
        ("-t 4 -n ip -4", ("ip", "-4"), False),
        ("--net=/run/netns/x ip -4", ("ip", "-4"), False),
        ("-n/run/netns/x ip", ("ip",), False),
        ("", (), True),
    ],
)
def test_the_first_word_is_the_target_unless_one_is_named(
    words: str, operands: tuple[str, ...], names_target: bool
) -> None:
    found = _parse(words.split())
    assert (found[1], found[2]) == (operands, names_target)


def test_every_option_has_its_help() -> None:
    assert all(option.help for option in OPTIONS)


def test_starting_a_command_imports_nothing_dear() -> None:
    code = (
        "import os, sys; from nsctl.cli.main import main;"
        "status = main(['enter', str(os.getpid()), 'true']);"
        "print(*sys.modules); sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not set(done.stdout.split()) & set(DEAR)


def test_the_callers_environment_is_that_of_the_start() -> None:
    code = "from nsctl.enter.surroundings import own_environment;print(sorted(own_environment()))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"LC_ALL": "", "A": "b c"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{[b'A=b c', b'LC_ALL=']}\n"
    assert surroundings.own_shell() in {os.environb.get(b"SHELL", b"/bin/sh"), b"/bin/sh"}

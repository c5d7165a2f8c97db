"""Options are parsed as getopt_long(3) parses them."""

from __future__ import annotations

import getopt as stdlib
import shlex
import shutil
import subprocess
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.cli.getopt import Option, Parsed, describe, parse
from nsctl.errors import UsageError

pytestmark = pytest.mark.unit

OPTIONS = (
    Option("all", "a", "no", "", "everything"),
    Option("alone", "", "no", "", "nothing else"),
    Option("output", "o", "required", "list", "columns"),
    Option("output-all", "", "no", "", "all columns"),
    Option("tree", "T", "optional", "rel", "a tree"),
    Option("type", "t", "required", "name", "a type"),
)


def given_by(*words: str, stop: bool = False) -> tuple[list[tuple[str, str | None]], list[str]]:
    parsed = parse(OPTIONS, words, stop_at_operand=stop)
    return list(parsed.given), list(parsed.operands)


@pytest.mark.parametrize(
    ("words", "options", "operands"),
    [
        ([], [], []),
        (["-a", "-a"], [("all", None), ("all", None)], []),
        (["-aoNS"], [("all", None), ("output", "NS")], []),
        (["-ao", "NS"], [("all", None), ("output", "NS")], []),
        (["-o", "-a"], [("output", "-a")], []),
        (["-o", "--"], [("output", "--")], []),
        (["-o="], [("output", "=")], []),
        (["-T"], [("tree", None)], []),
        (["-T", "owner"], [("tree", None)], ["owner"]),
        (["-Towner"], [("tree", "owner")], []),
        (["-aTa"], [("all", None), ("tree", "a")], []),
        (["--tree", "owner"], [("tree", None)], ["owner"]),
        (["--tree=owner"], [("tree", "owner")], []),
        (["--tree="], [("tree", "")], []),
        (["--output", "NS"], [("output", "NS")], []),
        (["--output="], [("output", "")], []),
        (["--output=a=b"], [("output", "a=b")], []),
        (["--output", "--all"], [("output", "--all")], []),
        (["--outp-all"], [], None),
        (["--output-a"], [("output-all", None)], []),
        (["--ty", "net"], [("type", "net")], []),
        (["--tr"], [("tree", None)], []),
        (["x", "-a", "y"], [("all", None)], ["x", "y"]),
        (["-", "-a"], [("all", None)], ["-"]),
        (["-a", "--", "-a", "--", "x"], [("all", None)], ["-a", "--", "x"]),
        ([""], [], [""]),
    ],
)
def test_command_lines_mean_what_the_manual_says(
    words: list[str], options: list[tuple[str, str | None]], operands: list[str] | None
) -> None:
    if operands is None:
        with pytest.raises(UsageError):
            given_by(*words)
    else:
        assert given_by(*words) == (options, operands)


def test_the_first_operand_ends_options_where_that_is_asked_for() -> None:
    assert given_by("-a", "x", "-a", "--", "y", stop=True) == (
        [("all", None)],
        ["x", "-a", "--", "y"],
    )
    assert given_by("-a", "--", "-a", "x", stop=True) == ([("all", None)], ["-a", "x"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-x"], "invalid option -- 'x'"),
        (["-ax"], "invalid option -- 'x'"),
        (["--none"], "unrecognized option '--none'"),
        (["--none=5"], "unrecognized option '--none'"),
        (["--al"], "option '--al' is ambiguous; possibilities: '--all' '--alone'"),
        (["--outp"], "option '--outp' is ambiguous; possibilities: '--output' '--output-all'"),
        (["--all=x"], "option '--all' doesn't allow an argument"),
        (["--output"], "option '--output' requires an argument"),
        (["-o"], "option requires an argument -- 'o'"),
        (["-ao"], "option requires an argument -- 'o'"),
    ],
)
def test_mistakes_are_told_in_the_originals_words(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        given_by(*words)
    assert caught.value.sentence == message
    assert caught.value.exit_status == 2


def test_what_was_given_can_be_asked_for() -> None:
    parsed = parse(OPTIONS, ["-t", "net", "-T", "--type=uts", "-Towner", "-T"])
    assert parsed.all("type") == ["net", "uts"]
    assert parsed.last("type") == "uts"
    assert parsed.all("tree") == ["owner"]
    assert parsed.last("tree") is None
    assert parsed.has("tree")
    assert not parsed.has("all")
    assert parsed.last("all") is None
    assert parsed.all("all") == []


# --- The same as others parse

WORDS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *("-a", "-o", "-t", "-T", "-ao", "-oa", "-aTx", "-x", "-", "--", "", "x", "net"),
                *("--all", "--al", "--alone", "--output", "--output=", "--output=NS", "--outp"),
                *("--output-all", "--tree", "--tree=owner", "--tr", "--ty", "--type=a=b", "--="),
            ]
        ),
        st.text("aotTx-=", max_size=5),
    ),
    max_size=7,
)
PLAIN = tuple(option for option in OPTIONS if option.argument != "optional")


def by_stdlib(words: Sequence[str], *, stop: bool) -> Parsed | None:
    short = "".join(o.short + ":" * (o.argument == "required") for o in PLAIN if o.short)
    long = [o.name + "=" * (o.argument == "required") for o in PLAIN]
    names = {f"-{o.short}": o for o in PLAIN} | {f"--{o.name}": o for o in PLAIN}
    try:
        parser = stdlib.getopt if stop else stdlib.gnu_getopt
        options, operands = parser(list(words), short, long)
    except stdlib.GetoptError:
        return None
    given = [
        (names[option].name, value if names[option].argument == "required" else None)
        for option, value in options
    ]
    return Parsed(tuple(given), tuple(operands))


@given(words=WORDS, stop=st.booleans())
def test_pythons_own_getopt_parses_the_same(words: list[str], *, stop: bool) -> None:
    try:
        ours: Parsed | None = parse(PLAIN, words, stop_at_operand=stop)
    except UsageError:
        ours = None
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("POSIXLY_CORRECT", raising=False)
        assert ours == by_stdlib(words, stop=stop)


def by_getopt_long(program: str, words: Sequence[str], *, stop: bool) -> list[str] | None:
    """What getopt(1), which calls getopt_long(3), makes of a command line; None for a mistake."""
    marks = {"no": "", "required": ":", "optional": "::"}
    short = "+" * stop + "".join(o.short + marks[o.argument] for o in OPTIONS if o.short)
    long = ",".join(o.name + marks[o.argument] for o in OPTIONS)
    done = subprocess.run(
        [program, "-q", "-s", "sh", "-o", short, "-l", long, "--", *words],
        capture_output=True,
        text=True,
        check=False,
        env={},
    )
    return shlex.split(done.stdout) if done.returncode == 0 else None


@given(words=WORDS, stop=st.booleans())
def test_the_c_librarys_getopt_long_parses_the_same(words: list[str], *, stop: bool) -> None:
    program = shutil.which("getopt")
    if program is None:
        pytest.skip("getopt(1) of util-linux is missing")
    theirs = by_getopt_long(program, words, stop=stop)
    try:
        parsed = parse(OPTIONS, words, stop_at_operand=stop)
    except UsageError:
        assert theirs is None
        return
    assert theirs is not None
    by_name = {option.name: option for option in OPTIONS}
    spelt = {f"-{o.short}": f"--{o.name}" for o in OPTIONS if o.short}
    expected: list[str] = []
    for name, value in parsed.given:
        expected.append(f"--{name}")
        if by_name[name].argument != "no":
            expected.append(value or "")
    found: list[str] = []
    rest = iter(theirs)
    for word in rest:
        if word == "--":
            break
        found.append(spelt.get(word, word))
        if by_name[found[-1].removeprefix("--")].argument != "no":
            found.append(next(rest))
    assert found == expected
    assert list(rest) == list(parsed.operands)


def test_help_has_a_line_an_option_in_two_columns() -> None:
    lines = describe(OPTIONS)
    assert lines[0] == " -a, --all            everything"
    assert lines[1] == "     --alone          nothing else"
    assert lines[2] == " -o, --output <list>  columns"
    assert lines[4] == " -T, --tree[=<rel>]   a tree"
    assert describe([]) == []

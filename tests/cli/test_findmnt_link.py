"""A link named findmnt against the installed one, as anybody runs it: live and on made-up tables."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nsctl import __version__
from support.mounting import findmnt, link_named_findmnt, output_of, together
from support.terminal import on_terminal
from support.users import Nsctl, clean_environment

pytestmark = pytest.mark.cli


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A link named findmnt that leads to nsctl."""
    return link_named_findmnt(str(tmp_path_factory.mktemp("bin")))


LIVE = [
    (),
    ("-A",),
    ("-l",),
    ("-r",),
    ("-P",),
    ("-J",),
    ("-n",),
    ("-a",),
    ("-o", "TARGET,SOURCE,ID,PARENT"),
    ("--out", "+PROPAGATION"),
    ("-no", "TARGET", "-T", "/usr/bin/env"),
    ("-T", "."),
    ("-T", "/proc/self/.."),
    ("-C", "-T", "/proc/../proc"),
    ("-T", "/nonexistent/x"),
    ("-M", "/proc"),
    ("-M", "/usr/bin"),
    ("/",),
    ("/proc/",),
    ("//proc",),
    ("proc",),
    ("proc", "/proc"),
    ("proc", "-f"),
    ("-S", "nothing"),
    ("LABEL=nothing",),
    ("-R", "/"),
    ("-R", "/proc"),
    ("-D", "-o", "TARGET,FSTYPE"),
    ("-c", "-l"),
    ("-e",),
    ("-k",),
    ("-U", "-l"),
    ("-p", "-w", "1"),
    ("--poll=mount,umount", "-w", "1"),
]


def test_of_the_caller_it_writes_what_findmnt_writes(link: str) -> None:
    differ = []
    for options in LIVE:
        original, ours = together(
            *(partial(output_of, [name, *options]) for name in (findmnt(), link))
        )
        if ours != original:
            differ.append(options)
    assert not differ


REFUSED = [
    ("-o", "BOGUS"),
    ("-o", "TARGET,"),
    ("-o", ",TARGET"),
    ("-o",),
    ("-o", "ACTION"),
    ("-N", "abc"),
    ("-N", "99999999"),
    ("-d", "sideways"),
    ("-T", "/", "-M", "/"),
    ("-J", "-P"),
    ("-r", "-P"),
    ("-l", "-r"),
    ("-C", "-c"),
    ("-C", "-e"),
    ("-S", "x", "/"),
    ("-p=foo",),
    ("--poll=foo",),
    ("--real", "--pseudo"),
    ("-N", "1", "-k"),
    ("-p", "-s"),
    ("-w", "x"),
    ("-F", "/nonexistent"),
    ("--bogus",),
    ("--no",),
    ("-Z",),
    ("--debug",),
    ("--from", "x"),
    ("--strict",),
    ("-l", "--view"),
]


def test_what_findmnt_refuses_it_refuses_with_the_same_status(link: str) -> None:
    for options in REFUSED:
        original, ours = together(
            *(partial(output_of, [name, *options]) for name in (findmnt(), link))
        )
        assert (original, ours) == ((b"", 1), (b"", 1)), options


def test_it_says_what_it_is(nsctl: Nsctl, link: str) -> None:
    version = f"findmnt from nsctl {__version__} (util-linux 2.42 compatible)\n"
    assert output_of([link, "--version"]) == (version.encode(), 0)
    text = output_of([link, "--help"])[0].decode()
    original = output_of([findmnt(), "--help"])[0].decode()
    options = [line.split()[0] for line in original.split("\n") if line.startswith(" -")]
    assert options
    assert all(f"\n {option} " in text for option in options)
    assert "--view" not in text
    assert "nsctl mounts [TARGET]" in nsctl("mounts", "--help", check=0).stdout


def test_columns_and_filters_of_later_versions_are_there(link: str) -> None:
    listed, _ = output_of([link, "-H"])
    assert b"UNIQ-ID <integer>       number of the mount that is never used again" in listed
    assert b"SIZE <string|number>" in listed
    text, status = output_of([link, "-Q", 'FSTYPE == "proc" and TARGET == "/proc"', "-no", "ID"])
    assert status == 0
    number = text.strip().decode()
    assert output_of([link, "--id", number, "-lno", "TARGET"]) == (b"/proc\n", 0)
    assert output_of([link, "--kernel=mountinfo", "--id", number, "-lno", "TARGET"])[1] == 0
    assert output_of([link, "-Q", "FSTYPE ==", "-l"]) == (b"", 1)
    assert output_of([link, "-I", "-A", "-no", "INO.USE%", "-T", "/proc"])[1] == 0


# What mountinfo may hold. JSON of what is no text is ours, and lines in SOURCES too.
_WORDS = ["a", "bb", "l" * 40, "sp\\040ace", "é", "日本", "\\134x41", "x#y", "t\\011b", 'q"', "$`"]
_NAMES = st.sampled_from([*_WORDS, "\x1b[31m"])
_LINE = st.tuples(
    st.integers(0, 30),
    st.sampled_from(["/", "/", "/x/y"]),
    st.lists(_NAMES, min_size=1, max_size=3).map("/".join),
    st.sampled_from(["rw", "ro", "rw,nosuid,nodev,relatime", "ro,noexec"]),
    st.sampled_from(["", "shared:3 ", "shared:3 master:1 ", "master:2 propagate_from:1 ",
                     "unbindable "]),
    st.sampled_from(["tmpfs", "ext4", "overlay", "proc", "nfs4", "xfs"]),
    st.one_of(_NAMES, st.sampled_from(["tmpfs", "/dev/sda1", "server:/exp", "UUID=abc"])),
    st.sampled_from(["rw", "ro", "rw,size=10k,mode=755", 'rw,x="a,b"',
                     "rw,lowerdir=" + ":".join(f"/v/{n}" for n in range(20))]),
)  # fmt: skip
_TABLES = st.lists(_LINE, min_size=1, max_size=20)
_OPTIONS = st.sampled_from(
    [
        *((), ("-l",), ("-u",), ("-a",), ("-n",), ("-v",), ("-r",), ("-P",), ("-J",), ("-U",)),
        *(("-o", "SOURCE,TARGET,OPTIONS"), ("-o", "FS-OPTIONS,TARGET,VFS-OPTIONS")),
        *(("-o", "ID,TARGET,SOURCE,MAJ:MIN,FSROOT"), ("-l", "-o", "FSROOT,PROPAGATION,SOURCE")),
        *(("--shadowed",), ("-t", "tmpfs"), ("-O", "ro"), ("--real", "-l"), ("-R", "/")),
        *(("-d", "backward", "-l"), ("-f",), ("-i", "-t", "ext4"), ("--tree", "-P")),
    ]
)


def _text(rows: list[tuple[int, str, str, str, str, str, str, str]]) -> str:
    """A table in the format of mountinfo, whose rows hang on earlier ones or on nothing."""
    lines = []
    for index, (above, root, place, options, fields, kind, source, more) in enumerate(rows):
        parent = 100 + above % index if index and above else above
        point = "/" if not index else f"/{place}"
        lines.append(
            f"{100 + index} {parent} 0:{20 + above} {root} {point} {options} {fields}- "
            f"{kind} {source} {more}\n"
        )
    return "".join(lines)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(rows=_TABLES, options=_OPTIONS, columns=st.sampled_from([0, 20, 40, 80, 120, 250]))
def test_any_table_is_laid_out_as_findmnt_lays_it_out(
    link: str,
    tmp_path: Path,
    rows: list[tuple[int, str, str, str, str, str, str, str]],
    options: tuple[str, ...],
    columns: int,
) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(_text(rows))
    words = ("-F", str(table), *options)
    if columns:
        env = clean_environment("/", {"LC_ALL": "C.UTF-8"})
        original, ours = together(
            *(partial(on_terminal, [name, *words], columns, env) for name in (findmnt(), link))
        )
        assert ours == original
    else:
        assert output_of([link, *words]) == output_of([findmnt(), *words])


def test_lines_that_are_none_are_left_out_and_named(link: str, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "22 1 0:21 / / rw - tmpfs x rw\nbroken\n# remark\n\n23 22 0:22 / /a rw - proc y rw\n"
    )
    words = ("-F", str(table), "-l")
    assert output_of([link, *words]) == output_of([findmnt(), *words])
    assert output_of([link, *words])[0].count(b"\n") == 3


def test_a_link_that_is_first_in_the_path_does_not_call_itself(link: str, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text("tmpfs /mnt/x tmpfs size=1m 0 0\n")
    path = f"{os.path.dirname(link)}:{os.environ['PATH']}"
    words = ("-s", "-F", str(table))
    assert output_of([link, *words], {"PATH": path}) == output_of([findmnt(), *words])

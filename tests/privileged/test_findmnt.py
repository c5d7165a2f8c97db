"""A link named findmnt against the installed one: the same bytes, in odd mount namespaces."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support.mounting import findmnt, link_named_findmnt, mounting, odd_mounts, output_of, together
from support.terminal import on_terminal
from support.users import clean_environment

pytestmark = pytest.mark.privileged


@pytest.fixture(scope="module")
def link(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A link named findmnt that leads to nsctl."""
    return link_named_findmnt(str(tmp_path_factory.mktemp("bin")))


@pytest.fixture(scope="module")
def odd() -> Iterator[int]:
    """A process whose mounts have odd names."""
    with odd_mounts() as pid:
        yield pid


# Without what only we escape: JSON of bytes that are no text has a further key of ours.
OPTIONS = [
    (),
    ("-A",),
    ("-l",),
    ("--tree",),
    ("-r",),
    ("-P",),
    ("-n",),
    ("-nl",),
    ("-a",),
    ("-u",),
    ("-v",),
    ("-y",),
    ("-yP",),
    ("-C",),
    ("-U",),
    ("-U", "-l"),
    ("-lo", "TARGET"),
    ("-o", "SOURCE,TARGET,FSTYPE,OPTIONS"),
    ("-o", "+PROPAGATION,OPT-FIELDS"),
    ("-o", "ID,PARENT,MAJ:MIN,FSROOT,TARGET,TID"),
    ("-o", "TARGET,VFS-OPTIONS,FS-OPTIONS"),
    ("--vfs-all", "-o", "TARGET,VFS-OPTIONS"),
    ("-r", "-o", "TARGET,MAJ:MIN"),
    ("-o", "TARGET,SOURCES"),
    ("-o", "TARGET,FREQ,PASSNO,LABEL,UUID,PARTLABEL,PARTUUID"),
    ("-t", "tmpfs"),
    ("-t", "notmpfs", "-l"),
    ("-t", "tmpfs,overlay", "-r"),
    ("-O", "ro"),
    ("-O", "nosuid,mode=755"),
    ("-O", "noro,+nosuid", "-l"),
    ("-i", "-t", "tmpfs"),
    ("--real",),
    ("--pseudo", "-l"),
    ("--shadowed",),
    ("--shadowed", "-i", "-l"),
    ("-R", "/mnt"),
    ("-R", "/mnt/three", "-r"),
    ("-R", "-S", "shared"),
    ("-T", "/mnt"),
    ("-T", "/mnt/three", "-f"),
    ("-M", "/mnt/three", "-o", "SOURCE"),
    ("-M", "/mnt/nothing"),
    ("-S", "shared"),
    ("-S", "0:1"),
    ("-d", "backward", "-l"),
    ("-d", "backward", "-f", "-S", "three"),
    ("-f", "-t", "proc"),
    ("/mnt/three",),
    ("two", "/mnt/three"),
    ("/mnt/a\nnewline",),
    ("/mnt/a#hash/",),
    ("shared", "-f"),
    ("--tree", "-r"),
    ("--tree", "-P", "-t", "tmpfs"),
    ("-J", "-t", "proc,sysfs"),
    ("-J", "-l", "-o", "TARGET,ID,PARENT", "-S", "shared"),
    ("-J", "-t", "xyz"),
    ("-t", "xyz", "-l"),
]


def test_it_writes_byte_for_byte_what_findmnt_writes(odd: int, link: str) -> None:
    differ = []
    for options in OPTIONS:
        original, ours = together(
            *(partial(output_of, [name, "-N", str(odd), *options]) for name in (findmnt(), link))
        )
        assert original[0] or original[1]
        if ours != original:
            differ.append(options)
    assert not differ


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("-l",),
        ("-u",),
        ("-o", "FSTYPE,OPTIONS,TARGET,SOURCE"),
        ("-o", "TARGET,OPT-FIELDS,ID"),
        ("--output-all",),
    ],
    ids=" ".join,
)
def test_on_a_terminal_it_is_cut_and_broken_as_findmnts(
    odd: int, link: str, options: tuple[str, ...]
) -> None:
    env = clean_environment("/", {"LC_ALL": "C.UTF-8"})
    # Line ends in a source are lines of SOURCES there; only these names have any.
    types = "proc,overlay" if options == ("--output-all",) else "proc,overlay,tmpfs"
    words = ("-N", str(odd), "-t", types, *options)
    for columns in (10, 40, 80, 81, 132, 300):
        original, ours = together(
            *(partial(on_terminal, [name, *words], columns, env) for name in (findmnt(), link))
        )
        assert ours == original


def test_where_the_locale_has_no_utf8_it_writes_ascii(odd: int, link: str) -> None:
    for options in ((), ("-l",), ("-r",), ("-P",)):
        original, ours = (
            output_of([name, "-N", str(odd), *options], {"LC_ALL": "C"})
            for name in (findmnt(), link)
        )
        assert ours == original
        assert ours[0].isascii()


def test_sizes_are_those_of_the_callers_paths_as_findmnts_are(link: str) -> None:
    code = (
        'private(); tmpfs("a", "/mnt/a", b"size=7m,nr_inodes=50"); '
        'open("/mnt/a/x", "w").write("x" * 100_000); os.chdir("/"); '
        'ready(mnt=number("mnt"))'
    )
    with mounting(code) as (pid, _):
        for options in (
            ("-D", "-S", "a"),
            ("-D", "-b", "-S", "a"),
            ("-D", "-J", "-b", "-S", "a"),
            ("-no", "SIZE,USED,AVAIL,USE%", "/mnt/a"),
            ("-t", "proc", "-o", "TARGET,SIZE,USE%"),
        ):
            enter = ["nsenter", "-t", str(pid), "-m", "--"]
            original = output_of([*enter, findmnt(), *options])
            assert output_of([*enter, link, *options]) == original
            assert original[1] == 0


def test_a_file_system_that_never_answers_costs_a_second_and_no_more(link: str) -> None:
    code = """
private()
os.mkdir("/mnt/dead")
try:
    fd = os.open("/dev/fuse", os.O_RDWR)
    bmount(b"dead", b"/mnt/dead", b"fuse", 0, b"fd=%d,rootmode=40000,user_id=0,group_id=0" % fd)
except OSError as error:
    ready(skip=str(error))
else:
    ready(skip="")
"""
    with mounting(code) as (pid, made):
        if made["skip"]:
            pytest.skip(f"needs FUSE: {made['skip']}")
        began = time.monotonic()
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-m", "--", link, "-lno", "TARGET,SIZE", "-t", "fuse"],
            env=clean_environment("/"),
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert done.stdout.split() == [b"/mnt/dead"]
        assert done.returncode == 0
        assert time.monotonic() - began < 20


def test_changes_are_told_as_they_happen(link: str) -> None:
    code = """
private()
os.makedirs("/mnt/a"); os.makedirs("/mnt/b")
ready(pid=os.getpid())
"""
    script = (
        "mount -t tmpfs y /mnt/a && mount -o remount,ro /mnt/a && mount --move /mnt/a /mnt/b "
        "&& umount /mnt/b"
    )
    kinds = (("--poll",), ("-p", "-o", "+OLD-TARGET"), ("--poll=umount", "-n", "-P"))
    # Each in a mount namespace of its own, all at once: most of it is waiting for the end.
    with contextlib.ExitStack() as stack:
        waiting = []
        for name in (findmnt(), link):
            for options in kinds:
                pid, _ = stack.enter_context(mounting(code))
                command = [name, "-N", str(pid), "-w", "4000", *options]
                process = stack.enter_context(
                    subprocess.Popen(
                        ["sh", "-c", 'echo ready; exec "$@"', "sh", *command],
                        env=clean_environment("/", {"LC_ALL": "C.UTF-8"}),
                        stdout=subprocess.PIPE,
                    )
                )
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
                waiting.append((pid, process))
        for _, process in waiting:
            _wait_until_it_polls(process.pid)
        for step in script.split(" && "):
            for pid, _ in waiting:
                subprocess.run(["nsenter", "-t", str(pid), "-m", "sh", "-c", step], check=True)
            # Each step must be seen before the next one, which would be told with it otherwise.
            time.sleep(0.1)
        outputs = [process.stdout.read() for _, process in waiting if process.stdout is not None]
    half = len(outputs) // 2
    assert half == len(kinds)
    assert outputs[:half] == outputs[half:]
    assert b"move" in outputs[0]


def _wait_until_it_polls(pid: int) -> None:
    """Wait until a process sleeps in poll(2)."""
    for _ in range(200):
        try:
            with open(f"/proc/{pid}/wchan") as file:
                if "poll" in file.read():
                    return
        except OSError:
            pass
        time.sleep(0.02)


def test_fstab_and_verifying_are_handed_to_the_installed_findmnt(link: str, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text("tmpfs /mnt/x tmpfs size=1m 0 0\n")
    for options in (
        ("-s", "-F", str(table)),
        ("--fstab", "-F", str(table), "-n", "-o", "TARGET,FREQ"),
        ("-F", str(table)),
        ("-x", "-F", str(table)),
        ("-m", "-l"),
    ):
        original = output_of([findmnt(), *options])
        assert output_of([link, *options]) == original


def test_without_an_installed_findmnt_it_says_so(link: str, tmp_path: Path) -> None:
    table = tmp_path / "fstab"
    table.write_text("tmpfs /mnt/x tmpfs size=1m 0 0\n")
    code = """
private()
for place in ("/usr/bin/findmnt", "/bin/findmnt", "/usr/local/bin/findmnt"):
    if os.path.exists(place):
        open("/mnt/empty", "w").close()
        mount("/mnt/empty", os.path.realpath(place), None, BIND)
ready()
"""
    with mounting(code) as (pid, _):
        done = subprocess.run(
            ["nsenter", "-t", str(pid), "-m", "--", link, "-s"],
            env=clean_environment("/"),
            capture_output=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"findmnt: cannot serve --fstab: ")
    assert b"no findmnt is installed" in done.stderr
    assert os.path.exists(findmnt())

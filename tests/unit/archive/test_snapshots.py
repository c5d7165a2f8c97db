"""Saved snapshots come back as they were, or are refused in one sentence."""

from __future__ import annotations

import base64
import contextlib
import copy
import io
import itertools
import json
import os
import random
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.archive import snapshots
from nsctl.cli.main import main
from nsctl.errors import ArchiveError, KernelRefusal
from nsctl.model.container import Container
from nsctl.model.mount import Mount
from nsctl.model.namespace import (
    NS_LINKS,
    Holder,
    IdExtent,
    IdMaps,
    Namespace,
    NamespaceId,
    NamespaceType,
    TimeOffsets,
)
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Reference, Snapshot
from nsctl.model.task import CapabilitySets, Credentials, Task
from nsctl.relate.groups import groups
from nsctl.relate.hierarchy import hierarchy
from nsctl.relate.host_files import host_files
from nsctl.relate.matrix import matrix
from nsctl.relate.members import memberships
from nsctl.relate.sees import sees
from unit.factories import all_own, container, credentials, namespace, ns, snapshot, task

pytestmark = pytest.mark.unit

I64 = st.integers(-(1 << 63), (1 << 64) - 1)
U32 = st.integers(0, (1 << 32) - 1)
TEXT = st.text(max_size=6)
RAW = st.binary(max_size=8)
TIMES = st.floats(0, 4e9)


def row_of(size: int, numbers: st.SearchStrategy[int] = U32) -> st.SearchStrategy[Any]:
    return st.tuples(*[numbers] * size)


def many(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(strategy, max_size=3).map(tuple)


def made(
    kind: Callable[..., Any], *fields: st.SearchStrategy[Any], **named: st.SearchStrategy[Any]
) -> st.SearchStrategy[Any]:
    """As st.builds, but fields that are not given keep their defaults."""
    both = st.tuples(st.tuples(*fields), st.fixed_dictionaries(named))
    return both.map(lambda pair: kind(*pair[0], **pair[1]))


NS = row_of(len(NS_LINKS), st.integers(-1, (1 << 32) - 1))
CREDENTIALS = made(
    Credentials,
    row_of(4),
    row_of(4),
    many(U32),
    made(CapabilitySets, *[st.integers(0, (1 << 64) - 1)] * 5),
    st.none() | st.booleans(),
    st.none() | U32,
    st.none() | U32,
)
TASKS = st.lists(
    made(
        Task,
        pid=st.integers(1, 1 << 22),
        ppid=U32,
        start=I64,
        state=st.sampled_from("RSZ"),
        kernel=st.booleans(),
        comm=RAW,
        owner=U32,
        threads=U32,
        ns=NS,
        cgroup=st.none() | RAW,
        command=st.none() | RAW,
        nspids=many(U32),
        credentials=st.none() | CREDENTIALS,
    ),
    max_size=3,
    unique_by=lambda row: row.pid,
).map(lambda rows: tuple(sorted(rows, key=lambda row: row.pid)))
EXTENTS = many(made(IdExtent, U32, U32, U32))
NAMESPACES = many(
    made(
        Namespace,
        id=made(NamespaceId, st.sampled_from(list(NamespaceType)), U32, st.integers(1, 1 << 40)),
        ns_id=st.none() | st.integers(0, (1 << 64) - 1),
        parent=st.just(0),
        owner=st.just(0),
        owner_uid=st.none() | U32,
        maps=st.none() | made(IdMaps, EXTENTS, EXTENTS, TEXT),
        offsets=st.none() | made(TimeOffsets, I64, I64),
        netnsid=st.none() | I64,
        nsfs_paths=many(RAW),
        holders=many(made(Holder, st.just("fd"), pid=U32, fd=U32, path=RAW)),
    )
)
CONTAINERS = many(
    made(
        Container,
        *(TEXT, TEXT, TEXT, TEXT, U32, I64, TEXT, TIMES, TEXT),
        labels=many(st.tuples(TEXT, TEXT)),
        declared=many(st.tuples(TEXT, TEXT)),
        cgroups=many(TEXT),
    )
)
SNAPSHOTS = made(
    Snapshot,
    began=TIMES,
    ended=TIMES,
    boot_id=TEXT,
    host_name=RAW,
    kernel=TEXT,
    uptime=TIMES,
    read_from=many(TEXT),
    reader=made(Reader, U32, U32, st.integers(0, (1 << 64) - 1), NS),
    host=made(Reference, TEXT, U32, NS),
    parts=st.dictionaries(st.sampled_from(list(Part)), st.sampled_from(list(PartState))),
    tasks=TASKS,
    namespaces=NAMESPACES,
    containers=CONTAINERS,
    mounts=st.dictionaries(
        U32, many(made(Mount, U32, U32, U32, RAW, RAW, st.booleans(), TEXT, RAW)), max_size=2
    ),
    users=st.dictionaries(U32, TEXT, max_size=3),
    gaps=many(
        made(
            Gap,
            st.sampled_from(list(Part)),
            TEXT,
            TEXT,
            st.sampled_from(list(PartState)),
            TEXT,
            TEXT,
            many(U32),
        )
    ),
)

WEB = container("web", pid=5, cgroups=["/docker/web"])
SMALL = snapshot(
    [task(1), task(5, all_own(500))._replace(credentials=credentials(7), cgroup=b"0::/a\n")],
    [
        namespace(NamespaceType.USER, 505, parent=106, owner=106)._replace(
            maps=IdMaps((IdExtent(0, 1, 2),), (), "deny")
        ),
        namespace(NamespaceType.TIME, 507, owner=505, offsets=TimeOffsets(-5, 9)),
    ],
    [WEB],
    gaps=[Gap(Part.TASKS, "/proc", "x", PartState.PARTIAL, "y", pids=(7,))],
)
DOCUMENT = snapshots.encode(SMALL)


@given(SNAPSHOTS)
def test_a_snapshot_comes_back_as_it_was_saved(taken: Snapshot) -> None:
    loaded = snapshots.decode(snapshots.encode(taken), "x")
    assert loaded == taken
    assert type(loaded.tasks) is tuple
    assert all(type(row) is Task for row in loaded.tasks)


def test_text_that_is_not_utf_8_is_readable_when_it_comes_back() -> None:
    odd = SMALL._replace(users={0: "r\udcffot"}, read_from=("/\udce4",))
    loaded = snapshots.decode(snapshots.encode(odd), "x")
    assert loaded.users == {0: "r\ufffdot"}
    assert loaded.read_from == ("/\ufffd",)
    assert loaded.tasks == SMALL.tasks


# --- Whatever a file holds


def use(taken: Snapshot) -> None:
    """Everything that views compute from a snapshot."""
    matrix(taken)
    memberships(taken)
    hierarchy(taken, frozenset(NamespaceType), "parent")
    hierarchy(taken, frozenset(NamespaceType), "owner")
    for group in groups(taken):
        sees(taken, group)
        host_files(taken, group)


def load_or_refuse(data: bytes) -> Snapshot | None:
    refusal = None
    try:
        taken = snapshots.decode(data, "file")
    except ArchiveError as error:
        refusal = error.sentence
    if refusal is not None:
        assert refusal.startswith("cannot load file: ")
        assert "\n" not in refusal
        return None
    if taken != SMALL:
        use(taken)
    return taken


def test_a_file_cut_anywhere_is_refused() -> None:
    for end in range(len(DOCUMENT) - 1):
        assert load_or_refuse(DOCUMENT[:end]) is None
    assert load_or_refuse(DOCUMENT[:-1]) == SMALL


def test_a_file_with_any_one_bit_flipped_loads_or_is_refused() -> None:
    for place in range(len(DOCUMENT)):
        for bit in range(8):
            data = bytearray(DOCUMENT)
            data[place] ^= 1 << bit
            load_or_refuse(bytes(data))


def test_a_file_with_any_one_byte_replaced_loads_or_is_refused() -> None:
    generator = random.Random(0)  # noqa: S311  (repeatable, not secret)
    for place in range(len(DOCUMENT)):
        for byte in (*b'0-9"[{,', generator.randrange(256)):
            load_or_refuse(DOCUMENT[:place] + bytes((byte,)) + DOCUMENT[place + 1 :])


NASTY: st.SearchStrategy[Any] = st.sampled_from(
    [
        *(None, True, 0, -1, 1, 101, 106, 505, 1 << 31, 1 << 63, 1 << 64, -(1 << 63) - 1, 10**400),
        *(0.5, -1.0, 1e308, "", "\x1b[2J", "user", "Z", [], {}, [[]], "A" * 50, "////"),
    ]
)


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A document in which a few values, anywhere, are others, doubled, or gone."""
    document = json.loads(DOCUMENT)
    for _ in range(draw(st.integers(1, 4))):
        here: Any = document
        while True:
            keys = list(here) if isinstance(here, dict) else list(range(len(here)))
            if not keys:
                break
            key = draw(st.sampled_from(keys))
            if isinstance(here[key], (dict, list)) and draw(st.integers(0, 5)):
                here = here[key]
                continue
            kind = draw(st.integers(0, 6))
            if kind == 0:
                del here[key]
            elif kind == 1 and isinstance(here, list):
                here.insert(key, copy.deepcopy(here[key]))
            else:
                here[key] = copy.deepcopy(draw(NASTY))
            break
    return json.dumps(document).encode()


@given(hostile())
def test_a_document_with_other_values_in_it_loads_or_is_refused(data: bytes) -> None:
    load_or_refuse(data)


VIEWS: tuple[list[str], ...] = (
    ["matrix"],
    [],
    ["-J"],
    ["ls"],
    ["ls", "-J", "--output-all"],
    ["ls", "--output-all", "-Towner"],
    ["tree", "--by", "owner"],
    ["tree", "-J"],
    ["show", "5"],
    ["show", "web", "-J"],
    ["show", "user:[505]"],
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Where each value of a document stands."""
    yield path
    if isinstance(value, (dict, list)):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield from places(value[key], (*path, key))


OTHERS: tuple[Any, ...] = (None, -1, 505, 1 << 63, 1e308, "\x1b[2J\n", "user", [])


def test_no_view_of_a_hostile_file_ends_in_a_fault_or_writes_to_the_terminal() -> None:
    document = json.loads(DOCUMENT)
    views = itertools.cycle(VIEWS)
    for path in places(document["snapshot"]):
        for value in OTHERS:
            changed = {"x": copy.deepcopy(document["snapshot"])}
            here: Any = changed
            for key in ("x", *path)[:-1]:
                here = here[key]
            here[("x", *path)[-1]] = value
            data = json.dumps({**document, "snapshot": changed["x"]}).encode()
            if load_or_refuse(data) is not None:
                status, output, errors = shown(data, next(views))
                assert "fault" not in errors, (path, value)
                assert status in {0, 1, 2}
                assert "\x1b" not in output + errors, (path, value)


def shown(data: bytes, view: list[str]) -> tuple[int, str, str]:
    """Run a view of a file; its exit status and what it printed."""
    fd = os.memfd_create("snapshot")
    streams = [io.TextIOWrapper(io.BytesIO(), encoding="utf-8") for _ in range(2)]
    try:
        with open(fd, "wb", closefd=False) as file:
            file.write(data)
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
            status = main([*view, "--from", f"/proc/self/fd/{fd}"])
    finally:
        os.close(fd)
    texts = []
    for stream in streams:
        stream.flush()
        buffer = stream.buffer
        assert isinstance(buffer, io.BytesIO)
        texts.append(buffer.getvalue().decode())
    return status, texts[0], texts[1]


def test_every_view_shows_a_whole_file() -> None:
    for view in VIEWS:
        status, output, errors = shown(DOCUMENT, view)
        assert status == 0, (view, errors)
        assert output


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (b"", "it is no saved snapshot, or damaged: Input data was truncated"),
        (b"\xff\xfe", "it is no saved snapshot, or damaged: JSON is malformed"),
        (b"[]", "it is no saved snapshot, or damaged: Expected `object`, got `array`"),
        (b'{"format":"x","version":1}', "it is of format 'x', not 'nsctl-snapshot'"),
        (
            b'{"format":"nsctl-snapshot","version":2,"snapshot":"anything"}',
            "it is of version 2, and this nsctl reads version 1",
        ),
        (b'{"format":"nsctl-snapshot","version":1}', "it is damaged: Object missing"),
        (b'{"format":"\xff","version":1}', "it is no saved snapshot, or damaged: 'utf-8' codec"),
        (b'{"a":' + b"[" * 10**6, "it is no saved snapshot, or damaged: maximum recursion depth"),
        (DOCUMENT + b"{}", "it is no saved snapshot, or damaged: JSON is malformed"),
        (DOCUMENT[:1] + b'"more":1,' + DOCUMENT[1:], "it is damaged: Object contains unknown"),
    ],
)
def test_what_is_no_snapshot_of_this_version_is_told_from_what_is_damaged(
    data: bytes, cause: str
) -> None:
    with pytest.raises(ArchiveError) as caught:
        snapshots.decode(data, "file")
    assert caught.value.cause.startswith(cause)


def test_a_newer_version_says_what_to_do() -> None:
    with pytest.raises(ArchiveError) as caught:
        snapshots.decode(b'{"format":"nsctl-snapshot","version":99}', "file")
    assert caught.value.hint == "use the nsctl that wrote it, or a newer one"


def damaged(**fields: object) -> bytes:
    return snapshots.encode(SMALL._replace(**fields))  # type: ignore[arg-type]  # that is the point


CIRCLE = [
    namespace(NamespaceType.USER, 1, parent=2),
    namespace(NamespaceType.USER, 2, parent=1),
]
OWNERS = [namespace(NamespaceType.USER, 1, owner=1), namespace(NamespaceType.NET, 2, owner=1)]
DEEP = [namespace(NamespaceType.PID, n, parent=n + 1) for n in range(1, 5000)]


@pytest.mark.parametrize(
    ("data", "cause"),
    [
        (damaged(tasks=(task(5), task(1))), "its process ids are not in order"),
        (damaged(tasks=(task(5), task(5))), "its process ids are not in order"),
        (damaged(tasks=(task(0),)), "its process ids are not in order"),
        (damaged(tasks=(task(1, ns()[:8]),)), "a process has not 10 namespaces"),
        (damaged(reader=Reader(1, 0, 0, ())), "a process has not 10 namespaces"),
        (damaged(tasks=(task(1, start=1 << 64),)), "a number is larger"),
        (damaged(mounts={1 << 70: ()}), "a number is larger"),
        (damaged(namespaces=[namespace(NamespaceType.NET, 0)]), "a namespace has no device"),
        (damaged(namespaces=CIRCLE), "its namespaces are nested in a circle"),
        (damaged(namespaces=DEEP), "its namespaces are nested in a circle"),
        (damaged(namespaces=OWNERS), "its namespaces own each other in a circle"),
    ],
)
def test_a_snapshot_that_cannot_be_is_refused(data: bytes, cause: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        snapshots.decode(data, "file")
    assert caught.value.cause.startswith(f"it is damaged: {cause}")


# --- Files


def test_a_file_is_its_owners_alone_and_loads(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    before = os.umask(0)
    try:
        snapshots.save(SMALL, str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert snapshots.load(str(path)) == SMALL
    assert os.listdir(tmp_path) == ["a.json"]


def test_a_file_is_saved_in_the_working_directory_by_its_bare_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    snapshots.save(SMALL, "a.json")
    assert snapshots.load("a.json") == SMALL


def test_an_existing_file_is_replaced_in_one_step_with_a_new_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(b"old")
    path.chmod(0o666)
    inode = path.stat().st_ino
    with path.open("rb") as old:
        snapshots.save(SMALL, str(path))
        assert old.read() == b"old"
    assert path.stat().st_ino != inode
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, *, there: bool) -> None:
    target, link = tmp_path / "precious", tmp_path / "a.json"
    if there:
        target.write_bytes(b"precious")
    link.symlink_to(target)
    snapshots.save(SMALL, str(link))
    assert not link.is_symlink()
    assert target.exists() == there
    assert not there or target.read_bytes() == b"precious"


def fifo(path: Path) -> None:
    os.mkfifo(path)


def directory(path: Path) -> None:
    path.mkdir()


def descriptor(path: Path) -> None:
    path.symlink_to("/proc/self/fd/1")


@pytest.mark.parametrize("make", [fifo, directory, descriptor])
def test_what_is_no_file_is_not_replaced(tmp_path: Path, make: Callable[[Path], None]) -> None:
    path = tmp_path / "a"
    make(path)
    before = path.lstat()
    with pytest.raises(ArchiveError, match="it is not a regular file"):
        snapshots.save(SMALL, str(path))
    assert os.path.samestat(path.lstat(), before)
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("make", [fifo, directory])
def test_what_is_no_file_is_not_read_and_nothing_waits(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    make(tmp_path / "a")
    with pytest.raises(ArchiveError, match="it is not a regular file"):
        snapshots.load(str(tmp_path / "a"))


def test_a_device_is_not_read() -> None:
    with pytest.raises(ArchiveError, match="it is not a regular file"):
        snapshots.load("/dev/zero")


def test_a_file_larger_than_any_snapshot_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(snapshots.SIZE_LIMIT + 1)
    with pytest.raises(ArchiveError, match="it is larger than any snapshot"):
        snapshots.load(str(path))


def test_a_file_that_does_not_exist_is_told_with_the_kernels_reason(tmp_path: Path) -> None:
    with pytest.raises(KernelRefusal, match=r"No such file or directory \(ENOENT\)"):
        snapshots.load(str(tmp_path / "none"))


def test_a_directory_that_does_not_exist_is_told_with_the_kernels_reason(tmp_path: Path) -> None:
    with pytest.raises(KernelRefusal, match=r"cannot save a snapshot to .*ENOENT"):
        snapshots.save(SMALL, str(tmp_path / "none" / "a.json"))


SAVE_WITH_A_LIMIT = """
import resource, signal, sys
from nsctl.archive import snapshots
from nsctl.errors import NsctlError
taken = snapshots.load(sys.argv[1])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    snapshots.save(taken, sys.argv[1])
except NsctlError as error:
    print(error.sentence)
"""


def test_a_write_that_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    snapshots.save(SMALL, str(path))
    done = subprocess.run(
        [sys.executable, "-B", "-c", SAVE_WITH_A_LIMIT, str(path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"cannot save a snapshot to {path}: File too large (EFBIG)\n"
    assert os.listdir(tmp_path) == ["a.json"]
    assert snapshots.load(str(path)) == SMALL


def test_a_snapshot_that_cannot_be_encoded_leaves_the_old_file_and_nothing_else(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.json"
    snapshots.save(SMALL, str(path))
    broken = SMALL._replace(kernel=object())  # type: ignore[arg-type]  # that is the point
    with pytest.raises(TypeError):
        snapshots.save(broken, str(path))
    assert os.listdir(tmp_path) == ["a.json"]
    assert snapshots.load(str(path)) == SMALL


def test_a_saved_file_is_one_line_of_json_with_its_version_in_front(tmp_path: Path) -> None:
    snapshots.save(SMALL, str(tmp_path / "a"))
    text = (tmp_path / "a").read_text()
    assert text.startswith('{"format":"nsctl-snapshot","version":1,"snapshot":[')
    assert text.count("\n") == 1
    assert base64.b64encode(b"host").decode() in text

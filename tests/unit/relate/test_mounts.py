"""Mount tables in meaning, on tables made by hand and at random."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.mount import Mount
from nsctl.model.namespace import Namespace, NamespaceId, NamespaceType
from nsctl.model.snapshot import Snapshot
from nsctl.relate.mount_changes import changes
from nsctl.relate.mount_options import every_flag, matches, matches_type, merged, options
from nsctl.relate.mounts import Place, groups, hidden_by, locked, propagation, relatives
from unit.factories import HOST, snapshot, task

pytestmark = pytest.mark.unit


def mount(
    number: int,
    parent: int,
    point: bytes,
    *,
    dev: int = 5,
    root: bytes = b"/",
    fields: bytes = b"",
    source: bytes = b"x",
    options: bytes = b"rw",
) -> Mount:
    """A mount of which only what matters is said."""
    return Mount(
        number, parent, dev, root, point, read_only=False, fs_type="tmpfs", source=source,
        options=options, fields=fields, unique_id=number + 1000,
    )  # fmt: skip


class Tree:
    """Mounts as the kernel has them: what lies at a directory of a mount, found by walking."""

    def __init__(self) -> None:
        self.table = [mount(1, 0, b"/")]
        self.at: dict[tuple[int, bytes], int] = {}
        self.bases = {1: b"/"}

    def walk(self, path: bytes) -> tuple[int, bytes]:
        """The mount that a path leads to, and the directory in it."""
        current, inside = 1, b"/"
        current = self._top(current, inside)
        for name in filter(None, path.split(b"/")):
            inside = inside.rstrip(b"/") + b"/" + name
            over = self._top(current, inside)
            if over != current:
                current, inside = over, b"/"
        return current, inside

    def _top(self, current: int, inside: bytes) -> int:
        while (over := self.at.get((current, inside))) is not None:
            current, inside = over, b"/"
        return current

    def mount(self, path: bytes) -> None:
        """Mount something where a path leads to."""
        parent, inside = self.walk(path)
        number = len(self.table) + 1
        point = (self.bases[parent].rstrip(b"/") + inside).rstrip(b"/") or b"/"
        self.at[parent, inside] = number
        self.bases[number] = point
        self.table.append(mount(number, parent, point))


_PATHS = st.lists(
    st.lists(st.sampled_from([b"a", b"b", b"c"]), max_size=4).map(
        lambda names: b"/" + b"/".join(names)
    ),
    max_size=25,
)


@given(_PATHS)
def test_hidden_is_what_no_path_leads_to(paths: list[bytes]) -> None:
    tree = Tree()
    for path in paths:
        tree.mount(path)
    hidden = hidden_by(tree.table)
    for each in tree.table:
        assert (tree.walk(each.point)[0] != each.id) == (each.id in hidden)


@given(_PATHS)
def test_what_hides_a_mount_lies_at_or_above_it_and_came_later(paths: list[bytes]) -> None:
    tree = Tree()
    for path in paths:
        tree.mount(path)
    points = {each.id: each.point for each in tree.table}
    for number, cover in hidden_by(tree.table).items():
        assert cover.id > number
        place = points[number].rstrip(b"/") + b"/"
        assert place.startswith(cover.point.rstrip(b"/") + b"/")


@given(
    st.lists(
        st.tuples(
            st.integers(0, 8), st.integers(0, 8), st.sampled_from([b"/", b"/a", b"/a/b", b"", b"x"])
        ),
        max_size=12,
    )
)
def test_no_table_makes_it_go_round_for_ever(rows: list[tuple[int, int, bytes]]) -> None:
    table = [mount(number, parent, point) for number, parent, point in rows]
    hidden = hidden_by(table)
    assert hidden.keys() <= {each.id for each in table}


def test_a_stack_as_high_as_the_kernel_allows_is_told() -> None:
    table = [mount(number, number - 1, b"/") for number in range(1, 50_001)]
    hidden = hidden_by(table)
    assert len(hidden) == 49_999
    assert hidden[1].id == 2


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        (b"", "private"),
        (b"shared:7", "shared"),
        (b"master:3", "slave"),
        (b"shared:7 master:3 propagate_from:1", "shared, slave"),
        (b"unbindable", "unbindable"),
        (b"new:5 unheard", "private"),
    ],
)
def test_optional_fields_are_read(fields: bytes, words: str) -> None:
    assert propagation(mount(1, 0, b"/", fields=fields)).words == words


def test_peers_masters_and_slaves_are_found_in_all_namespaces() -> None:
    mine = mount(2, 1, b"/mine", fields=b"shared:7 master:3")
    tables = {
        10: [mine, mount(3, 1, b"/again", fields=b"shared:7")],
        20: [mount(4, 1, b"/above", fields=b"shared:3"), mount(5, 1, b"/no")],
        30: [mount(6, 1, b"/below", fields=b"master:7")],
    }
    found = relatives(Place(10, mine), groups(tables))
    assert [(each.kind, each.place.ns, each.place.mount.point) for each in found] == [
        ("peer", 10, b"/again"),
        ("master", 20, b"/above"),
        ("slave", 30, b"/below"),
    ]


def _with_users(parent_of_inner: int = 201) -> Snapshot:
    """A host's mount namespace, and one that an inner user namespace owns."""
    kinds = NamespaceType
    rows = (
        Namespace(NamespaceId(kinds.USER, 4, 201)),
        Namespace(NamespaceId(kinds.USER, 4, 202), parent=parent_of_inner),
        Namespace(NamespaceId(kinds.MNT, 4, 301), owner=201),
        Namespace(NamespaceId(kinds.MNT, 4, 302), owner=202),
    )
    outer = (mount(1, 0, b"/"), mount(2, 1, b"/proc", dev=6), mount(3, 2, b"/proc", dev=6))
    inner = (
        mount(11, 0, b"/"),
        mount(12, 11, b"/proc", dev=6),
        mount(13, 12, b"/proc", dev=6),
        mount(14, 13, b"/proc", dev=6),
        mount(15, 11, b"/own", dev=7),
    )
    made = snapshot([task(1)])
    return made._replace(namespaces=rows, mounts={301: outer, 302: inner})


def test_locked_is_what_came_from_an_outer_user_namespace() -> None:
    assert locked(_with_users(), 302) == frozenset({12, 13})
    assert locked(_with_users(), 301) == frozenset()


def test_without_the_owner_or_another_table_it_is_unknown() -> None:
    made = _with_users()
    assert locked(made, 999) is None
    assert locked(made._replace(mounts={302: made.mounts[302]}), 302) is None


def test_user_namespaces_that_are_each_others_parents_end() -> None:
    assert locked(_with_users(parent_of_inner=202), 302) is None


@pytest.mark.parametrize(
    ("own", "file_system", "both"),
    [
        (b"rw", b"rw", b"rw"),
        (b"rw", b"ro", b"ro"),
        (b"ro", b"rw", b"ro"),
        (b"rw,nosuid", b"rw,size=5", b"rw,nosuid,size=5"),
        (b"ro,relatime", b"rw,mode=7", b"ro,relatime,mode=7"),
        (b"rw,noexec", b"rw", b"rw,noexec"),
        (b"rw", b'rw,x="a,rw,b"', b'rw,x="a,rw,b"'),
    ],
)
def test_options_are_joined_as_libmount_joins_them(
    own: bytes, file_system: bytes, both: bytes
) -> None:
    assert merged(own, file_system) == both


@given(st.binary(max_size=60), st.binary(max_size=60))
def test_no_options_do_more_than_be_joined(own: bytes, file_system: bytes) -> None:
    text = merged(own, file_system)
    for option in options(text):
        assert text[option.start : option.end].startswith(option.name)
    matches(text, own)
    every_flag(text)


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (b"ro", True),
        (b"noro", False),
        (b"nonoexec", True),
        (b"+noatime", True),
        (b"mode=755", True),
        (b"mode=7", False),
        (b"mode", True),
        (b"ro,mode=755,norw", True),
        (b"", True),
    ],
)
def test_options_are_asked_for_as_findmnt_asks(wanted: bytes, *, fits: bool) -> None:
    assert matches(b"ro,noatime,mode=755", wanted) == fits


@pytest.mark.parametrize(
    ("wanted", "fits"),
    [
        (b"tmpfs", True),
        (b"TmpFS,proc", True),
        (b"notmpfs", False),
        (b"noproc", True),
        (b"noproc,tmpfs", False),
        (b"proc,notmpfs", False),
        (b"tmp", False),
    ],
)
def test_types_are_asked_for_as_findmnt_asks(wanted: bytes, *, fits: bool) -> None:
    assert matches_type(b"tmpfs", wanted) == fits


def test_changes_are_told_by_source_and_place() -> None:
    before = [mount(1, 0, b"/a"), mount(2, 0, b"/b"), mount(3, 0, b"/c")]
    after = [
        mount(1, 0, b"/a", options=b"ro"),
        mount(2, 0, b"/moved"),
        mount(4, 0, b"/new", source=b"y"),
    ]
    assert [
        (each.action, each.old and each.old.id, each.new and each.new.id)
        for each in changes(before, after)
    ] == [
        ("remount", 1, 1),
        ("move", 2, 2),
        ("mount", None, 4),
        ("umount", 3, None),
    ]
    assert changes(before, before) == []


def test_the_hosts_inodes_are_no_owners() -> None:
    assert locked(snapshot([task(1)]), HOST[NamespaceType.MNT]) is None

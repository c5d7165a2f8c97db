"""Layers of overlayfs as one tree: whiteouts, opaque directories, redirects, and what differs."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.model.layer import Entry
from nsctl.relate.layers import Change, Overlay, Place, Same, Unread, changes, differs

pytestmark = pytest.mark.unit

DIR = Entry(stat.S_IFDIR | 0o755)
FILE = Entry(stat.S_IFREG | 0o644, size=1, mtime=1_000_000_001)
GONE = Entry(stat.S_IFCHR, whiteout=True)
NEW = FILE._replace(size=2, mtime=2_000_000_002)


class Layer:
    """A layer in memory: entries by path."""

    def __init__(self, entries: dict[str, Entry]) -> None:
        self.entries = {b"": DIR}
        for path, entry in entries.items():
            parts = path.split("/")
            for end in range(1, len(parts)):
                self.entries.setdefault("/".join(parts[:end]).encode(), DIR)
            self.entries[path.encode()] = entry

    def entry(self, path: bytes) -> Entry | None:
        return self.entries.get(path)

    def names(self, path: bytes) -> list[bytes]:
        start = path + b"/" if path else b""
        rest = [each[len(start) :] for each in self.entries if each and each.startswith(start)]
        return [each for each in rest if each and b"/" not in each]


def said(*layers: dict[str, Entry], data: tuple[dict[str, Entry], ...] = ()) -> list[str]:
    overlay = Overlay([Layer(each) for each in layers], [Layer(each) for each in data])
    return [
        f"{change.kind} {change.path.decode()}"
        for change in changes(overlay)
        if isinstance(change, Change)
    ]


def test_what_is_added_changed_and_deleted_is_said_with_its_directories() -> None:
    lower = {"etc/passwd": FILE, "etc/group": FILE, "srv/x": FILE}
    upper = {"etc/passwd": NEW, "etc/group": GONE, "new/a/b": FILE}
    assert said(upper, lower) == [
        *("C /etc", "D /etc/group", "C /etc/passwd", "A /new", "A /new/a", "A /new/a/b"),
    ]


def test_a_directory_is_not_changed_by_being_copied_up() -> None:
    assert said({"root": DIR}, {"root/x": FILE}) == []


def test_a_directory_whose_mode_changed_is_changed_alone() -> None:
    assert said({"root": DIR._replace(mode=stat.S_IFDIR | 0o700)}, {"root/x": FILE}) == ["C /root"]


def test_an_opaque_directory_loses_what_is_not_in_it() -> None:
    upper = {"d": DIR._replace(opaque=True), "d/kept": NEW, "d/new": FILE}
    lower = {"d/kept": FILE, "d/gone": FILE, "d/sub/x": FILE}
    assert said(upper, lower) == ["C /d", "D /d/gone", "C /d/kept", "A /d/new", "D /d/sub"]


def test_a_whiteout_of_nothing_says_nothing() -> None:
    assert said({"never": GONE}, {"x": FILE}) == []


def test_a_file_that_an_image_layer_deleted_and_the_upper_one_made_is_added() -> None:
    assert said({"etc/group": FILE}, {"etc/group": GONE}, {"etc/group": FILE}) == [
        *("C /etc", "A /etc/group"),
    ]


@pytest.mark.parametrize("redirect", [b"old", b"/old"])
def test_a_renamed_directory_is_deleted_here_and_added_there_with_all_in_it(
    redirect: bytes,
) -> None:
    upper = {"old": GONE, "new": DIR._replace(redirect=redirect), "new/f": GONE}
    lower = {"old/f": FILE, "old/g": FILE, "old/d/h": FILE}
    assert said(upper, lower) == ["A /new", "A /new/d", "A /new/d/h", "A /new/g", "D /old"]


def test_a_directory_renamed_into_a_renamed_one_is_followed_through_both() -> None:
    upper = {
        "a": GONE,
        "b": DIR._replace(redirect=b"/a"),
        "b/in": DIR._replace(redirect=b"/c"),
        "c": GONE,
    }
    lower = {"a/x": FILE, "a/in/wrong": FILE, "c/right": FILE}
    overlay = Overlay([Layer(upper), Layer(lower)])
    found = overlay.find(b"b/in/right")
    assert found is not None
    assert found.places == (Place(1, b"c/right"),)
    assert overlay.find(b"b/in/wrong") is None
    assert overlay.find(b"b/x") is not None


def test_a_redirect_in_a_lower_layer_holds_for_those_below_it() -> None:
    middle = {"new": DIR._replace(redirect=b"/old"), "old": GONE}
    overlay = Overlay([Layer({}), Layer(middle), Layer({"old/f": FILE})])
    assert overlay.find(b"new/f") is not None
    assert overlay.find(b"old") is None


def test_a_redirect_leads_through_a_directory_that_is_itself_redirected() -> None:
    upper = {"x": DIR._replace(redirect=b"/new/sub")}
    middle = {"new": DIR._replace(redirect=b"/old"), "old": GONE}
    overlay = Overlay([Layer(upper), Layer(middle), Layer({"old/sub/f": FILE, "new/sub/no": FILE})])
    assert overlay.find(b"x/f") is not None
    assert overlay.find(b"x/no") is None


def test_attributes_alone_lie_in_the_upper_layer_and_content_below() -> None:
    meta = FILE._replace(mode=stat.S_IFREG | 0o600, metacopy=True)
    overlay = Overlay([Layer({"f": meta}), Layer({"f": FILE}), Layer({"f": NEW})])
    found = overlay.find(b"f")
    assert found is not None
    assert found.places == (Place(0, b"f"), Place(1, b"f"))
    assert said({"f": meta}, {"f": FILE}) == ["C /f"]


def test_content_may_lie_in_a_layer_of_data_alone() -> None:
    meta = FILE._replace(metacopy=True, redirect=b"/objects/1")
    overlay = Overlay([Layer({}), Layer({"f": meta})], [Layer({"objects/1": NEW, "seen": FILE})])
    found = overlay.find(b"f")
    assert found is not None
    assert found.places == (Place(1, b"f"), Place(2, b"objects/1"))
    assert overlay.find(b"seen") is None
    assert overlay.find(b"objects") is None


def test_a_directory_in_place_of_a_file_and_the_other_way_round() -> None:
    assert said({"f": DIR, "f/x": FILE}, {"f": FILE}) == ["C /f", "A /f/x"]
    assert said({"d": FILE}, {"d/x": FILE}) == ["C /d"]


def test_what_was_copied_up_and_does_not_differ_is_told_apart() -> None:
    overlay = Overlay([Layer({"f": FILE}), Layer({"f": FILE})])
    assert list(changes(overlay)) == [Same(b"/f", FILE)]


def test_times_are_compared_in_seconds_where_one_has_no_fraction() -> None:
    assert not differs(FILE, FILE._replace(mtime=1_000_000_000))
    assert differs(FILE, FILE._replace(mtime=1_000_000_002))


def test_what_cannot_be_looked_at_is_said_and_the_rest_goes_on() -> None:
    class Broken(Layer):
        def entry(self, path: bytes) -> Entry | None:
            if path == b"bad":
                raise PermissionError(13, "no")
            return super().entry(path)

    overlay = Overlay([Broken({"a": FILE, "bad": FILE, "z": FILE}), Layer({})])
    found = list(changes(overlay))
    assert Unread(b"/bad", 13) in found
    assert [each.path for each in found if isinstance(each, Change)] == [b"/a", b"/z"]


def test_a_tree_that_is_very_deep_ends() -> None:
    depth = 3000
    path = "/".join("d" * depth)

    class Deep(Layer):
        def names(self, path: bytes) -> list[bytes]:
            return [] if len(path) >= 2 * depth - 1 else [b"d"]

    layer = Deep({path: FILE})
    assert len(list(changes(Overlay([layer, Layer({})])))) == depth


# --- Invariants ----------------------------------------------------------------------------------

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
FILES = st.builds(lambda size: FILE._replace(size=size, mtime=size), st.integers(0, 3))
ENTRIES = st.one_of(
    FILES,
    st.just(DIR),
    st.just(DIR._replace(opaque=True)),
    st.just(GONE),
    st.builds(
        lambda r: DIR._replace(redirect=r), st.sampled_from([b"a", b"b", b"/a", b"/b/c", b"/c"])
    ),
    st.just(FILE._replace(metacopy=True)),
)
LAYERS = st.dictionaries(PATHS, ENTRIES, max_size=6)


def built(entries: dict[str, Entry]) -> Layer:
    """A layer in which nothing lies below what is no directory."""
    layer = Layer({})
    for path in sorted(entries, key=lambda each: each.count("/")):
        parts = path.split("/")
        above = ["/".join(parts[:end]).encode() for end in range(1, len(parts))]
        if all(stat.S_ISDIR(layer.entries.get(each, DIR).mode) for each in above):
            for each in above:
                layer.entries.setdefault(each, DIR)
            layer.entries[path.encode()] = entries[path]
    return layer


def tree(overlay: Overlay, *, lower: bool) -> dict[bytes, Entry]:
    """All that a tree has, by path."""
    found: dict[bytes, Entry] = {}
    stack = [(b"", overlay.root(lower=lower))]
    while stack:
        path, node = stack.pop()
        for name in overlay.names(node):
            below = overlay.lookup(node, name)
            if below is not None:
                found[path + b"/" + name] = below.entry
                # Redirects may make a ring of what no kernel would have written.
                if below.is_directory and path.count(b"/") < 6:
                    stack.append((path + b"/" + name, below))
    return found


@given(LAYERS, st.lists(LAYERS, min_size=1, max_size=3))
def test_the_changes_applied_to_the_lower_tree_give_the_merged_one(
    upper: dict[str, Entry], lower: list[dict[str, Entry]]
) -> None:
    overlay = Overlay([built(upper), *map(built, lower)])
    before, after = tree(overlay, lower=True), tree(overlay, lower=False)
    made = dict(before)
    for change in changes(overlay):
        if not isinstance(change, Change) or change.path.count(b"/") > 7:
            continue
        if change.new is None or not stat.S_ISDIR(change.new.mode):
            made = {
                path: entry
                for path, entry in made.items()
                if not path.startswith(change.path + b"/")
            }
        if change.new is None:
            assert change.path in before
            del made[change.path]
        else:
            made[change.path] = change.new
    assert made.keys() == after.keys()
    assert not [path for path in after if differs(made[path], after[path])]


@given(LAYERS, st.lists(LAYERS, min_size=1, max_size=3))
def test_changes_come_once_each_and_in_order(
    upper: dict[str, Entry], lower: list[dict[str, Entry]]
) -> None:
    overlay = Overlay([built(upper), *map(built, lower)])
    limit = iter(range(500))
    found = [
        each.path.split(b"/")
        for each in changes(overlay, go_on=lambda: next(limit, None) is not None)
        if isinstance(each, Change)
    ]
    assert found == sorted(found)
    assert len(found) == len({tuple(each) for each in found})

"""What may be asked of a container, and how it is kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError, UsageError
from nsctl.model.namespace import NamespaceType
from nsctl.run.spec import Mount, Spec, check_name, checked, from_json, options_of, to_json

pytestmark = pytest.mark.unit

texts = st.text(st.characters(codec="utf-8"), max_size=20)


@given(
    st.builds(
        Spec,
        rootfs=texts,
        argv=st.lists(texts, max_size=4).map(tuple),
        env=st.lists(st.tuples(texts, texts), max_size=3).map(tuple),
        namespaces=st.dictionaries(st.sampled_from(list(NamespaceType)), texts),
        boottime=st.integers(),
        detach=st.booleans(),
        capabilities=st.integers(0, 2**41),
        mounts=st.lists(st.builds(Mount, texts, texts, texts, texts), max_size=2).map(tuple),
        groups=st.lists(st.integers(0, 9), max_size=3).map(tuple),
        limits=st.lists(st.tuples(texts, st.integers()), max_size=2).map(tuple),
        sets=st.lists(st.integers(0, 2**41), max_size=5).map(tuple),
        masked=st.lists(texts, max_size=2).map(tuple),
    )
)
def test_a_specification_comes_back_from_json_as_it_was(spec: Spec) -> None:
    assert from_json(json.loads(json.dumps(to_json(spec)))) == spec


@pytest.mark.parametrize(
    "damage",
    [
        {"argv": 3},
        {"boottime": "1"},
        {"detach": 1},
        {"env": [["a"]]},
        {"namespaces": []},
        {"namespaces": {"pid": 1}},
        {"more": 1},
        {"mounts": [["bind", "/a", "/b"]]},
        {"groups": ["0"]},
        {"groups": [True]},
        {"limits": [["pids", "1"]]},
        {"masked": "/proc"},
        {"rootfs": None},
    ],
)
def test_a_damaged_specification_is_an_error(damage: dict[str, Any]) -> None:
    with pytest.raises(NsctlError):
        from_json(to_json(Spec("/x", ("a",))) | damage)


@pytest.mark.parametrize(
    "name", ["-x", ".x", "a/b", "../x", "1234", "a b", "x\n", "", "a" * 64, "é", "x;flush ruleset"]
)
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)


@pytest.mark.parametrize("name", ["web", "web-1.a_b", "1a", "a" * 63])
def test_plain_names_are_taken(name: str) -> None:
    check_name(name)


@pytest.mark.parametrize(
    "asked",
    [
        {"argv": ()},
        {"argv": ("",)},
        {"argv": ("a\0b",)},
        {"cwd": "tmp"},
        {"hostname": "x" * 65},
        {"env": (("A=B", "x"),)},
        {"env": (("", "x"),)},
        {"namespaces": {"pod": "host"}},
        {"namespaces": {"pid": "container:"}},
        {"namespaces": {"pid": "Private"}},
        {"namespaces": {"time": "host"}, "monotonic": 1},
        {"namespaces": {"uts": "host"}, "hostname": "x"},
        {"namespaces": {"mnt": "host"}, "rootfs": "/", "read_only": True},
        {"rootfs": "/"},
        {"namespaces": {"pid": "ns:"}},
        {"uid": -1},
        {"uid": 0xFFFFFFFF},
        {"umask": 0o1000},
        {"sets": (0,)},
        {"limits": (("memory", 0),)},
        {"limits": (("disk", 1),)},
        {"mounts": (Mount("bind", "etc", "/x"),)},
        {"mounts": (Mount("bind", "/etc", "/"),)},
        {"mounts": (Mount("bind", "/etc", "/a/../b"),)},
        {"mounts": (Mount("bind", "/etc", "/proc/x"),)},
        {"mounts": (Mount("bind", "/etc", "/sys"),)},
        {"mounts": (Mount("bind", "/etc", "/dev"),)},
        {"mounts": (Mount("nfs", "/etc", "/x"),)},
        {"mounts": (Mount("bind", "/etc", "/x", "size=1"),)},
        {"mounts": (Mount("tmpfs", "", "/x", "size=1,uid=0"),)},
        {"mounts": (Mount("tmpfs", "", "/x"), Mount("tmpfs", "", "/x"))},
        {"mounts": (Mount("tmpfs", "", "/x"),), "namespaces": {"mnt": "host"}, "rootfs": "/"},
        {"rootfs": "/no/such/root"},
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, asked: dict[str, Any]) -> None:
    fields = {"rootfs": str(tmp_path), "argv": ("true",), **asked}
    with pytest.raises(UsageError):
        checked(Spec(**fields), 0)


def test_a_checked_one_has_all_eight_choices_and_a_whole_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    spec = checked(Spec(f"{tmp_path}/link", ("true",), namespaces={"pid": "container:a"}), 0)
    assert spec.rootfs == str(tmp_path)
    assert len(spec.namespaces) == 8
    assert spec.others == {NamespaceType.PID: "a"}
    assert spec.is_private(NamespaceType.NET)


def test_an_ordinary_user_takes_the_user_namespace_with_the_others(tmp_path: Path) -> None:
    wanted = Spec(str(tmp_path), ("true",), namespaces={"net": "container:a"})
    assert checked(wanted, 1000).other(NamespaceType.USER) == "a"
    assert checked(wanted, 0).is_private(NamespaceType.USER)
    for namespaces in (
        {"user": "host"},
        {"user": "private", "net": "container:a"},
        {"net": "container:a", "pid": "container:b"},
    ):
        with pytest.raises(UsageError):
            checked(wanted._replace(namespaces=namespaces), 1000)


def test_the_environment_can_be_overridden() -> None:
    spec = Spec("/x", ("a",), env=(("PATH", "/bin"), ("A", "1"), ("A", "2")))
    assert spec.environment("web") == [
        *("PATH=/bin", "HOME=/root", "container=nsctl", "container_name=web", "A=2"),
    ]


def test_options_of_mounts_say_what_they_forbid() -> None:
    ro, nosuid, nodev, noexec = 1, 2, 4, 8
    assert options_of(Mount("bind", "/a", "/b")) == (0, False, ())
    assert options_of(Mount("bind", "/a", "/b", "ro,idmap,nodev")) == (ro | nodev, True, ())
    assert options_of(Mount("bind", "/a", "/b", "ro,rw")) == (0, False, ())
    wanted = (nosuid | nodev | noexec, False, (("size", "64m"), ("mode", "1777")))
    assert options_of(Mount("tmpfs", "", "/b", "size=64m,mode=1777,noexec")) == wanted


def test_a_path_to_a_namespace_is_made_absolute(tmp_path: Path) -> None:
    spec = checked(Spec(str(tmp_path), ("true",), namespaces={"net": "ns:/run/../run/x"}), 0)
    assert spec.path(NamespaceType.NET) == "/run/x"
    assert spec.joined(NamespaceType.NET) == "/run/x"
    assert spec.others == {}
    assert not spec.is_private(NamespaceType.NET)

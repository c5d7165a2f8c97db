"""A path that leads to a namespace, and many that do not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nsctl.errors import TargetError, UnknownTarget
from nsctl.model.namespace import TYPES, NamespaceType
from nsctl.model.target import Target
from nsctl.targets.namespace_file import resolve

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("kind", TYPES)
def test_the_kernel_says_which_namespace_a_path_leads_to(kind: NamespaceType) -> None:
    path = f"/proc/self/ns/{kind}"
    if not os.path.exists(path):
        pytest.skip(f"this kernel has no {kind.word} namespaces")
    found = resolve(Target("path", path))
    assert found == Target("namespace", path, ino=os.stat(path).st_ino, type=kind)


def test_a_link_to_a_namespace_is_followed(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("/proc/self/ns/net")
    assert resolve(Target("path", str(tmp_path / "a"))).type is NamespaceType.NET


@pytest.mark.parametrize("kind", ["file", "directory", "fifo"])
def test_what_is_no_namespace_is_refused_at_once(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "file":
        path.touch()
    elif kind == "directory":
        path.mkdir()
    else:
        os.mkfifo(path)
    with pytest.raises(TargetError, match="it is not a namespace"):
        resolve(Target("path", str(path)))


def test_a_path_that_does_not_exist_is_refused_with_the_kernels_reason(tmp_path: Path) -> None:
    with pytest.raises(UnknownTarget, match=r"No such file or directory \(ENOENT\)"):
        resolve(Target("path", str(tmp_path / "none")))

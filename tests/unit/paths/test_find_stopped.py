"""Which layers a container has that does not run, by files of its engine that may say anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from nsctl.paths.find_stopped import open_stopped

ID = "c" * 64


def of_docker(root: Path, name: str = "layer") -> Path:
    """A data root with one container over one image; the directory of its own layer."""
    place = root / "image/overlay2/layerdb/mounts" / ID
    place.mkdir(parents=True)
    (place / "mount-id").write_text(name)
    return layers(root / "overlay2")


def layers(home: Path) -> Path:
    for made in ("layer/diff", "base/diff", "l"):
        (home / made).mkdir(parents=True)
    (home / "l/SHORT").symlink_to("../base/diff")
    (home / "layer/lower").write_text("l/SHORT")
    return home / "layer"


def descriptors() -> set[int]:
    # That of the listing itself is gone when it is looked at.
    return {int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")}


def found(root: Path, engine: str = "docker") -> tuple[object, ...]:
    """The head of the answer, its first four words; all that was opened is closed again."""
    before = descriptors()
    roots = [(0, os.fsencode(root))]
    head, _ = open_stopped(
        {"engine": engine, "id": ID, "image": b"", "user": False, "roots": roots}
    )
    # The helper ends after its one answer, and does without closing anything.
    for fd in descriptors() - before:
        os.close(fd)
    return head[0][:4]


def test_docker_and_podman_name_the_directory_of_the_layer(tmp_path: Path) -> None:
    own = of_docker(tmp_path)
    upper, lower = os.fsencode(own / "diff"), os.fsencode(tmp_path / "overlay2/l/SHORT")
    assert found(tmp_path) == ("layers", upper, [lower], 0)
    podman = tmp_path / "podman"
    own = layers(podman / "overlay")
    (podman / "overlay-containers").mkdir()
    rows = [{"id": "other", "layer": "none"}, {"id": ID, "layer": "layer"}]
    (podman / "overlay-containers/containers.json").write_text(json.dumps(rows))
    upper, lower = os.fsencode(own / "diff"), os.fsencode(podman / "overlay/l/SHORT")
    assert found(podman, "podman") == ("layers", upper, [lower], 0)


def test_a_daemon_that_maps_ids_has_its_root_within(tmp_path: Path) -> None:
    own = of_docker(tmp_path / "300000.300000")
    assert found(tmp_path)[1] == os.fsencode(own / "diff")


@pytest.mark.parametrize(
    "name", ["", "..", "../overlay2/layer", "a/b", "l\0", "nothing", "x" * 300]
)
def test_a_name_that_leads_elsewhere_is_none(tmp_path: Path, name: str) -> None:
    of_docker(tmp_path, name)
    assert found(tmp_path)[0] == "mount"


@pytest.mark.parametrize(
    "text", ["", "{", "null", "[1]", '[{"id": 1}]', f'[{{"id": "{ID}", "layer": "../layer"}}]']
)
def test_a_list_that_is_none_names_nothing(tmp_path: Path, text: str) -> None:
    layers(tmp_path / "overlay")
    (tmp_path / "overlay-containers").mkdir()
    (tmp_path / "overlay-containers/containers.json").write_text(text)
    assert found(tmp_path, "podman")[0] == "mount"


def test_no_pipe_and_no_link_in_place_of_a_file_is_read(tmp_path: Path) -> None:
    own = of_docker(tmp_path)
    (own / "lower").unlink()
    os.mkfifo(own / "lower")
    assert found(tmp_path)[2] == []
    place = tmp_path / "image/overlay2/layerdb/mounts" / ID / "mount-id"
    place.rename(tmp_path / "elsewhere")
    place.symlink_to(tmp_path / "elsewhere")
    assert found(tmp_path)[0] == "mount"

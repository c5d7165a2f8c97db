"""Image layouts: whole ones, and ones that lie."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import json
import lzma
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import AmbiguousTarget, NsctlError, UnknownTarget, UsageError
from nsctl.images.layout import Layout
from nsctl.images.store import ImageStore
from nsctl.images.tree import Limits

pytestmark = pytest.mark.unit


def tar_of(**files: bytes) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return raw.getvalue()


def digest(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


class Maker:
    """Writes a layout, part by part, so that a test can spoil one."""

    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "blobs" / "sha256").mkdir(parents=True)
        (place / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        self.manifests: list[dict[str, Any]] = []

    def blob(self, raw: bytes) -> str:
        name = digest(raw)
        (self.place / "blobs" / name.replace(":", "/")).write_bytes(raw)
        return name

    def image(self, name: str, layers: list[bytes], **platform: str) -> str:
        """Add an image of gzipped layers; give its configuration's digest."""
        packed = [gzip.compress(layer, mtime=0) for layer in layers]
        config = {
            "config": {
                "Env": ["A=1", "B"],
                "Entrypoint": ["/bin/sh"],
                "Cmd": ["-c", "id"],
                "User": "5:6",
                "WorkingDir": "/srv",
                "Labels": {"x": "y"},
            },
            "rootfs": {"type": "layers", "diff_ids": [digest(layer) for layer in layers]},
        }
        config_digest = self.blob(json.dumps(config).encode())
        manifest = {
            "config": {"digest": config_digest},
            "layers": [{"digest": self.blob(each)} for each in packed],
        }
        entry: dict[str, Any] = {
            "digest": self.blob(json.dumps(manifest).encode()),
            "annotations": {"org.opencontainers.image.ref.name": name},
        }
        if platform:
            entry["platform"] = platform
        self.manifests.append(entry)
        return config_digest

    def finish(self) -> Path:
        (self.place / "index.json").write_text(json.dumps({"manifests": self.manifests}))
        return self.place


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(str(tmp_path / "store"), Limits(size=1 << 20, entries=1000))


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path / "layout")


def import_layout(store: ImageStore, place: Path, ref: str = "") -> Any:
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return store.import_layout(fd, str(place), ref)
    finally:
        os.close(fd)


def left(store: ImageStore) -> list[str]:
    return os.listdir(store.path) if os.path.isdir(store.path) else []


def test_an_image_is_its_layers_one_over_the_other(store: ImageStore, maker: Maker) -> None:
    second = tar_of(**{"b": b"2", ".wh.a": b""})
    made = maker.image("app:1", [tar_of(a=b"1", b=b"1", c=b"1"), second])
    image = import_layout(store, maker.finish())
    assert f"sha256:{image.id}" == made
    assert sorted(os.listdir(image.root)) == ["b", "c"]
    assert Path(image.root, "b").read_text() == "2"
    assert image.names == ("app:1",)
    assert image.config.argv == ("/bin/sh", "-c", "id")
    assert image.config.env == (("A", "1"),)
    assert (image.config.user, image.config.cwd) == ("5:6", "/srv")
    assert image.config.labels == (("x", "y"),)
    assert store.find("app:1") == store.find(image.id[:8]) == image
    assert image.size == 2


def test_the_image_for_this_machine_is_taken(store: ImageStore, maker: Maker) -> None:
    other = "arm64" if os.uname().machine == "x86_64" else "amd64"
    maker.image("app", [tar_of(other=b"")], architecture=other, os="linux")
    maker.image("app", [tar_of(windows=b"")], architecture="amd64", os="windows")
    maker.image("app", [tar_of(mine=b"")], os="linux")
    assert os.listdir(import_layout(store, maker.finish()).root) == ["mine"]


def test_an_index_of_indexes_is_followed(store: ImageStore, maker: Maker) -> None:
    maker.image("app", [tar_of(mine=b"")])
    inner = maker.blob(json.dumps({"manifests": maker.manifests}).encode())
    kind = "application/vnd.oci.image.index.v1+json"
    maker.manifests = [{"digest": inner, "mediaType": kind}]
    assert import_layout(store, maker.finish()).names == ("app",)


def test_of_several_images_one_must_be_named(store: ImageStore, maker: Maker) -> None:
    maker.image("repo/a:1", [tar_of(a=b"")])
    maker.image("repo/b:1", [tar_of(b=b"")])
    place = maker.finish()
    with pytest.raises(UsageError, match="more than one image") as caught:
        import_layout(store, place)
    assert "repo/a:1, repo/b:1" in caught.value.hint
    assert os.listdir(import_layout(store, place, "b:1").root) == ["b"]
    with pytest.raises(UsageError, match="no image 'c'"):
        import_layout(store, place, "c")


@pytest.mark.parametrize("spoilt", ["layer", "config", "manifest", "content"])
def test_a_blob_that_is_not_what_its_digest_says_leaves_nothing(
    store: ImageStore, maker: Maker, spoilt: str
) -> None:
    layer = tar_of(a=b"1")
    maker.image("app", [layer])
    place = maker.finish()
    blobs = {path.read_bytes(): path for path in (place / "blobs" / "sha256").iterdir()}
    if spoilt == "layer":
        packed = gzip.compress(layer, mtime=0)
        blobs[packed].write_bytes(gzip.compress(layer, mtime=1))
    elif spoilt == "content":
        # The layer is what the manifest says, and holds something else than the configuration.
        manifest = next(raw for raw in blobs if b'"layers": [{' in raw)
        fields = json.loads(manifest)
        fields["layers"][0]["digest"] = maker.blob(gzip.compress(tar_of(a=b"2"), mtime=0))
        maker.manifests[0]["digest"] = maker.blob(json.dumps(fields).encode())
        maker.finish()
    else:
        word = b'"Entrypoint"' if spoilt == "config" else b'"layers": [{'
        raw = next(raw for raw in blobs if word in raw)
        blobs[raw].write_bytes(raw + b" ")
    with pytest.raises(NsctlError, match="is not what its digest says"):
        import_layout(store, place)
    assert left(store) == []


@pytest.mark.parametrize(
    "index",
    [
        "",
        "[]",
        "{}",
        '{"manifests": 5}',
        '{"manifests": [5]}',
        '{"manifests": [{"digest": "../../etc/passwd"}]}',
        '{"manifests": [{"digest": "sha256:00"}]}',
        "[" * 100000,
    ],
)
def test_an_index_that_makes_no_sense_is_said_to_be_one(
    store: ImageStore, maker: Maker, index: str
) -> None:
    (maker.place / "index.json").write_text(index)
    with pytest.raises(NsctlError):
        import_layout(store, maker.place)
    assert left(store) == []


def test_no_path_of_a_layout_leaves_its_directory(tmp_path: Path, store: ImageStore) -> None:
    place = tmp_path / "saved"
    place.mkdir()
    (tmp_path / "secret.json").write_text("{}")
    for path in ("../secret.json", "/etc/passwd"):
        (place / "manifest.json").write_text(json.dumps([{"Config": path, "Layers": []}]))
        with pytest.raises(NsctlError, match="cannot open"):
            import_layout(store, place)
    (place / "link").symlink_to("../secret.json")
    (place / "manifest.json").write_text(json.dumps([{"Config": "link", "Layers": []}]))
    with pytest.raises(NsctlError, match="cannot open"):
        import_layout(store, place)


def test_what_docker_save_wrote_is_read(store: ImageStore) -> None:
    layer = tar_of(a=b"1")
    config = json.dumps({"config": {"Cmd": ["sh"]}, "rootfs": {"diff_ids": [digest(layer)]}})
    manifest = [{"Config": "c.json", "RepoTags": ["bb:1"], "Layers": ["x/layer.tar"]}]
    raw = tar_of(
        **{
            "c.json": config.encode(),
            "x/layer.tar": layer,
            "manifest.json": json.dumps(manifest).encode(),
        }
    )
    image = store.import_archive(io.BytesIO(raw), "saved.tar")
    assert (image.names, os.listdir(image.root)) == (("bb:1",), ["a"])
    assert f"sha256:{image.id}" == digest(config.encode())


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "plain": bytes,
    "gzip": gzip.compress,
    "two members": lambda raw: gzip.compress(raw[:700]) + gzip.compress(raw[700:]),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
}


@pytest.mark.parametrize("packer", [*PACKERS, "zstd"])
def test_a_root_comes_from_an_archive_of_any_compression(store: ImageStore, packer: str) -> None:
    raw = tar_of(a=b"1", b=b"2" * 70000)
    if packer == "zstd":
        if shutil.which("zstd") is None:
            with pytest.raises(NsctlError, match="compressed with zstd"):
                store.import_archive(io.BytesIO(b"\x28\xb5\x2f\xfd" + raw), "x")
            return
        packed = subprocess.run(["zstd", "-c"], input=raw, capture_output=True, check=True).stdout
    else:
        packed = PACKERS[packer](raw)
    image = store.import_archive(io.BytesIO(packed), "root.tar", name="mine")
    assert sorted(os.listdir(image.root)) == ["a", "b"]
    assert image.names == ("mine",)
    assert image.id == hashlib.sha256(packed).hexdigest()
    for cut in (len(packed) // 2, 3):
        with pytest.raises(NsctlError):
            store.import_archive(io.BytesIO(packed[:cut]), "cut")
    assert len([name for name in left(store) if name != "names.json"]) == 1


def test_a_bomb_is_stopped(store: ImageStore) -> None:
    bomb = gzip.compress(tar_of(a=b"\0" * (4 << 20)))
    with pytest.raises(NsctlError, match="more than 1048576 bytes"):
        store.import_archive(io.BytesIO(bomb), "bomb")
    assert left(store) == []


def test_names_lead_to_images_until_they_are_taken_away(store: ImageStore) -> None:
    first = store.import_tar(io.BytesIO(tar_of(a=b"1")), "1", "one")
    second = store.import_tar(io.BytesIO(tar_of(a=b"2")), "2", "two")
    store.tag("one", "other:latest")
    assert store.find("other").id == first.id
    assert store.remove("one", lambda _: False) == ""
    with pytest.raises(NsctlError, match="a container uses it"):
        store.remove("other", lambda path: path == first.root)
    assert store.remove("other", lambda _: False) == first.id
    assert [image.id for image in store.images()] == [second.id]
    # A name that is given again leaves the old image without one.
    store.import_tar(io.BytesIO(tar_of(a=b"3")), "3", "two")
    assert store.prune(lambda path: path == second.root) == []
    assert store.prune(lambda _: False) == [second.id]
    with pytest.raises(UnknownTarget):
        store.find(second.id)
    with pytest.raises(UnknownTarget, match="image x"):
        store.find("x")


def test_what_a_killed_import_left_is_pruned(store: ImageStore) -> None:
    store.import_tar(io.BytesIO(tar_of(a=b"1")), "1", "one")
    os.makedirs(f"{store.path}/.new-0123/root/deep")
    assert store.prune(lambda _: False) == []
    assert not os.path.exists(f"{store.path}/.new-0123")


def test_the_same_archive_twice_is_one_image(store: ImageStore) -> None:
    raw = tar_of(a=b"1")
    ids = {store.import_tar(io.BytesIO(raw), "x", name).id for name in ("a", "b")}
    assert len(ids) == 1
    assert store.images()[0].names == ("a", "b")


def test_the_beginning_of_an_id_may_be_that_of_two(store: ImageStore) -> None:
    image = store.import_tar(io.BytesIO(tar_of(a=b"1")), "x", "a")
    twin = image.id[:10] + "0" * 54
    shutil.copytree(f"{store.path}/{image.id}", f"{store.path}/{twin}")
    with pytest.raises(AmbiguousTarget):
        store.find(image.id[:6])


@pytest.mark.parametrize("name", ["-x", "a b", "../x", "/x", "a//b", "f" * 64, "x" * 300, "a\n"])
def test_a_name_that_could_be_mistaken_is_refused(store: ImageStore, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for an image"):
        store.import_tar(io.BytesIO(tar_of(a=b"1")), "x", name)
    assert left(store) == []


def test_a_store_that_is_open_to_others_is_not_trusted(store: ImageStore) -> None:
    os.mkdir(store.path, 0o755)
    os.chmod(store.path, 0o755)  # noqa: S103  (it is the point)
    with pytest.raises(NsctlError, match="not yours alone"):
        store.images()


@given(st.binary(max_size=300))
def test_any_index_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    place = tmp_path_factory.mktemp("layout")
    (place / "index.json").write_bytes(raw)
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(NsctlError):
            Layout(fd, "it").image()
    finally:
        os.close(fd)
        (place / "index.json").unlink()
        place.rmdir()

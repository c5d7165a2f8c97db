"""What is in an OCI image layout, or an archive of one, and in what docker-save(1) wrote before.

A directory with ``oci-layout``, ``index.json`` and ``blobs/`` (OCI image specification,
image-layout.md), or with ``manifest.json`` and layers (docker-save(1) of Docker before 25). All of
it is somebody else's: every blob is hashed while it is read, every text has its size and depth
bounded, and every path stays below the directory.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, cast

from nsctl.errors import NsctlError, UsageError, translate
from nsctl.images.config import Config
from nsctl.images.stream import Decompressed, Hashed
from nsctl.images.tar import unpack
from nsctl.images.tree import Tree
from nsctl.kernel.mount import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from nsctl.model.record import NamedTuple

_TEXT_LIMIT = 4 << 20
_INDEX_DEPTH = 4
_LAYERS = 500
_DIGEST = re.compile(r"(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})")
_REF = "org.opencontainers.image.ref.name"
_NAMES = (_REF, "io.containerd.image.name")
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm", "i686": "386"}


class Layer(NamedTuple):
    """One layer.

    Attributes:
        path: of its blob, below the layout.
        digest: that the blob must have, "" where only that of the content is known.
        content: the digest that its content must have, decompressed.
    """

    path: str
    digest: str
    content: str


class Image(NamedTuple):
    """One image of a layout.

    Attributes:
        id: digest of its configuration.
        names: what the layout calls it.
        config: what it says of containers.
        layers: the lowest first.
    """

    id: str
    names: tuple[str, ...]
    config: Config
    layers: tuple[Layer, ...]


class Layout:
    """A layout.

    Args:
        directory: descriptor of it.
        what: what it is, for errors.
    """

    def __init__(self, directory: int, what: str) -> None:
        self._directory = directory
        self._what = what

    def is_one(self) -> bool:
        """Tell whether the directory is a layout at all."""
        return any(self._has(name) for name in ("index.json", "manifest.json"))

    def image(self, name: str = "") -> Image:
        """Find an image.

        Args:
            name: what the layout calls it; "" for the only one, or the one that fits this machine.

        Raises:
            UsageError: there is none of this name, or more than one.
            NsctlError: the layout is damaged.
        """
        found = self._oci() if self._has("index.json") else self._saved()
        images = [each for each in found if not name or name in _spellings(each.names)]
        if len({each.id for each in images}) != 1:
            known = sorted({word for each in found for word in each.names}) or ["without names"]
            some = "more than one image" if images else f"no image {name!r}"
            hint = f"it has: {', '.join(known)}" if found else "it holds no image for this machine"
            raise UsageError(f"{self._what} has {some}", hint)
        names = tuple(dict.fromkeys(word for each in images for word in each.names))
        return images[0]._replace(names=names)

    def unpack(self, image: Image, tree: Tree) -> None:
        """Write an image's root file system, layer over layer.

        Raises:
            NsctlError: a layer is damaged, or not what its digest says.
        """
        for layer in image.layers:
            with self._blob(layer.path) as file:
                algorithm = (layer.digest or layer.content).partition(":")[0]
                blob = Hashed(file, algorithm)
                with Decompressed(blob, layer.path) as plain:
                    content = Hashed(plain, layer.content.partition(":")[0])
                    unpack(content, tree, layer.path, is_layer=True)
                    content.drain()
                blob.drain()
            self._check(layer.path, layer.content, content.digest)
            if layer.digest:
                self._check(layer.path, layer.digest, blob.digest)

    # --- OCI -------------------------------------------------------------------------------------

    def _oci(self) -> list[Image]:
        manifests = list(self._manifests(self._json("index.json"), (), 0))
        return [self._of_manifest(names, digest) for names, digest in manifests]

    def _manifests(
        self, index: dict[str, Any], names: tuple[str, ...], depth: int
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        """All manifests for this machine, through indexes of indexes."""
        if depth > _INDEX_DEPTH:
            raise self._damaged("its indexes are nested too deeply")
        for entry in _list(index.get("manifests"))[:_LAYERS]:
            if not isinstance(entry, dict):
                raise self._damaged("an entry of its index is none")
            digest = self._digest(entry.get("digest"))
            notes = entry.get("annotations")
            told = notes if isinstance(notes, dict) else {}
            known = (*names, *(str(told[key]) for key in _NAMES if told.get(key)))
            if "index" in str(entry.get("mediaType")) or "manifest.list" in str(
                entry.get("mediaType")
            ):
                yield from self._manifests(self._text_of(digest), known, depth + 1)
            elif _fits(entry.get("platform")):
                yield tuple(dict.fromkeys(known)), digest

    def _of_manifest(self, names: tuple[str, ...], digest: str) -> Image:
        manifest = self._text_of(digest)
        config_digest = self._digest(_dict(manifest.get("config")).get("digest"))
        config = self._text_of(config_digest)
        layers = _list(manifest.get("layers"))
        blobs = [self._digest(_dict(layer).get("digest")) for layer in layers]
        return self._image(
            config_digest, names, config, [(_blob_path(blob), blob) for blob in blobs]
        )

    # --- docker-save(1) --------------------------------------------------------------------------

    def _saved(self) -> list[Image]:
        found = []
        entries = self._json_any("manifest.json")
        for entry in _list(entries)[:_LAYERS]:
            path = str(_dict(entry).get("Config"))
            with self._blob(path) as file:
                hashed = Hashed(file)
                raw = self._bounded(hashed, path)
            config = self._parsed(raw, path)
            names = tuple(str(name) for name in _list(_dict(entry).get("RepoTags")))
            layers = [(str(layer), "") for layer in _list(_dict(entry).get("Layers"))]
            found.append(self._image(hashed.digest, names, config, layers))
        return found

    # --- Both ------------------------------------------------------------------------------------

    def _image(
        self,
        identity: str,
        names: tuple[str, ...],
        config: dict[str, Any],
        blobs: list[tuple[str, str]],
    ) -> Image:
        contents = [
            self._digest(each) for each in _list(_dict(config.get("rootfs")).get("diff_ids"))
        ]
        if len(contents) != len(blobs) or not 0 < len(blobs) <= _LAYERS:
            raise self._damaged(f"it has {len(blobs)} layers and {len(contents)} digests of them")
        layers = tuple(
            Layer(path, digest, content)
            for (path, digest), content in zip(blobs, contents, strict=True)
        )
        return Image(identity, names, _config(config), layers)

    def _text_of(self, digest: str) -> dict[str, Any]:
        """Read a blob that is JSON, and check its digest."""
        path = _blob_path(digest)
        with self._blob(path) as file:
            hashed = Hashed(file, digest.partition(":")[0])
            raw = self._bounded(hashed, path)
        self._check(path, digest, hashed.digest)
        return self._parsed(raw, path)

    def _json(self, path: str) -> dict[str, Any]:
        return _dict(self._json_any(path))

    def _json_any(self, path: str) -> Any:  # noqa: ANN401  (JSON is any value)
        with self._blob(path) as file:
            return self._parsed_any(self._bounded(file, path), path)

    def _parsed(self, raw: bytes, path: str) -> dict[str, Any]:
        return _dict(self._parsed_any(raw, path))

    def _parsed_any(self, raw: bytes, path: str) -> Any:  # noqa: ANN401  (JSON is any value)
        try:
            return json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise self._damaged(f"{path} is no JSON: {error}") from error

    def _bounded(self, file: Hashed | BinaryIO, path: str) -> bytes:
        raw = b""
        while data := file.read(_TEXT_LIMIT):
            raw += data
            if len(raw) > _TEXT_LIMIT:
                raise self._damaged(f"{path} is larger than {_TEXT_LIMIT} bytes")
        return raw

    def _digest(self, text: object) -> str:
        if not isinstance(text, str) or not _DIGEST.fullmatch(text):
            raise self._damaged(f"{text!r} is no digest")
        return text

    def _check(self, path: str, wanted: str, found: str) -> None:
        if wanted != found:
            raise self._damaged(f"{path} is not what its digest says ({wanted}, it is {found})")

    def _damaged(self, cause: str) -> NsctlError:
        return NsctlError("read", self._what, cause)

    def _has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._directory)
        except OSError:
            return False
        return True

    @contextmanager
    def _blob(self, path: str) -> Iterator[BinaryIO]:
        """Open a file of the layout, which lies below its directory."""
        flags, resolve = os.O_RDONLY | os.O_NONBLOCK, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
        try:
            fd = openat2(self._directory, path, flags, resolve)
        except (OSError, ValueError) as error:
            told = error if isinstance(error, OSError) else OSError(22, str(error))
            raise translate(told, "open", f"{path} of {self._what}") from error
        with os.fdopen(fd, "rb") as file:
            yield cast("BinaryIO", file)


def _blob_path(digest: str) -> str:
    algorithm, _, digits = digest.partition(":")
    return f"blobs/{algorithm}/{digits}"


def _fits(platform: object) -> bool:
    """Whether an image is for this machine, or does not say for which it is."""
    if not isinstance(platform, dict):
        return True
    machine = os.uname().machine
    wanted = {machine, _ARCHITECTURES.get(machine, machine)}
    is_linux = platform.get("os") in {None, "", "linux"}
    return is_linux and platform.get("architecture") in {None, "", *wanted}


def _spellings(names: tuple[str, ...]) -> set[str]:
    """How an image's names may be written: with and without a registry."""
    return {word for name in names for word in (name, name.rpartition("/")[2])}


def _config(raw: dict[str, Any]) -> Config:
    config = _dict(raw.get("config"))
    pairs = (str(word).partition("=") for word in _list(config.get("Env")))
    entry = _list(config.get("Entrypoint"))
    argv = (*entry, *_list(config.get("Cmd")))
    labels = _dict(config.get("Labels"))
    return Config(
        argv=tuple(map(str, argv)),
        env=tuple((key, value) for key, equals, value in pairs if key and equals),
        cwd=str(config.get("WorkingDir") or ""),
        user=str(config.get("User") or ""),
        labels=tuple((str(key), str(value)) for key, value in labels.items()),
        created=str(raw.get("created") or ""),
        entry=len(entry),
    )


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _dict(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}

"""Where a container's root file system comes from: told by a prefix, or by looking.

A directory is used as it is; archives and image layouts are unpacked into the image store first,
and a name is looked up there. What an image says of its containers comes along.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator

from nsctl.errors import NsctlError, UnknownTarget, UsageError, translate
from nsctl.images.config import Config
from nsctl.model.record import NamedTuple
from nsctl.run.store import Store, default_store, locked, opened, states

TYPE_CHECKING = False
if TYPE_CHECKING:
    from nsctl.images.store import ImageStore
    from nsctl.images.store import Stored as Stored  # noqa: PLC0414  (for who lists images)

KINDS = ("dir", "tar", "oci", "oci-archive", "docker-archive", "bundle", "image")
"""Prefixes, each with a colon behind it, that say what a source is."""

_WITH_REF = frozenset({"oci", "oci-archive", "docker-archive"})
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Root(NamedTuple):
    """A root file system that is there.

    Attributes:
        path: its directory.
        config: what its image says of containers; empty for a plain directory.
        image: what it is called, for people; "" for its path.
        bundle: directory of the runtime bundle that it belongs to, "" for none.
    """

    path: str
    config: Config = Config()
    image: str = ""
    bundle: str = ""


def image_store(store: Store) -> ImageStore:
    """The images beside a store's containers."""
    # What it imports is much, and who runs a directory does without it.
    from nsctl.images.store import ImageStore

    return ImageStore(f"{store.storage}/images")


@contextlib.contextmanager
def roots_in_use(store: Store) -> Iterator[Callable[[str], bool]]:
    """Keep containers from being made while something is decided by what they use.

    Yields:
        Tells of a path whether a container has it for its root file system.
    """
    with opened(store) as containers:
        if containers < 0:
            yield lambda _: False
            return
        with locked(containers):
            used = {str(state.spec.get("rootfs", "")) for state in states(containers)}
            yield lambda path: path in used


def open_root(text: str, store: Store, stdin: int = 0) -> Root:
    """Find the root file system that was named, unpacking what has to be.

    Args:
        text: as typed: ``KIND:PATH[:REF]``, a path, "-" for an archive on standard input, or the
            name of an image in the store.
        store: whose image store it is.
        stdin: descriptor of standard input.

    Returns:
        The root.

    Raises:
        UsageError: there is no such thing, or it could be two.
        NsctlError: it cannot be read or unpacked.
    """
    kind, path = split(text)
    if kind == "image":
        return _stored(image_store(store).find(path))
    if kind == "bundle":
        return bundle_root(path)
    if kind == "dir":
        if not os.path.isdir(path):
            raise UsageError(f"the root file system {path} is not a directory")
        return Root(path)
    return _stored(import_source(text, store, stdin=stdin))


def split(text: str) -> tuple[str, str]:
    """Tell what kind of source a text names.

    Returns:
        One of `KINDS`, and the rest of the text.

    Raises:
        UsageError: it is nothing, or could be two things.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in KINDS:
        if not rest:
            raise UsageError(f"{text!r} names nothing", f"give {kind}:PATH")
        return kind, rest
    if text == "-":
        return "tar", text
    if os.path.isdir(text):
        kind = _looked_at(text)
    elif os.path.exists(text):
        kind = "oci-archive"
    elif "/" in text and text.startswith((".", "/")):
        raise UsageError(f"there is no root file system {text}: it is not a directory or a file")
    else:
        return "image", text
    if "/" not in text and _is_image(text):
        raise UsageError(
            f"{text} is both {'a directory' if kind != 'oci-archive' else 'a file'} here and the "
            "name of an image",
            f"say image:{text} or ./{text}",
        )
    return kind, text


def _looked_at(path: str) -> str:
    """What a directory is: a runtime bundle, an image layout, or a root file system."""
    if os.path.isfile(f"{path}/config.json") and not os.path.isdir(f"{path}/etc"):
        return "bundle"
    layout = os.path.isfile(f"{path}/oci-layout") or os.path.isfile(f"{path}/manifest.json")
    return "oci" if layout and not os.path.isdir(f"{path}/etc") else "dir"


def _is_image(name: str) -> bool:
    try:
        image_store(default_store()).find(name)
    except NsctlError:
        return False
    return True


def bundle_root(path: str) -> Root:
    """A runtime bundle's root.

    Raises:
        UsageError: there is no bundle.
    """
    from nsctl.run import bundle

    return Root(bundle.rootfs_of(path), bundle=path)


def import_source(text: str, store: Store, name: str = "", stdin: int = 0) -> Stored:
    """Unpack an archive or image layout into the image store.

    Args:
        text: as in `open_root`, but no directory to be used as it is.
        store: whose image store it is.
        name: what to call the image.
        stdin: descriptor of standard input, for "-".

    Returns:
        The image.

    Raises:
        UsageError: it is nothing that can be imported.
        NsctlError: it cannot be read or unpacked.
    """
    kind, path = split(text)
    if kind in {"image", "bundle", "dir"}:
        raise UsageError(
            f"{text} is no archive or image layout",
            "a directory with a root file system is run as it is: nsctl run DIRECTORY"
            if kind == "dir"
            else "",
        )
    with opened(store, create=True):
        pass  # makes the directories that the images lie in
    path, ref = _with_ref(path) if kind in _WITH_REF else (path, "")
    images = image_store(store)
    images.remove_unfinished()
    if path == "-":
        with os.fdopen(os.dup(stdin), "rb") as file:
            return images.import_archive(file, "standard input", ref, name)
    try:
        if kind == "oci" and not os.path.isfile(path):
            directory = os.open(path, _DIRECTORY)
            try:
                return images.import_layout(directory, path, ref, name)
            finally:
                os.close(directory)
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(fd, "rb") as file:
            mode = os.fstat(fd).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
                raise UsageError(f"{path} is no archive")
            os.set_blocking(fd, True)
            if kind == "tar":
                return images.import_tar(file, path, name)
            return images.import_archive(file, path, ref, name)
    except OSError as error:
        raise translate(error, "read", path) from error


def _with_ref(text: str) -> tuple[str, str]:
    """Split ``PATH[:REF]``; a path that exists as it stands has no reference."""
    if os.path.exists(text) or ":" not in text:
        return text, ""
    parts = text.split(":")
    for count in range(len(parts) - 1, 0, -1):
        path = ":".join(parts[:count])
        if os.path.exists(path):
            return path, ":".join(parts[count:])
    raise UnknownTarget("read", text, "there is no such file or directory")


def _stored(image: Stored) -> Root:
    return Root(image.root, image.config, (*image.names, image.id[:12])[0])

"""Images that were unpacked, by names: a directory of mode 0700 with one root file system each.

``ID/root`` is the root file system, ``ID/image.json`` what is known of it; ``names.json`` leads from
names to ids and is replaced whole. An image is unpacked below a name that is no id and gets its own
when it is complete, so that one who is killed leaves nothing that would be taken for an image.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import secrets
import stat
import time
from collections.abc import Callable, Iterator
from typing import Any

from nsctl.errors import AmbiguousTarget, NsctlError, UnknownTarget, UsageError, translate
from nsctl.images.config import Config
from nsctl.images.layout import Layout
from nsctl.images.stream import Decompressed, Hashed, Reader
from nsctl.images.tar import unpack
from nsctl.images.tree import Limits, Tree
from nsctl.kernel.remove import remove_at
from nsctl.model.record import NamedTuple

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_ID = re.compile(r"[0-9a-f]{64}")
_UNFINISHED = ".new-"
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9_.-]*(?:[/:@][a-zA-Z0-9][a-zA-Z0-9_.-]*)*")
_NAME_LIMIT = 255
_TEXT_LIMIT = 4 << 20
_VERSION = 1
_SHORTEST = 4


class Stored(NamedTuple):
    """An image of the store.

    Attributes:
        id: 64 hexadecimal digits: the digest of its configuration, or of the archive.
        names: what it is called here.
        root: path of its root file system.
        config: what it says of containers.
        source: where it came from, as it was named.
        imported: seconds since the epoch.
        size: bytes of all files.
        skipped: number of devices that were left out.
    """

    id: str
    names: tuple[str, ...]
    root: str
    config: Config
    source: str
    imported: float
    size: int
    skipped: int


class ImageStore:
    """The images of one user.

    Args:
        path: of the directory; it is made where it does not exist.
        limits: how much one image may become.
    """

    def __init__(self, path: str, limits: Limits = Limits()) -> None:  # noqa: B008  (frozen)
        self.path = path
        self._limits = limits

    # --- Looking ---------------------------------------------------------------------------------

    def images(self) -> list[Stored]:
        """List all images, by name and then by id.

        Raises:
            NsctlError: the store cannot be trusted or is damaged.
        """
        with self._opened(create=False) as fd:
            if fd < 0:
                return []
            names = self._names(fd)
            found = [self._read(fd, name, names) for name in os.listdir(fd) if _ID.fullmatch(name)]
        return sorted(found, key=lambda each: (each.names or ("\x7f",), each.id))

    def find(self, name: str) -> Stored:
        """Find one image.

        Args:
            name: its name, or its id or the beginning of it.

        Raises:
            UnknownTarget: there is none.
            AmbiguousTarget: more than one begins so.
        """
        images = self.images()
        for each in images:
            if name in each.names or f"{name}:latest" in each.names or name == each.id:
                return each
        begins = [each for each in images if len(name) >= _SHORTEST and each.id.startswith(name)]
        if len(begins) > 1:
            full = ", ".join(each.id[:12] for each in begins)
            raise AmbiguousTarget("choose", f"image {name}", f"it may be any of {full}")
        if not begins:
            known = ", ".join(word for each in images for word in each.names[:1])
            hint = f"there is {known}" if known else "`nsctl images import` makes one"
            raise UnknownTarget("find", f"image {name}", "nothing in the store has this name", hint)
        return begins[0]

    # --- Changing --------------------------------------------------------------------------------

    def import_tar(self, source: Reader, what: str, name: str = "") -> Stored:
        """Unpack a root file system from a tar archive, compressed or not.

        Args:
            source: the archive, from its beginning to its end.
            what: what it is, for errors.
            name: what to call the image; "" for nothing.

        Raises:
            NsctlError: it is damaged, or holds what cannot be; nothing is left of it then.
        """
        check_name(name)
        hashed = Hashed(source)

        def write(tree: Tree) -> tuple[str, Config]:
            with Decompressed(hashed, what) as plain:
                unpack(plain, tree, what, is_layer=False)
            hashed.drain()
            return hashed.digest.partition(":")[2], Config()

        return self._add(write, what, (name,) if name else ())

    def import_layout(self, directory: int, what: str, ref: str = "", name: str = "") -> Stored:
        """Unpack an image of an OCI image layout.

        Args:
            directory: descriptor of the layout.
            what: what it is, for errors.
            ref: which image of it, "" for the only one.
            name: what to call it; "" for what the layout calls it.

        Raises:
            UsageError: there is no such image in it.
            NsctlError: it is damaged, or holds what cannot be; nothing is left of it then.
        """
        check_name(name)
        layout = Layout(directory, what)
        image = layout.image(ref)
        names = (name,) if name else tuple(each for each in image.names if _is_name(each))

        def write(tree: Tree) -> tuple[str, Config]:
            layout.unpack(image, tree)
            return image.id.partition(":")[2][:64], image.config

        return self._add(write, what, names)

    def import_archive(self, source: Reader, what: str, ref: str = "", name: str = "") -> Stored:
        """Unpack an archive, whichever it is: of an OCI image layout, or a root file system.

        Args:
            source: the tar archive, compressed or not.
            what: what it is, for errors.
            ref: which image of a layout, "" for the only one.
            name: what to call the image; "" for what a layout calls it.

        Raises:
            NsctlError: as the others do.
        """
        check_name(name)
        with self._opened(create=True) as fd, self._unfinished(fd) as (place, directory):
            tree = Tree(directory, self._limits)
            hashed = Hashed(source)
            with Decompressed(hashed, what) as plain:
                unpack(plain, tree, what, is_layer=False)
            hashed.drain()
            if Layout(directory, what).is_one() and _is_layout(directory):
                return self.import_layout(directory, what, ref, name)
            if ref:
                raise UsageError(f"{what} is no image layout, and has no image {ref!r}")
            tree.finish()
            details = (hashed.digest.partition(":")[2], Config(), what, tree.skipped)
            return self._keep(fd, place, details, (name,) if name else ())

    def tag(self, image: str, name: str) -> None:
        """Give an image a name, which another may have had."""
        check_name(name)
        found = self.find(image)
        with self._opened(create=True) as fd, self._locked(fd):
            names = self._names(fd)
            names[name] = found.id
            self._write_names(fd, names)

    def remove(self, name: str, in_use: Callable[[str], bool]) -> str:
        """Take a name away, and the image with its last one.

        Args:
            name: a name, an id, or the beginning of one; by an id all names go.
            in_use: tells of a path whether a container has it for its root file system.

        Returns:
            The image's id, "" where another name of it stays.

        Raises:
            UnknownTarget: there is no such image.
            NsctlError: a container uses it.
        """
        found = self.find(name)
        with self._opened(create=True) as fd, self._locked(fd):
            names = self._names(fd)
            gone = {each for each in found.names if each in {name, f"{name}:latest"}}
            gone = gone or set(found.names)
            left = {word: identity for word, identity in names.items() if word not in gone}
            if found.id in left.values():
                self._write_names(fd, left)
                return ""
            if in_use(found.root):
                raise NsctlError("remove", f"image {name}", "a container uses it")
            self._write_names(fd, left)
            self._remove(fd, found.id)
        return found.id

    def prune(self, in_use: Callable[[str], bool]) -> list[str]:
        """Remove what has no name and is in no use, and what was left unfinished.

        Returns:
            Ids of the images that were removed.
        """
        removed = []
        with self._opened(create=False) as fd:
            if fd < 0:
                return []
            with self._locked(fd):
                named = set(self._names(fd).values())
                for name in sorted(os.listdir(fd)):
                    if name.startswith(_UNFINISHED) and not self._is_busy(fd, name):
                        self._remove(fd, name)
                    elif not _ID.fullmatch(name) or name in named:
                        continue
                    elif not in_use(f"{self.path}/{name}/root"):
                        self._remove(fd, name)
                        removed.append(name)
        return removed

    def remove_unfinished(self) -> None:
        """Remove what imports that were killed left behind."""
        with self._opened(create=False) as fd:
            if fd < 0:
                return
            for name in os.listdir(fd):
                if name.startswith(_UNFINISHED) and not self._is_busy(fd, name):
                    self._remove(fd, name)

    # --- The parts -------------------------------------------------------------------------------

    def _add(
        self, write: Callable[[Tree], tuple[str, Config]], what: str, names: tuple[str, ...]
    ) -> Stored:
        with self._opened(create=True) as fd, self._unfinished(fd) as (place, directory):
            tree = Tree(directory, self._limits)
            identity, config = write(tree)
            tree.finish()
            return self._keep(fd, place, (identity, config, what, tree.skipped), names)

    @contextlib.contextmanager
    def _unfinished(self, fd: int) -> Iterator[tuple[str, int]]:
        """Make a place for an image; whatever is still there at the end is removed."""
        place = f"{_UNFINISHED}{secrets.token_hex(8)}"
        try:
            os.mkdir(place, 0o700, dir_fd=fd)
            held = os.open(place, _DIRECTORY, dir_fd=fd)
        except OSError as error:
            raise translate(error, "make", f"a place in {self.path}") from error
        try:
            # Who holds the lock still works on it.
            fcntl.flock(held, fcntl.LOCK_EX)
            os.mkdir("root", 0o755, dir_fd=held)
            directory = os.open("root", _DIRECTORY, dir_fd=held)
            try:
                yield place, directory
            finally:
                os.close(directory)
        finally:
            with contextlib.suppress(FileNotFoundError):
                self._remove(fd, place)
            os.close(held)

    def _keep(
        self,
        fd: int,
        place: str,
        details: tuple[str, Config, str, list[str]],
        names: tuple[str, ...],
    ) -> Stored:
        """Make an image of what was unpacked, unless the store has it already."""
        identity, config, source, skipped = details
        known = {
            "version": _VERSION,
            "config": config._asdict(),
            "source": source,
            "imported": time.time(),
            "size": _size_of(fd, f"{place}/root"),
            "skipped": len(skipped),
        }
        _write_text(fd, f"{place}/image.json", known)
        with self._locked(fd):
            # Another may have been quicker; the content is the same then.
            try:
                os.rename(place, identity, src_dir_fd=fd, dst_dir_fd=fd)
            except OSError as error:
                if error.errno not in {errno.EEXIST, errno.ENOTEMPTY}:
                    raise translate(error, "keep", f"image {identity[:12]}") from error
            if names:
                table = self._names(fd)
                table.update(dict.fromkeys(names, identity))
                self._write_names(fd, table)
            return self._read(fd, identity, self._names(fd))

    def _read(self, fd: int, identity: str, names: dict[str, str]) -> Stored:
        what = f"image {identity[:12]} of {self.path}"
        known = _read_text(fd, f"{identity}/image.json", what)
        try:
            fields = dict(known["config"])
            config = Config(
                argv=tuple(map(str, fields["argv"])),
                env=tuple((str(key), str(value)) for key, value in fields["env"]),
                cwd=str(fields["cwd"]),
                user=str(fields["user"]),
                labels=tuple((str(key), str(value)) for key, value in fields["labels"]),
                created=str(fields["created"]),
                entry=int(fields.get("entry", 0)),
            )
            return Stored(
                id=identity,
                names=tuple(sorted(word for word, each in names.items() if each == identity)),
                root=f"{self.path}/{identity}/root",
                config=config,
                source=str(known["source"]),
                imported=float(known["imported"]),
                size=int(known["size"]),
                skipped=int(known["skipped"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise NsctlError("read", what, "it is damaged", "remove it: nsctl images rm") from error

    def _names(self, fd: int) -> dict[str, str]:
        try:
            table = _read_text(fd, "names.json", f"the names of {self.path}")
        except FileNotFoundError:
            return {}
        return {
            str(name): str(identity)
            for name, identity in table.items()
            if _ID.fullmatch(str(identity))
        }

    def _write_names(self, fd: int, names: dict[str, str]) -> None:
        _write_text(fd, "names.json", names)

    def _is_busy(self, fd: int, name: str) -> bool:
        try:
            held = os.open(name, _DIRECTORY, dir_fd=fd)
        except OSError:
            return False
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(held)
        return False

    def _remove(self, fd: int, name: str) -> None:
        try:
            remove_at(fd, name)
        except OSError as error:
            raise translate(error, "remove", f"{name} of {self.path}") from error

    @contextlib.contextmanager
    def _opened(self, *, create: bool) -> Iterator[int]:
        """Open the store; -1 where it does not exist."""
        try:
            if create:
                os.makedirs(self.path, 0o700, exist_ok=True)
            fd = os.open(self.path, _DIRECTORY)
        except FileNotFoundError:
            yield -1
            return
        except OSError as error:
            raise translate(error, "open", self.path) from error
        try:
            status = os.fstat(fd)
            if status.st_uid != os.geteuid() or stat.S_IMODE(status.st_mode) & 0o077:
                hint = f"chown and chmod 700 {self.path} if it is yours"
                raise NsctlError("trust", self.path, "it is not yours alone", hint)
            yield fd
        finally:
            os.close(fd)

    @contextlib.contextmanager
    def _locked(self, fd: int) -> Iterator[None]:
        # A descriptor of its own: the lock belongs to the open file.
        held = os.open(".", _DIRECTORY, dir_fd=fd)
        try:
            fcntl.flock(held, fcntl.LOCK_EX)
            yield
        finally:
            os.close(held)


def check_name(name: str) -> None:
    """Check what an image is to be called; "" is nothing, and good.

    Raises:
        UsageError: it could be mistaken for a path, an option or an id.
    """
    if name and not _is_name(name):
        raise UsageError(
            f"{name!r} is no name for an image",
            "use letters, digits, dots, dashes and underscores, in parts between slashes and colons",
        )


def _is_name(name: str) -> bool:
    return bool(_NAME.fullmatch(name)) and len(name) <= _NAME_LIMIT and not _ID.fullmatch(name)


def _is_layout(directory: int) -> bool:
    """Whether a root that was unpacked is a layout: one that has a /bin or /usr is not."""
    names = set(os.listdir(directory))
    return bool({"oci-layout", "manifest.json"} & names) and not {"bin", "usr", "etc"} & names


def _size_of(fd: int, path: str) -> int:
    """Bytes of all files below a directory, each counted once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    queue = [path]
    while queue:
        place = queue.pop()
        inner = os.open(place, _DIRECTORY, dir_fd=fd)
        try:
            with os.scandir(inner) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        queue.append(f"{place}/{entry.name}")
                        continue
                    status = entry.stat(follow_symlinks=False)
                    key = (status.st_dev, status.st_ino)
                    if status.st_nlink == 1 or key not in seen:
                        seen.add(key)
                        total += status.st_size
        finally:
            os.close(inner)
    return total


def _write_text(fd: int, path: str, value: object) -> None:
    """Replace a file whole."""
    temporary = f"{path}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=fd), "w") as file:
            json.dump(value, file)
        os.rename(temporary, path, src_dir_fd=fd, dst_dir_fd=fd)
    except OSError as error:
        raise translate(error, "write", path) from error


def _read_text(fd: int, path: str, what: str) -> dict[str, Any]:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, dir_fd=fd), "rb") as file:
        raw = file.read(_TEXT_LIMIT)
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise NsctlError("read", what, "it is damaged") from error
    if not isinstance(value, dict):
        raise NsctlError("read", what, "it is damaged")
    return value

"""What names of files and devices stand for: on this host, or where nobody can be asked."""

from __future__ import annotations

import os
import posixpath
from functools import lru_cache

from nsctl.kernel import blockdev


class HostNames:
    """Asks the host's own files and devices, as findmnt(8) does."""

    @staticmethod
    @lru_cache(maxsize=1024)
    def canonical(path: bytes) -> bytes:
        """The path without symbolic links, or as it is where it leads nowhere."""
        if not path:
            return path
        try:
            return os.path.realpath(path, strict=True)
        except OSError:
            return path

    @staticmethod
    def device(tag: bytes, value: bytes) -> bytes | None:
        """The device with a tag, None where there is none."""
        return blockdev.device_with(tag.decode("ascii"), value)

    @staticmethod
    def exists(path: bytes) -> bool:
        """Whether a path leads to something."""
        return os.path.exists(path)

    @staticmethod
    def absolute(path: bytes) -> bytes:
        """A relative path from the working directory."""
        return path if path.startswith(b"/") else os.path.join(os.getcwdb(), path)


class OtherNames:
    """Names of another mount namespace, whose links and devices are not looked at."""

    @staticmethod
    def canonical(path: bytes) -> bytes:
        """The path without "." and "..", as if it had no links."""
        return posixpath.normpath(b"/" + path.lstrip(b"/")) if path[:1] in {b"/", b"."} else path

    @staticmethod
    def device(tag: bytes, value: bytes) -> bytes | None:  # noqa: ARG004  (as HostNames has it)
        """No device is known there."""
        return None

    @staticmethod
    def exists(path: bytes) -> bool:  # noqa: ARG004  (as HostNames has it)
        """Every path may be there."""
        return True

    @staticmethod
    def absolute(path: bytes) -> bytes:
        """A relative path, from the root."""
        return b"/" + path.lstrip(b"/")

"""The exception tree, and the one place where foreign errors are translated into it.

::

    NsctlError                 exit status 1; operation, subject, cause, hint
    |- UsageError              2    the command line says something we cannot do
    |- TargetError             2    a TARGET that names nothing, or more than one thing
    |  |- UnknownTarget
    |  `- AmbiguousTarget
    |- Incomplete              3    only with --strict: something was not read
    |- Vanished                1    the process or namespace went away meanwhile
    |- KernelRefusal           1    a system call failed; carries errno
    `- ArchiveError            1    a saved snapshot that is damaged or of another version

Every error names what was being done (``operation``), to what (``subject``), why it failed
(``cause``) and, where there is one, what would help (``hint``). Only ``cli/`` prints them.
"""

from __future__ import annotations

import errno as _errno
import os

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INCOMPLETE = 3
EXIT_FINDINGS = 4
EXIT_REFUSED_BEFORE_START = 125
EXIT_NOT_EXECUTABLE = 126
EXIT_NOT_FOUND = 127


class Suppressed:
    """A ``with`` that passes over errors, as `contextlib.suppress`, whose import takes 2 ms.

    Args:
        errors: the types of exceptions that are no matter there.
    """

    def __init__(self, *errors: type[BaseException]) -> None:
        self._errors = errors

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        """Tell whether it was one of these."""
        return kind is not None and issubclass(kind, self._errors)


class NsctlError(Exception):
    """Base of everything that nsctl raises on purpose.

    Args:
        operation: what was being done, as an infinitive without "to" ("read", "enter").
        subject: what it was done to, as a person would name it.
        cause: why it failed, in words.
        hint: what the reader could do about it, or "".
    """

    exit_status = EXIT_FAILED

    def __init__(self, operation: str, subject: str, cause: str, hint: str = "") -> None:
        self.operation = operation
        self.subject = subject
        self.cause = cause
        self.hint = hint
        super().__init__(operation, subject, cause, hint)

    @property
    def sentence(self) -> str:
        """The whole in one clear sentence, without the hint."""
        what = f"{self.operation} {self.subject}".strip()
        return f"cannot {what}: {self.cause}" if what else self.cause

    def __str__(self) -> str:
        return self.sentence


class UsageError(NsctlError):
    """The command line asks for something that cannot be done."""

    exit_status = EXIT_USAGE

    def __init__(self, cause: str, hint: str = "") -> None:
        super().__init__("", "", cause, hint)

    def __reduce__(self) -> tuple[type[UsageError], tuple[str, str]]:
        return type(self), (self.cause, self.hint)  # errors are passed between processes


class TargetError(NsctlError):
    """A TARGET that cannot be resolved to one process or namespace."""

    exit_status = EXIT_USAGE


class UnknownTarget(TargetError):
    """Nothing has this name; the hint lists the nearest ones."""


class AmbiguousTarget(TargetError):
    """More than one thing has this name; the cause lists the full names."""


class Incomplete(NsctlError):
    """Raised with ``--strict`` when a view lacks something that was asked for."""

    exit_status = EXIT_INCOMPLETE


class Vanished(NsctlError):
    """The process or namespace went away while it was looked at."""


class KernelRefusal(NsctlError):
    """The kernel refused an operation.

    Args:
        operation: see `NsctlError`.
        subject: see `NsctlError`.
        cause: see `NsctlError`.
        hint: see `NsctlError`.
        errno: the error number, as in errno(3).
    """

    def __init__(
        self, operation: str, subject: str, cause: str, hint: str = "", *, errno: int = 0
    ) -> None:
        super().__init__(operation, subject, cause, hint)
        self.errno = errno


class ArchiveError(NsctlError):
    """A saved snapshot is damaged, or was written by a newer nsctl."""


_VANISHED = frozenset({_errno.ESRCH, _errno.ENOENT})
_REFUSED = frozenset({_errno.EPERM, _errno.EACCES})


def translate(error: OSError, operation: str, subject: str, hint: str = "") -> NsctlError:
    """Turn an operating system error into nsctl's own, in nsctl's own words.

    Args:
        error: what the system call raised.
        operation: what was being done ("read", "mount").
        subject: to what; hostile text must be escaped by whoever prints it.
        hint: what would help, or "".

    Returns:
        `Vanished` for ESRCH on anything, otherwise `KernelRefusal` carrying the errno. The
        caller raises it ``from error``.
    """
    number = error.errno or 0
    name = _errno.errorcode.get(number, f"error {number}")
    words = os.strerror(number) if number else str(error)
    cause = f"{words} ({name})"
    if number == _errno.ESRCH:
        return Vanished(operation, subject, cause, hint)
    return KernelRefusal(operation, subject, cause, hint, errno=number)


def vanished(error: OSError) -> bool:
    """Tell whether an error means that the object is gone, which is normal while looking.

    Returns:
        True for ESRCH and ENOENT.
    """
    return error.errno in _VANISHED


def refused(error: OSError) -> bool:
    """Tell whether an error is a refusal for lack of rights.

    Returns:
        True for EPERM and EACCES.
    """
    return error.errno in _REFUSED

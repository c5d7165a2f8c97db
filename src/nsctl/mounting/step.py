"""What every step can do, and how a list of them is shown."""

from __future__ import annotations

from collections.abc import Iterable

TYPE_CHECKING = False
if TYPE_CHECKING:  # `typing` takes 3 ms to import, and protocols have nothing to do at run time
    from typing import Protocol, TypeVar

    ContextT_contra = TypeVar("ContextT_contra", contravariant=True)

    class Step(Protocol[ContextT_contra]):
        """One piece of work, as a value."""

        def describe(self) -> str:
            """The work in one line, as an imperative."""
            ...

        def command(self) -> str:
            """A shell command that does much the same, "" where there is none."""
            ...

        def execute(self, context: ContextT_contra) -> None:
            """Do it.

            Raises:
                NsctlError: it could not be done.
            """
            ...

    class Describable(Protocol):
        """The part of a step that a dry run needs."""

        def describe(self) -> str:
            """The work in one line, as an imperative."""
            ...

        def command(self) -> str:
            """A shell command that does much the same, "" where there is none."""
            ...


def describe_all(steps: Iterable[Describable]) -> list[str]:
    """Show steps without running them.

    Returns:
        One text a step: the sentence, and after a newline and four blanks the command, where
        there is one.
    """
    texts = []
    for step in steps:
        command = step.command()
        texts.append(f"{step.describe()}\n    {command}" if command else step.describe())
    return texts

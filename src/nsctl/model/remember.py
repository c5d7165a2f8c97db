"""What is worked out once: as the caches of `functools`, without what its import costs a list.

That module brings `collections` and more along, 2 ms that nothing else of a list of namespaces needs.
"""

from __future__ import annotations

__all__ = ["once", "remembered"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from functools import cached_property as once
    from typing import TypeVar

    _Key = TypeVar("_Key")
    _Value = TypeVar("_Value")
else:

    class once:  # noqa: N801  (a decorator)
        """A property that is worked out when it is first asked for, once for each object."""

        def __init__(self, work: Callable[[object], object]) -> None:
            self._work = work
            self.__doc__ = work.__doc__

        def __get__(self, owner: object, kind: type | None = None) -> object:
            """Work it out, and put it where it is found before this."""
            if owner is None:
                return self
            value = vars(owner)[self._work.__name__] = self._work(owner)
            return value


def remembered(most: int) -> Callable[[Callable[[_Key], _Value]], Callable[[_Key], _Value]]:
    """Make a function of one argument remember what it gave.

    Args:
        most: so many answers; then all are forgotten, since a hostile writer may ask for ever.
    """

    def wrap(work: Callable[[_Key], _Value]) -> Callable[[_Key], _Value]:
        known: dict[_Key, _Value] = {}

        def ask(key: _Key) -> _Value:
            try:
                return known[key]
            except KeyError:
                if len(known) >= most:
                    known.clear()
                value = known[key] = work(key)
                return value

        ask.__doc__ = work.__doc__
        return ask

    return wrap

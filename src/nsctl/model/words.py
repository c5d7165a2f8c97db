"""The base of sets of words, such as the eight types of namespaces: `enum.StrEnum`, but quick.

To a type checker it is that class. At run time `enum` with all that it imports takes 4 ms, a third
of what the smallest command may take; here a member is a text of a class of its own, and no more.
"""

from __future__ import annotations

__all__ = ["StrEnum"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from enum import StrEnum
else:

    class _Meta(type):
        """Makes members of the texts in a class's body; the class gives them in their order."""

        def __new__(
            cls, name: str, bases: tuple[type, ...], body: dict[str, object]
        ) -> type[StrEnum]:
            if not bases:
                return super().__new__(cls, name, (str,), body)
            words = {key: word for key, word in body.items() if key.isupper()}
            made = super().__new__(cls, name, bases, {**body, "__slots__": ()})
            made._members = {word: str.__new__(made, word) for word in words.values()}
            if len(made._members) < len(words):
                raise TypeError(f"{name}: two members are one word")
            for key, word in words.items():
                setattr(made, key, made._members[word])
            return made

        def __call__(cls, word: object) -> StrEnum:
            """Give the member that is a word."""
            try:
                return cls._members[word]
            except (KeyError, TypeError):
                raise ValueError(f"{word!r} is not a valid {cls.__name__}") from None

        def __iter__(cls) -> object:
            return iter(cls._members.values())

        def __len__(cls) -> int:
            return len(cls._members)

        def __contains__(cls, word: object) -> bool:
            return word in cls._members

    class StrEnum(metaclass=_Meta):
        """Texts of which there is one each, so that `is` compares them."""

        __slots__ = ()
        _members = {}  # noqa: RUF012  (never written to)

        @property
        def value(self) -> str:
            """The word as a plain text."""
            return str(self)

        @property
        def name(self) -> str:
            """What the class calls it."""
            found = vars(type(self)).items()
            return next(key for key, each in found if each is self)

        def __repr__(self) -> str:
            return f"<{type(self).__name__}.{self.name}: {self.value!r}>"

        def __reduce__(self) -> tuple[object, ...]:
            return type(self), (str(self),)

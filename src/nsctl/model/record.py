"""The base of frozen rows: `typing.NamedTuple`, without what that costs at start-up.

To a type checker it is that class. At run time `typing` takes 3 ms to import, more than the smallest
command may spend on all of nsctl, and a tenth of a millisecond for each class, because it makes an
object of every annotation and compiles every constructor; here a constructor is compiled when its
class has been called a few times.
"""

from __future__ import annotations

__all__ = ["NamedTuple"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NamedTuple
else:
    from _collections import _tuplegetter
    from sys import intern

    # Compiling takes as long as some forty calls of the other kind.
    _FEW = 32

    class _Meta(type):
        """Makes a class of named fields out of a body with annotations."""

        def __new__(
            cls, name: str, bases: tuple[type, ...], body: dict[str, object]
        ) -> type[NamedTuple]:
            if not bases:
                return super().__new__(cls, name, (tuple,), body)
            if bases != (NamedTuple,):
                raise TypeError(f"{name}: a row inherits from NamedTuple alone")
            fields = tuple(map(intern, body.get("__annotations__", ())))
            defaults = {field: body.pop(field) for field in fields if field in body}
            if fields[len(fields) - len(defaults) :] != tuple(defaults):
                raise TypeError(f"{name}: a field without a default follows one with a default")
            for index, field in enumerate(fields):
                if field.startswith("_"):
                    raise TypeError(f"{name}: the name of field {field} begins with _")
                body[field] = _tuplegetter(index, field)
            body |= {
                "__slots__": (),
                "__match_args__": fields,
                "_fields": fields,
                "_field_defaults": defaults,
            }
            return super().__new__(cls, name, bases, body)

    class NamedTuple(metaclass=_Meta):
        """A tuple whose items have names, with the methods of `collections.namedtuple`."""

        __slots__ = ()
        _fields = ()
        _field_defaults = {}  # noqa: RUF012  (never written to)

        _calls = 0

        def __new__(cls, *values: object, **named: object) -> NamedTuple:  # noqa: PYI034  (Self is of typing)
            """Make a row, until that has been done so often that a compiled constructor pays."""
            cls._calls += 1
            if cls._calls > _FEW:
                return cls._compile()(cls, *values, **named)
            fields, known = cls._fields, cls._field_defaults | named
            try:
                rest = [known[field] for field in fields[len(values) :]]
            except KeyError:
                rest = []
            # What is wrong with a call is told by the real one.
            is_whole = len(values) + len(rest) == len(fields)
            if not is_whole or (named and not named.keys() <= set(fields[len(values) :])):
                return cls._compile()(cls, *values, **named)
            return tuple.__new__(cls, (*values, *rest))

        @classmethod
        def _compile(cls) -> Callable[..., NamedTuple]:
            """Compile the class's own constructor, which takes the place of the one above."""
            names = ", ".join(cls._fields)
            # As collections.namedtuple does it. Names of fields are identifiers of our own source.
            code = f"lambda _class, {names}: _new(_class, ({names}{',' if names else ''}))"
            scope = {"_new": tuple.__new__, "__builtins__": {}, "__name__": cls.__module__}
            new = eval(code, scope)  # noqa: S307  (see above)
            new.__name__, new.__qualname__ = "__new__", f"{cls.__qualname__}.__new__"
            new.__defaults__ = tuple(cls._field_defaults.values())
            cls.__new__ = staticmethod(new)
            return new

        @classmethod
        def _make(cls, values: object) -> NamedTuple:
            made = tuple.__new__(cls, values)
            if len(made) != len(cls._fields):
                raise TypeError(f"expected {len(cls._fields)} values, got {len(made)}")
            return made

        def _replace(self, **changes: object) -> NamedTuple:
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise TypeError(f"no such fields: {', '.join(changes)}")
            return made

        def _asdict(self) -> dict[str, object]:
            return dict(zip(self._fields, self, strict=True))

        def __repr__(self) -> str:
            pairs = [f"{key}={value!r}" for key, value in zip(self._fields, self, strict=True)]
            return f"{type(self).__name__}({', '.join(pairs)})"

        def __getnewargs__(self) -> tuple[object, ...]:
            return tuple(self)

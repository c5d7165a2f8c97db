"""Filter expressions that choose rows by their columns, as scols-filter(5) describes them.

What the manual leaves open is as the parser of util-linux 2.42 has it: AND and OR bind alike, from
left to right; comparisons bind tighter, and NOT tightest, so that ``NOT A == B`` compares NOT A
with B. There are no negative numbers. Two things differ: a column whose text is no number does not
match a number (the original ends there), and what is empty stays empty whatever it is compared
with.

Nothing here recurses: an expression may be nested as deep as its author likes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Literal, NamedTuple

from nsctl.errors import UsageError
from nsctl.report.ere import compile_ere

Kind = Literal["string", "integer", "float", "boolean"]
"""What a column or a value is."""

Value = str | int | float | None
"""What a row has in a column, of the column's kind (a bool for "boolean"); None for nothing."""

_MAX_INTEGER = (1 << 64) - 1
_SPACE = " \t\n\v\f\r"
_TOKEN = re.compile(
    r"""[ \t\n]*(?:
    (?P<float>[0-9]+\.[0-9]+)
    |(?P<integer>[0-9]+(?:[KMGTPEZY](?:iB)?)?)
    |(?P<word>[a-zA-Z][a-zA-Z_.%:/\-0-9]*)
    |(?P<string>"[^"\n]*"|'[^'\n]*')
    |(?P<sign>&&|\|\||==|!=|<=|>=|=~|!~|[!<>()])
    )""",
    re.VERBOSE,
)
_WORDS = {
    word: sign
    for names, sign in (
        (("and", "AND"), "&&"),
        (("or", "OR"), "||"),
        (("not", "NOT"), "!"),
        (("eq", "EQ"), "=="),
        (("ne", "NE"), "!="),
        (("le", "LE"), "<="),
        (("lt", "LT"), "<"),
        (("ge", "GE"), ">="),
        (("gt", "GT"), ">"),
    )
    for word in names
}
_BOOLEANS = {"true": True, "TRUE": True, "false": False, "FALSE": False}
_COMPARE: dict[str, Callable[[str | float, str | float], bool]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]  # both are of one kind
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
}
_MATCH = {"=~", "!~"}
_BINDS = {"(": 0, "&&": 1, "||": 1, **dict.fromkeys([*_COMPARE, *_MATCH], 2), "!": 3}


class _Token(NamedTuple):
    """One word of an expression.

    Attributes:
        kind: a name of `_TOKEN`'s groups; "sign" also for a word that stands for one.
        text: as written, or the sign it stands for.
        position: of its first character, counted from 1.
    """

    kind: str
    text: str
    position: int


class _Operand(NamedTuple):
    """What is known of an operand before there is a row.

    Attributes:
        kind: what it is.
        literal: its value, None where only a row tells.
        position: of its first character.
        column: it is a column, not a literal or an expression.
    """

    kind: Kind
    literal: Value
    position: int
    column: bool = False


_Step = Callable[[list[Value], Callable[[str], Value]], None]
"""Takes operands from the stack and puts a result on it; the function fetches a column."""


class Filter(NamedTuple):
    """A parsed expression.

    Attributes:
        columns: names of the columns that it reads, upper case, each once.
        steps: what is done to a stack, in order.
    """

    columns: tuple[str, ...]
    steps: tuple[_Step, ...]

    def matches(self, fetch: Callable[[str], Value]) -> bool:
        """Tell whether a row is wanted.

        Args:
            fetch: gives what the row has in a column, by its upper-case name.
        """
        if not self.steps:
            return True
        stack: list[Value] = []
        for step in self.steps:
            step(stack, fetch)
        return bool(stack.pop())


def parse(text: str, kinds: Mapping[str, Kind]) -> Filter:
    """Parse a filter expression.

    Args:
        text: see scols-filter(5); "" chooses all rows.
        kinds: of each column that may be named, by its upper-case name.

    Returns:
        The filter.

    Raises:
        UsageError: it is none, or names an unknown column; the sentence says where.
    """
    if not text:
        return Filter((), ())
    parser = _Parser(kinds)
    for token in _tokens(text):
        parser.take(token)
    return parser.finish(len(text) + 1)


def _error(position: int, message: str) -> UsageError:
    return UsageError(f"filter, character {position}: {message}", "see scols-filter(5)")


def _tokens(text: str) -> list[_Token]:
    tokens = []
    position = 0
    end = len(text.rstrip(" \t\n"))
    while position < end:
        found = _TOKEN.match(text, position)
        if found is None:
            at = len(text) - len(text[position:].lstrip(" \t\n"))
            what = "a string without an end" if text[at] in "\"'" else f"unexpected {text[at]!r}"
            raise _error(at + 1, what)
        kind = str(found.lastgroup)
        word, at = found[kind], found.start(kind) + 1
        if word in _WORDS:
            kind, word = "sign", _WORDS[word]
        tokens.append(_Token(kind, word, at))
        position = found.end()
    return tokens


class _Parser:
    """Brings an expression into the order in which a stack works it off."""

    def __init__(self, kinds: Mapping[str, Kind]) -> None:
        self._kinds = kinds
        self._columns: dict[str, None] = {}
        self._steps: list[_Step] = []
        self._operands: list[_Operand] = []
        self._signs: list[_Token] = []
        self._wanted = True  # an operand must follow

    def take(self, token: _Token) -> None:
        """Take the next token."""
        if token.kind != "sign":
            if not self._wanted:
                raise _error(token.position, f"an operator is missing before {token.text}")
            self._operand(token)
            self._wanted = False
        elif token.text in {"(", "!"}:
            if not self._wanted:
                raise _error(token.position, f"an operator is missing before {token.text}")
            self._signs.append(token)
        elif self._wanted:
            raise _error(token.position, f"a column or a value is missing before {token.text}")
        elif token.text == ")":
            self._reduce(1)
            if not self._signs:
                raise _error(token.position, ") without a (")
            self._signs.pop()
        else:
            self._reduce(_BINDS[token.text])
            self._signs.append(token)
            self._wanted = True

    def finish(self, end: int) -> Filter:
        """Be told that nothing follows, at the position ``end``."""
        if self._wanted:
            raise _error(end, "a column or a value is missing at its end")
        self._reduce(1)
        if self._signs:
            raise _error(self._signs[-1].position, "( without a )")
        return Filter(tuple(self._columns), tuple(self._steps))

    def _operand(self, token: _Token) -> None:
        if token.kind == "word" and token.text not in _BOOLEANS:
            name = token.text.upper()
            if name not in self._kinds:
                raise _error(token.position, f"unknown column: {token.text}")
            self._columns[name] = None
            self._operands.append(_Operand(self._kinds[name], None, token.position, column=True))
            self._steps.append(lambda stack, fetch: stack.append(_trimmed(fetch(name))))
            return
        kind, value = _literal(token)
        self._operands.append(_Operand(kind, value, token.position))
        self._steps.append(lambda stack, _: stack.append(value))

    def _reduce(self, binds: int) -> None:
        """Work off the signs that bind at least so tight, back to the last parenthesis."""
        while self._signs and _BINDS[self._signs[-1].text] >= binds:
            sign = self._signs.pop()
            right = self._operands.pop()
            left = right if sign.text == "!" else self._operands.pop()
            self._steps.append(_step(sign, left, right))
            self._operands.append(_Operand("boolean", None, left.position))


def _literal(token: _Token) -> tuple[Kind, Value]:
    if token.kind == "word":
        return "boolean", _BOOLEANS[token.text]
    if token.kind == "string":
        return "string", token.text[1:-1].strip(_SPACE)
    if token.kind == "float":
        return "float", float(token.text)
    digits = token.text.removesuffix("iB").rstrip("KMGTPEZY")
    suffix = token.text[len(digits) : len(digits) + 1]
    # The first 21 digits tell that it is too large; int() takes its time for very long ones.
    number = int((digits.lstrip("0") or "0")[:21])
    if suffix:
        number <<= 10 * ("KMGTPEZY".index(suffix) + 1)
        if number > _MAX_INTEGER:
            raise _error(token.position, f"{token.text} is more than {_MAX_INTEGER}")
    return "integer", min(number, _MAX_INTEGER)


def _step(sign: _Token, left: _Operand, right: _Operand) -> _Step:
    """Make the step that applies an operator."""
    if sign.text == "!":
        return lambda stack, _: stack.append(not bool(stack.pop()))
    if sign.text in {"&&", "||"}:
        every = sign.text == "&&"

        def join(stack: list[Value], _: object) -> None:
            b, a = bool(stack.pop()), bool(stack.pop())
            stack.append((a and b) if every else (a or b))

        return join
    if sign.text in _MATCH:
        return _match(sign, right)
    kind = _compared_as(left, right)
    for operand in (left, right):
        if operand.literal is not None and cast(operand.literal, kind) is None:
            raise _error(operand.position, f"{operand.literal!r} is no number")
    operation = _COMPARE[sign.text]

    def compare(stack: list[Value], _: object) -> None:
        b, a = cast(stack.pop(), kind), cast(stack.pop(), kind)
        if a is not None and b is not None:
            stack.append(operation(a, b))
        elif kind == "string":  # nothing comes before any text
            stack.append(operation(a is not None, b is not None))
        else:
            stack.append(False)

    return compare


def _match(sign: _Token, right: _Operand) -> _Step:
    if right.kind != "string" or right.literal is None:
        raise _error(right.position, f"behind {sign.text} a string is needed")
    try:
        search = compile_ere(str(right.literal)).search
    except ValueError as error:
        raise _error(right.position, f"not a regular expression: {error}") from None
    wanted = sign.text == "=~"

    def match(stack: list[Value], _: object) -> None:
        stack.pop()  # the pattern
        text = cast(stack.pop(), "string")
        stack.append((search("" if text is None else str(text)) is not None) == wanted)

    return match


def _compared_as(left: _Operand, right: _Operand) -> Kind:
    """Of which kind both sides are when they are compared: a literal counts more than a column."""
    kind = right.kind if left.column and not right.column else left.kind
    if kind == "integer" and "float" in {left.kind, right.kind}:
        return "float"
    return kind


def cast(value: Value, kind: Kind) -> Value:
    """Bring a value to a kind.

    Args:
        value: any.
        kind: what it shall be.

    Returns:
        The value; None where it is empty, or text that is no such number.
    """
    if value is None:
        return None
    if kind == "string":
        if isinstance(value, bool):
            return "true" if value else "false"
        return format(value, "g") if isinstance(value, float) else str(value)
    if kind == "boolean":
        if isinstance(value, str):
            return value.lower() in {"1", "true"} or value[:1] in {"y", "Y"}
        return value > 0
    if isinstance(value, str):
        return _number(value, kind)
    return float(value) if kind == "float" else int(value)


def _number(text: str, kind: Kind) -> Value:
    if kind == "float":
        plain = re.fullmatch(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", text)
        return float(text) if plain else None
    digits = text.removeprefix("+")
    if not (digits.isascii() and digits.isdecimal()):
        return None
    number = int((digits.lstrip("0") or "0")[:21])
    return number if number <= _MAX_INTEGER else None


def _trimmed(value: Value) -> Value:
    return value.strip(_SPACE) if isinstance(value, str) else value

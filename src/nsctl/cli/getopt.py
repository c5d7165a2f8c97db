"""Option parsing with the rules of getopt_long(3), for commands that serve util-linux's scripts.

Short options cluster; an optional argument counts only when attached; long options may be
abbreviated where that is unambiguous; ``--`` ends options. Words that are no options are
permuted behind them, or end them (``stop_at_operand``), as the original does.
"""

from __future__ import annotations

from nsctl.errors import UsageError
from nsctl.model.record import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Literal

    Argument = Literal["no", "required", "optional"]
else:
    Argument = str


class Option(NamedTuple):
    """One option.

    Attributes:
        name: what the program calls it; also the long option, without dashes.
        short: the letter, "" where there is none.
        argument: "no", "required" or "optional".
        value: what its argument is called in the help, "" for none.
        help: one line.
        is_letter_bare: the letter takes no argument, whatever the long option does.
    """

    name: str
    short: str
    argument: Argument
    value: str
    help: str
    is_letter_bare: bool = False


class Parsed(NamedTuple):
    """What was given.

    Attributes:
        given: name and argument of each option, in order; None where it had no argument.
        operands: the other words.
    """

    given: tuple[tuple[str, str | None], ...]
    operands: tuple[str, ...]

    def has(self, name: str) -> bool:
        """Tell whether an option was given."""
        return any(given == name for given, _ in self.given)

    def last(self, name: str) -> str | None:
        """The last argument of an option, None where it was not given or had none."""
        for given, argument in reversed(self.given):
            if given == name:
                return argument
        return None

    def all(self, name: str) -> list[str]:
        """Every argument of an option, in order."""
        return [
            argument for given, argument in self.given if given == name and argument is not None
        ]


def parse(
    options: Iterable[Option], words: Sequence[str], *, stop_at_operand: bool = False
) -> Parsed:
    """Parse the words of a command line.

    Args:
        options: what is known.
        words: everything behind the program's name.
        stop_at_operand: the first word that is no option ends options.

    Returns:
        Options and operands.

    Raises:
        UsageError: an unknown or ambiguous option, or an argument too many or too few.
    """
    known = list(options)
    given: list[tuple[str, str | None]] = []
    operands: list[str] = []
    queue = list(words)
    while queue:
        word = queue.pop(0)
        if word == "--":
            operands += queue
            break
        if word.startswith("--"):
            given.append(_long(known, word[2:], queue))
        elif word.startswith("-") and word != "-":
            given.extend(_cluster(known, word[1:], queue))
        else:
            operands.append(word)
            if stop_at_operand:
                operands += queue
                break
    return Parsed(tuple(given), tuple(operands))


def _long(known: list[Option], text: str, queue: list[str]) -> tuple[str, str | None]:
    name, equals, argument = text.partition("=")
    exact = [option for option in known if option.name == name]
    matches = exact or [option for option in known if option.name.startswith(name)]
    if not matches:
        raise UsageError(f"unrecognized option '--{name}'")
    if len(matches) > 1:
        possibilities = " ".join(f"'--{option.name}'" for option in matches)
        raise UsageError(f"option '--{name}' is ambiguous; possibilities: {possibilities}")
    option = matches[0]
    if equals:
        if option.argument == "no":
            raise UsageError(f"option '--{option.name}' doesn't allow an argument")
        return option.name, argument
    if option.argument == "required":
        if not queue:
            raise UsageError(f"option '--{option.name}' requires an argument")
        return option.name, queue.pop(0)
    return option.name, None


def _cluster(
    known: list[Option], letters: str, queue: list[str]
) -> Iterable[tuple[str, str | None]]:
    by_letter = {option.short: option for option in known if option.short}
    while letters:
        letter, letters = letters[0], letters[1:]
        option = by_letter.get(letter)
        if option is None:
            raise UsageError(f"invalid option -- '{letter}'")
        if option.argument == "no" or option.is_letter_bare:
            yield option.name, None
            continue
        if letters:
            yield option.name, letters
        elif option.argument == "optional":
            yield option.name, None
        elif queue:
            yield option.name, queue.pop(0)
        else:
            raise UsageError(f"option requires an argument -- '{letter}'")
        return


def describe(options: Iterable[Option]) -> list[str]:
    """Lines of help, one an option, in columns."""
    rows = []
    for option in options:
        short = f"-{option.short}," if option.short else "   "
        value = f" <{option.value}>" if option.argument == "required" else ""
        value = f"[=<{option.value}>]" if option.argument == "optional" else value
        rows.append((f" {short} --{option.name}{value}", option.help))
    width = max((len(left) for left, _ in rows), default=0)
    return [f"{left.ljust(width)}  {help_}" for left, help_ in rows]

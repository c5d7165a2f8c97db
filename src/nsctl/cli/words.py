"""What can stand at one place of a command line: the answer to a shell that completes words.

A command is asked for its options, never run. Containers are looked up only where a word can name
one. What a shell could take for more than a word (blanks, quotes, control characters, a leading
dash) is left out of the answer: the names are chosen by whoever runs the containers.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from nsctl.cli.commands import COMMANDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from nsctl.cli.getopt import Option
    from nsctl.model.container import Container

FILES = ":files"
DIRECTORIES = ":directories"
NO_BLANK = ":nospace"

_HARMLESS = re.compile(r"[A-Za-z0-9_@+./-][A-Za-z0-9_@+.,:/=-]*")
# As much of an id as engines print.
_SHORT_ID = 12
_HEX = re.compile(r"[0-9a-f]{2,64}")
# By what an argument or operand is called.
_FIXED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("FILE", "A", "B", "CMD"), (FILES,)),
    **dict.fromkeys(("DIR", "ROOTFS"), (DIRECTORIES,)),
    "WHEN": ("auto", "always", "never"),
    "ACTIONS": ("mount", "umount", "move", "remount"),
    "DIRECTION": ("forward", "backward"),
    "METHOD": ("mountinfo", "listmount"),
    "TABLE": ("all", "main", "local"),
    "REL": ("parent", "owner", "process"),
    "WHOSE": ("target", "caller"),
    "FROM": ("kernel", "declared", "none"),
}


class Candidate(NamedTuple):
    """One word that could be meant.

    Attributes:
        word: the whole word; or `FILES` or `DIRECTORIES`, for what the shell knows better, or
            `NO_BLANK`, where more of the same word can follow.
        help: what it is, in a few words; "" where the word says it.
    """

    word: str
    help: str = ""


class _Flag(NamedTuple):
    """One option of a command, whatever parses it.

    Attributes:
        names: as typed, dashes included.
        argument: as in `nsctl.cli.getopt.Option`.
        value: what its argument is called, in capitals.
        choices: its argument is one of these, where it is one of a few.
        help: one line.
    """

    names: tuple[str, ...]
    argument: Literal["no", "required", "optional"]
    value: str
    choices: tuple[str, ...]
    help: str


class _Grammar(NamedTuple):
    """What a command takes.

    Attributes:
        flags: its options.
        operands: what the others of its words are called; the last stands for all that follow.
        choices: those of the first operand, where it is one of a few.
    """

    flags: tuple[_Flag, ...]
    operands: tuple[str, ...]
    choices: tuple[str, ...] = ()


class _Place(NamedTuple):
    """Where the word stands that is to be completed.

    Attributes:
        flag: the option whose argument it is, None for an operand.
        operands: how many operands stand before it.
        ended: it is no option, whatever it looks like.
        source: the arguments of --from and --host-proc that stand before it.
    """

    flag: _Flag | None
    operands: int
    ended: bool
    source: dict[str, str]


def complete(before: Sequence[str], word: str) -> list[Candidate]:
    """Find what a word can become.

    Args:
        before: the words before it, without the program's name.
        word: what there is of it, perhaps nothing.

    Returns:
        Words that begin with it; each is harmless in a shell as it is.

    Raises:
        NsctlError: the words before it cannot be made sense of, or the host cannot be read.
    """
    rest = list(before)
    while rest and rest[0] == "--debug":
        del rest[0]
    if rest and not rest[0].startswith("-"):
        found = _of_command(_grammar(rest[0]), rest[1:], word) if rest[0] in COMMANDS else iter(())
    elif rest or word.startswith("-"):
        found = _of_command(_grammar(""), rest, word)
    else:
        found = (Candidate(name, command.help) for name, command in COMMANDS.items())
    return [
        each
        for each in dict.fromkeys(found)
        if each.word in {FILES, DIRECTORIES, NO_BLANK}
        or (
            each.word.startswith(word)
            and _HARMLESS.fullmatch(each.word)
            # Nobody names a container so that it is taken for an option.
            and (word or not each.word.startswith("-"))
        )
    ]


def _grammar(command: str) -> _Grammar:
    """Ask a command's module what the command takes, "" for nsctl without a command."""
    module = importlib.import_module(COMMANDS[command or "matrix"].module)
    if hasattr(module, "OPTIONS"):
        return _Grammar(tuple(_of_getopt(module.OPTIONS)), module.OPERANDS)
    actions = (module.arguments() if command else module.arguments(""))._actions  # noqa: SLF001  (argparse has no public list)
    operands = [action for action in actions if not action.option_strings]
    flags = [_of_argparse(action) for action in actions if action.option_strings]
    names = [str(action.metavar or action.dest).upper() for action in operands]
    # An operand that cannot be given again is followed by none.
    if operands and operands[-1].nargs != "+":
        names.append("")
    choices = tuple(map(str, operands[0].choices or ())) if operands else ()
    return _Grammar(tuple(flags), tuple(names), choices)


def _of_getopt(options: Iterable[Option]) -> Iterator[_Flag]:
    for option in options:
        names = (*([f"-{option.short}"] if option.short else []), f"--{option.name}")
        value = "TYPE" if option.name == "type" else option.value.upper()
        yield _Flag(names, option.argument, value, (), option.help)


def _of_argparse(action: argparse.Action) -> _Flag:
    return _Flag(
        tuple(action.option_strings),
        "no" if action.nargs == 0 else "required",
        str(action.metavar or action.dest).upper(),
        tuple(map(str, action.choices or ())),
        action.help or "",
    )


def _of_command(grammar: _Grammar, before: list[str], word: str) -> Iterator[Candidate]:
    place = _place(grammar, before)
    if place.flag is not None:
        yield from _values(place.flag.value, place.flag.choices, word, place.source)
    elif place.ended or word == "" or not word.startswith("-"):
        if grammar.operands:
            name = grammar.operands[min(place.operands, len(grammar.operands) - 1)]
            choices = grammar.choices if place.operands == 0 else ()
            yield from _values(name, choices, word, place.source)
    else:
        yield from _options(grammar, word, place.source)


def _place(grammar: _Grammar, before: Iterable[str]) -> _Place:
    """Walk over the words before, as getopt_long(3) would."""
    pending: _Flag | None = None
    operands, ended = 0, False
    source: dict[str, str] = {}
    for word in before:
        if pending is not None:
            source[pending.names[-1]] = word
            pending = None
        elif ended or not word.startswith("-") or word == "-":
            operands += 1
            # What follows a command to run is the command's; a TARGET is none yet.
            is_target = operands == 1 and grammar.operands[:1] == ("TARGET",)
            ended = ended or ("CMD" in grammar.operands and not is_target)
        elif word == "--":
            ended = True
        else:
            flag, argument = _split(grammar, word)
            if flag is not None and argument is not None:
                source[flag.names[-1]] = argument
            elif flag is not None and flag.argument == "required":
                pending = flag
    return _Place(pending, operands, ended, source)


def _split(grammar: _Grammar, word: str) -> tuple[_Flag | None, str | None]:
    """Tell which option a word ends with, and its argument where that is attached."""
    if word.startswith("--"):
        name, equals, argument = word.partition("=")
        exact = [flag for flag in grammar.flags if name in flag.names]
        near = [f for f in grammar.flags if any(long.startswith(name) for long in f.names)]
        matches = exact or near
        return (matches[0] if len(matches) == 1 else None), (argument if equals else None)
    for index, letter in enumerate(word[1:], 2):
        flag = next((flag for flag in grammar.flags if f"-{letter}" in flag.names), None)
        if flag is None or flag.argument != "no":
            return flag, word[index:] or None
    return None, None


def _options(grammar: _Grammar, word: str, source: dict[str, str]) -> Iterator[Candidate]:
    flag, argument = _split(grammar, word)
    if flag is not None and argument is not None:
        head = word[: len(word) - len(argument)]
        for each in _values(flag.value, flag.choices, argument, source):
            marked = each.word in {FILES, DIRECTORIES, NO_BLANK}
            yield each if marked else Candidate(head + each.word, each.help)
        return
    for flag in grammar.flags:
        for name in flag.names:
            # The long names say what they do.
            if name.startswith("--") or word != "--":
                yield Candidate(name, flag.help)


def _values(
    value: str, choices: tuple[str, ...], word: str, source: dict[str, str]
) -> Iterator[Candidate]:
    """What an argument or operand can be, by what it is called."""
    words = choices or _FIXED.get(value, ())
    if words:
        yield from map(Candidate, words)
    elif value == "COLUMNS":
        from nsctl.cli import findmnt_columns

        known = findmnt_columns.OUTPUTS
        yield from _columns(word, {name: output.help for name, output in known.items()})
    elif value == "LIST":
        from nsctl.cli.ls_columns import OUTPUTS

        yield from _columns(word, {name: output.help for name, output in OUTPUTS.items()})
    elif value == "COLS":
        from nsctl.cli.net_columns import OUTPUTS as OF_SOCKETS

        yield from _columns(word, {name: output.help for name, output in OF_SOCKETS.items()})
    elif value == "TYPE":
        from nsctl.model.namespace import TYPES

        yield from map(Candidate, map(str, TYPES))
    elif value == "CAP":
        from nsctl.model import capabilities

        yield from map(Candidate, ("ALL", *capabilities.NAMES))
    elif value == "TARGET":
        yield from _targets(word, source)
    elif value == "TARGET:PATH":
        yield from _files_of(word, source)
    elif value == "NAME":
        yield from (Candidate(c.name, c.state) for c in _own(source))
    elif value == "MODE":
        yield from map(Candidate, ("private", "host"))
        yield from (Candidate(f"container:{c.name}", c.state) for c in _own(source))


def _columns(word: str, known: Mapping[str, str]) -> Iterator[Candidate]:
    """Columns behind those that a list has already.

    Args:
        word: the list so far.
        known: all columns, and what each is.
    """
    head, last = word[: word.rfind(",") + 1], word[word.rfind(",") + 1 :]
    if not head and last.startswith("+"):
        head, last = "+", last[1:]
    there = set(head.lstrip("+").upper().split(","))
    yield Candidate(NO_BLANK)
    for name, about in known.items():
        if name not in there:
            yield Candidate(head + (name.lower() if last.islower() else name), about)


def _containers(source: dict[str, str]) -> tuple[Container, ...]:
    """The containers that there are now, or were when the snapshot that is named was saved."""
    from nsctl.cli.common import snapshot_of
    from nsctl.model.part import Part

    file, proc = source.get("--from"), source.get("--host-proc", "/proc")
    return snapshot_of(file, proc, (Part.CONTAINERS,)).containers


def _own(source: dict[str, str]) -> Iterator[Container]:
    return (container for container in _containers(source) if container.engine == "nsctl")


def _files_of(word: str, source: dict[str, str]) -> Iterator[Candidate]:
    """TARGETs with the beginning of a path, or a file of the host."""
    if word.startswith(("/", ".")):
        yield Candidate(FILES)
        return
    yield Candidate(NO_BLANK)
    for target in _targets(word, source):
        yield Candidate(f"{target.word}:/", target.help)


def _targets(word: str, source: dict[str, str]) -> Iterator[Candidate]:
    """TARGETs: names, pods, @host; ids and paths once they have begun."""
    if word.startswith(("/", ".")):
        yield Candidate(FILES)
        return
    yield Candidate("@host", "the host itself")
    containers = _containers(source)
    names = [container.name for container in containers]
    for container in containers:
        scope = f"{container.scope}/" if container.scope else ""
        full = f"{container.engine}://{scope}{container.name}"
        # All digits are a PID, and a name that two have is ambiguous.
        plain = names.count(container.name) == 1 and not container.name.isdecimal()
        if plain:
            yield Candidate(container.name, container.engine)
        if not plain or ":" in word:
            yield Candidate(full, container.state)
        if _HEX.fullmatch(word) and not container.vouched_by and not word.isdecimal():
            yield Candidate(container.id[: max(_SHORT_ID, len(word))], container.engine)
        if container.pod:
            # Its namespace may be left out.
            short = container.pod.rpartition(":")[2]
            for pod in (container.pod, short) if word.startswith("pod/") else (container.pod,):
                yield Candidate(f"pod/{pod}", "pod")
                if word.startswith(f"pod/{pod}/"):
                    yield Candidate(f"pod/{pod}/{container.name}", container.engine)

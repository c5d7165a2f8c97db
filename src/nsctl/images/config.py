"""What an image says of the containers that are made from it, as a value."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class Config(NamedTuple):
    """What an image says of the containers that are made from it.

    Attributes:
        argv: the command, entry point first; () where it has none.
        env: name and value pairs.
        cwd: where the command starts, "" where it does not say.
        user: "uid", "name", "uid:gid" .., "" where it does not say.
        labels: key and value pairs.
        created: as the image says it, "" where it does not.
        entry: how many of the first words of ``argv`` are the entry point, which stays when
            somebody gives another command.
    """

    argv: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    cwd: str = ""
    user: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    created: str = ""
    entry: int = 0

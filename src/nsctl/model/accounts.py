"""Who has which user and group ids on a host: passwd(5), group(5), subuid(5), login.defs(5)."""

from __future__ import annotations

from nsctl.model.record import NamedTuple


class Account(NamedTuple):
    """A user or a group: its name, and its number."""

    name: str
    id: int


class Grant(NamedTuple):
    """Subordinate ids that somebody was given: one line of subuid(5) or subgid(5).

    Attributes:
        owner: a user's name or number, as it is written there.
        first: the first id.
        size: how many.
    """

    owner: str
    first: int
    size: int


class Accounts(NamedTuple):
    """The accounts of a host, from its files.

    Attributes:
        users: of passwd.
        groups: of group.
        subuids: of subuid.
        subgids: of subgid.
        uid_min: the lowest id that people are given (UID_MIN of login.defs).
        uid_max: the highest.
        gid_min: the same for groups.
        gid_max: the highest.
    """

    users: tuple[Account, ...]
    groups: tuple[Account, ...]
    subuids: tuple[Grant, ...]
    subgids: tuple[Grant, ...]
    uid_min: int = 1000
    uid_max: int = 60000
    gid_min: int = 1000
    gid_max: int = 60000

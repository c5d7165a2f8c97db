"""How an engine starts a command in a container that runs already: its exec, as a value."""

from __future__ import annotations

from nsctl.model.record import NamedTuple
from nsctl.model.task import CapabilitySets


class Execution(NamedTuple):
    """What a container's configuration says of its commands, in the container's own numbers.

    Attributes:
        source: whence, for people.
        env: "NAME=value" each.
        cwd: working directory, "" where nothing is said.
        uid: user; None where nothing is said.
        gid: group; None likewise.
        groups: supplementary groups.
        umask: None where nothing is said.
        capabilities: the five sets; None where nothing is said.
        no_new_privs: as in PR_SET_NO_NEW_PRIVS(2const).
        limits: (RLIMIT_* number, soft, hard) each.
        apparmor: profile, "" for none.
        selinux: label, "" for none.
        seccomp: the profile as an OCI config.json has it; "default" for that of our own containers;
            the filter itself, an array of struct sock_filter, where its runtime keeps it; None for
            none.
    """

    source: str
    env: tuple[bytes, ...] = ()
    cwd: str = ""
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] = ()
    umask: int | None = None
    capabilities: CapabilitySets | None = None
    no_new_privs: bool = False
    limits: tuple[tuple[int, int, int], ...] = ()
    apparmor: str = ""
    selinux: str = ""
    seccomp: dict[str, object] | str | bytes | None = None

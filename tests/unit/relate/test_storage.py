"""Who may reach a directory, by what leads to it."""

from __future__ import annotations

import stat

import pytest

from nsctl.model.storage import AuditRule
from nsctl.relate.storage import Step, closed_at, findings, watched_by

pytestmark = pytest.mark.unit


def step(path: str, mode: int, uid: int = 0, gid: int = 0, *, link: bytes = b"") -> Step:
    kind = stat.S_IFLNK if link else stat.S_IFDIR
    return Step(path.encode(), kind | mode, uid, gid, link, acl=False)


def judged(*steps: Step, owners: tuple[int, ...] = (0,)) -> list[tuple[str, str]]:
    return [(each.severity, each.path.decode()) for each in findings(steps, owners)]


def test_a_data_root_as_docker_makes_it_has_no_finding() -> None:
    steps = [step("/", 0o755), step("/var", 0o755), step("/var/lib/docker", 0o710)]
    assert judged(*steps) == []
    closed = closed_at(steps)
    assert closed is not None
    assert closed.path == b"/var/lib/docker"


def test_one_that_everybody_may_enter_is_told() -> None:
    assert judged(step("/", 0o755), step("/d", 0o711)) == [("medium", "/d")]
    assert closed_at([step("/", 0o755)]) is None


def test_one_that_everybody_may_write_is_worse() -> None:
    assert ("high", "/srv") in judged(step("/", 0o755), step("/srv", 0o777), step("/srv/d", 0o700))
    assert judged(step("/tmp", 0o1777), step("/tmp/d", 0o700)) == [("low", "/tmp")]
    # The sticky bit protects what leads on, not what is made in the last one.
    assert ("high", "/d") in judged(step("/", 0o755), step("/d", 0o1777))


def test_groups_and_owners_count_unless_they_are_expected() -> None:
    assert judged(step("/d", 0o770, gid=7)) == [("medium", "/d")]
    assert judged(step("/d", 0o770)) == []
    assert judged(step("/home/a", 0o700, uid=1000)) == [("medium", "/home/a")]
    assert judged(step("/home/a", 0o700, uid=1000), owners=(0, 1000)) == []


def test_a_link_is_judged_by_where_it_leads() -> None:
    assert judged(step("/var/lib/docker", 0o777, link=b"/srv"), step("/srv", 0o700)) == []


def test_rules_on_it_above_it_and_in_it_watch_it() -> None:
    def rule(path: str, *, tree: bool) -> AuditRule:
        return AuditRule(path.encode(), tree, "", "", path, "kernel")

    rules = [
        *(rule("/var/lib", tree=True), rule("/var/lib", tree=False)),
        *(rule("/var/lib/docker", tree=False), rule("/var/lib/docker/x", tree=False)),
        *(rule("/var/lib/docker2", tree=True), rule("/", tree=True)),
    ]
    found = watched_by(b"/var/lib/docker", rules)
    assert [each.path for each in found] == [
        *(b"/var/lib", b"/var/lib/docker", b"/var/lib/docker/x", b"/"),
    ]

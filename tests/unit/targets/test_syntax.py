"""What a user may write in place of a PID."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import TargetError
from nsctl.model.namespace import NamespaceType
from nsctl.model.target import Target
from nsctl.targets.syntax import PID_LIMIT, parse

pytestmark = pytest.mark.unit


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("web", Target("name", "web", name="web")),
        ("3f2a9c", Target("name", "3f2a9c", name="3f2a9c")),
        ("docker://web", Target("name", "docker://web", engine="docker", name="web")),
        ("docker://123", Target("name", "docker://123", engine="docker", name="123")),
        ("lxc://a/b", Target("name", "lxc://a/b", engine="lxc", name="a/b")),
        ("4560", Target("pid", "4560", pid=4560)),
        ("4560:4026532720", Target("pid", "4560:4026532720", pid=4560, ino=4026532720)),
        ("net:[7]", Target("namespace", "net:[7]", ino=7, type=NamespaceType.NET)),
        ("/run/netns/a", Target("path", "/run/netns/a")),
        ("./a", Target("path", "./a")),
        ("docker://", Target("path", "docker://")),
        ("pod/p", Target("pod", "pod/p", pod="p")),
        ("pod/p/c", Target("pod", "pod/p/c", pod="p", name="c")),
        ("pod/n:p/c", Target("pod", "pod/n:p/c", pod="p", pod_namespace="n", name="c")),
        ("pod/", Target("path", "pod/")),
        ("pod/a/b/c", Target("path", "pod/a/b/c")),
        ("./pod/p", Target("path", "./pod/p")),
        ("@host", Target("host", "@host")),
        ("-x", Target("name", "-x", name="-x")),
        ("4560:web", Target("name", "4560:web", name="4560:web")),
        ("٣", Target("name", "٣", name="٣")),
    ],
)
def test_each_form_is_taken_apart(text: str, target: Target) -> None:
    assert parse(text) == target


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "it is empty"),
        ("@web", "the only name with @ is @host"),
        ("0", "a PID lies between 1 and 4194303"),
        (str(PID_LIMIT), "a PID lies between"),
        ("9" * 5000, "a PID lies between"),
        ("0" * 18 + "12345", "a PID lies between"),
        ("0:7", "a PID lies between"),
        ("7:0", "no namespace has the inode 0"),
        ("foo:[7]", "there is no namespace type 'foo'"),
    ],
)
def test_what_cannot_exist_is_refused_with_its_reason(text: str, cause: str) -> None:
    with pytest.raises(TargetError) as caught:
        parse(text)
    assert caught.value.cause.startswith(cause)
    assert caught.value.exit_status == 2


def test_an_unknown_type_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(TargetError) as caught:
        parse("mount:[7]")
    assert caught.value.hint == "one of mnt, pid, net, ipc, uts, user, cgroup, time"


@given(st.text(max_size=30))
def test_any_text_is_a_target_or_refused_and_is_kept_as_typed(text: str) -> None:
    try:
        target = parse(text)
    except TargetError:
        return
    assert target.text == text


@given(st.sampled_from(list(NamespaceType)), st.integers(0, (1 << 32) - 1))
def test_every_type_and_inode_can_be_written(kind: NamespaceType, ino: int) -> None:
    target = parse(f"{kind}:[{ino}]")
    assert (target.type, target.ino) == (kind, ino)


@given(st.integers(1, PID_LIMIT - 1))
def test_every_pid_can_be_written(pid: int) -> None:
    assert parse(str(pid)).pid == pid

"""What a command line asks of a debug shell, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nsctl.debug import tools
from nsctl.debug.powers import Tracers, powers_of
from nsctl.debug.request import SHAREABLE, check_env, parse_share, parse_user
from nsctl.errors import NsctlError, UsageError
from nsctl.model import capabilities
from nsctl.model.namespace import NamespaceType

PTRACE = 1 << 19
NOBODY = Tracers((), 0)


def test_namespaces_are_named_by_their_short_or_long_name() -> None:
    assert parse_share("pid,net") == {NamespaceType.PID, NamespaceType.NET}
    assert parse_share("network,user") == {NamespaceType.NET, NamespaceType.USER}
    assert parse_share("all") == frozenset(SHAREABLE)
    assert parse_share("none") == frozenset()


@pytest.mark.parametrize("text", ["", "mnt", "mount", "pid,", "pid,none", "pid net", "8"])
def test_what_is_no_namespace_to_share_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_share(text)


def test_users_are_numbers() -> None:
    assert parse_user("5") == (5, 5)
    assert parse_user("5:7") == (5, 7)
    for text in ("", "5:", ":5", "a", "-1", "5:6:7", "4294967295", "٣"):
        with pytest.raises(UsageError):
            parse_user(text)


def test_of_a_variable_the_last_value_counts() -> None:
    assert check_env(["A=1", "B=", "A=2=3"]) == ("A=2=3", "B=")
    for entry in ("A", "=x", ""):
        with pytest.raises(UsageError):
            check_env([entry])


def test_the_first_profile_traces() -> None:
    found = powers_of("", None, capabilities.everything(), NOBODY, (0, 0), trust=False)
    assert found.sets.effective == capabilities.DEFAULT | PTRACE
    assert (found.uid, found.no_new_privs, found.remarks) == (0, False, ())


def test_restricted_is_the_target_s_user_or_nobody_and_has_no_power() -> None:
    for theirs, wanted in (((33, 34), (33, 34)), ((0, 0), (65534, 65534))):
        found = powers_of("restricted", None, -1 & (1 << 41) - 1, NOBODY, theirs, trust=False)
        assert (found.uid, found.gid) == wanted
        assert set(found.sets) == {0}
        assert found.no_new_privs


def test_a_shell_that_can_be_traced_has_no_more_than_its_tracer() -> None:
    tracers = Tracers((7,), PTRACE | 1)
    found = powers_of("", None, capabilities.everything(), tracers, (0, 0), trust=False)
    assert found.sets.bounding == PTRACE | 1
    assert "CAP_NET_RAW" in found.remarks[0]
    trusted = powers_of("sysadmin", None, capabilities.everything(), tracers, (0, 0), trust=True)
    assert trusted.sets.bounding == capabilities.everything()
    with pytest.raises(NsctlError):
        powers_of("sysadmin", None, capabilities.everything(), tracers, (0, 0), trust=False)


def test_a_directory_without_bin_is_one_of_programs(tmp_path: Path) -> None:
    (tmp_path / "busybox").touch()
    found = tools.of_directory(str(tmp_path))
    assert found.path == tools.FLAT
    assert found.shell == ("/tools/busybox", "sh")
    assert found.entries == (tools.Entry(tools.BIND, tools.FLAT, str(tmp_path)),)


def test_what_is_the_shell_s_own_is_not_taken_from_a_root(tmp_path: Path) -> None:
    for name in ("usr/bin", "etc/ssl", "proc", "dev", "target", "tmp", "opt"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "usr/bin/dash").touch()
    found = tools.of_directory(str(tmp_path))
    assert {entry.path: entry.kind for entry in found.entries} == {
        "/bin": "link",
        "/usr": "bind",
        "/opt": "bind",
        "/etc/ssl": "bind",
    }
    assert found.shell == ("/bin/dash",)


def test_of_the_host_s_etc_there_is_nothing_secret(tmp_path: Path) -> None:
    for name in ("etc/ssl/certs", "etc/ssl/private", "etc/ssh", "usr", "root", "home", "var"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("shadow", "gshadow", "passwd", "sudoers", "machine-id"):
        (tmp_path / "etc" / name).touch()
    found = tools.of_host(str(tmp_path))
    assert {entry.path for entry in found.entries} == {"/usr", "/etc/ssl/certs", "/etc/passwd"}


def test_a_program_that_names_an_interpreter_is_not_static(tmp_path: Path) -> None:
    busybox = shutil.which("busybox")
    assert not tools.is_static("/bin/sh")
    assert not tools.is_static("/etc/passwd")
    assert not tools.is_static(str(tmp_path / "none"))
    (tmp_path / "short").write_bytes(b"\x7fELF\x02\x01")
    assert not tools.is_static(str(tmp_path / "short"))
    if busybox is None:
        pytest.skip("needs busybox (Debian: busybox-static)")
    assert tools.is_static(busybox)

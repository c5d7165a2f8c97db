"""Users by the files of a root file system, which may be anything."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nsctl.errors import NsctlError, UsageError
from nsctl.run.accounts import Account, resolve

pytestmark = pytest.mark.unit

USERS = """\
root:x:0:0:root:/root:/bin/sh
web:x:33:34:w:/srv/web:/bin/sh
12:x:40:41:n:/n:/bin/sh
bad:x:-1:0::/:
"""
GROUP = "root:x:0:\nweb:x:34:\nlog:x:4:web,other\nadm:x:5:other\nbad:x:99999999999:web\n"


@pytest.fixture(scope="module")
def rootfs(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("root")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_text(USERS)
    (root / "etc/group").write_text(GROUP)
    return str(root)


@pytest.mark.parametrize(
    ("text", "account"),
    [
        ("web", Account(33, 34, (34, 4), "/srv/web")),
        ("33", Account(33, 34, (34, 4), "/srv/web")),
        ("web:log", Account(33, 4, (4,), "/srv/web")),
        ("1000", Account(1000, 0, (0,))),
        ("1000:1000", Account(1000, 1000, (1000,))),
        ("0", Account(0, 0, (0,), "/root")),
        ("4294967294", Account(4294967294, 0, (0,))),
        # All digits is a number, whoever is called so.
        ("12", Account(12, 0, (0,))),
    ],
)
def test_users_and_groups_are_found(rootfs: str, text: str, account: Account) -> None:
    assert resolve(text, rootfs) == account


@pytest.mark.parametrize(
    "text",
    [
        *("nobody", "web:nogroup", "", ":", "web:", ":4", "1:2:3", "4294967295", "4294967296"),
        *("-1", "+0", " 0", "0 ", "0x0", "1e3", "\u0660", "99999999999999999999", "bad", "web\n0"),
    ],
)
def test_what_is_no_user_never_becomes_root(rootfs: str, text: str) -> None:
    with pytest.raises(UsageError):
        resolve(text, rootfs)


@given(st.text(max_size=12))
def test_a_text_is_an_account_or_refused(rootfs: str, text: str) -> None:
    try:
        found = resolve(text, rootfs)
    except UsageError:
        return
    # Root only by its own name or number.
    user = text.partition(":")[0]
    assert found.uid != 0 or user == "root" or set(user) == {"0"}


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_damaged_files_are_no_accounts(
    tmp_path_factory: pytest.TempPathFactory, passwd: bytes, group: bytes
) -> None:
    root = tmp_path_factory.mktemp("root")
    (root / "etc").mkdir()
    (root / "etc/passwd").write_bytes(passwd)
    (root / "etc/group").write_bytes(group)
    assert resolve("7", str(root)).uid == 7


def test_a_link_leads_to_no_file_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("web:x:33:33:w:/:/bin/sh\n")
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc/passwd").symlink_to(tmp_path / "secret")
    with pytest.raises(UsageError):
        resolve("web", str(root))
    (root / "etc/passwd").unlink()
    (root / "etc/passwd").symlink_to("../../../../secret")
    with pytest.raises(UsageError):
        resolve("web", str(root))


def test_what_is_no_file_is_not_opened(tmp_path: Path) -> None:
    import os

    (tmp_path / "etc").mkdir()
    os.mkfifo(tmp_path / "etc/passwd")
    with pytest.raises(NsctlError):
        resolve("web", str(tmp_path))

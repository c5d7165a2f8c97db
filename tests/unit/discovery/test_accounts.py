"""The files of accounts, as administrators leave them."""

from __future__ import annotations

import pytest

from nsctl.discovery.accounts import parse_accounts, parse_grants, parse_login_defs
from nsctl.model.accounts import Account, Grant
from support.examples import Mutations

pytestmark = pytest.mark.unit

PASSWD = b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/:/bin/sh\n+::::::\n\nbad:x:a:1\n"
SUBUID = b"alice:100000:65536\n# no\nbob:1:2:3\n1001:5:0\n:7:7\nhuge:99999999999:1\ncarol:7:1\n"
DEFS = b"# UID_MIN 5\nUID_MIN\t\t\t 500\nUID_MAX 60000\nGID_MIN x\nSYS_UID_MIN 100\n"


def test_lines_of_the_right_form_are_accounts_and_others_are_not() -> None:
    assert parse_accounts(PASSWD) == (Account("root", 0), Account("alice", 1000))


def test_grants_that_give_nothing_are_none() -> None:
    assert parse_grants(SUBUID) == (Grant("alice", 100000, 65536), Grant("carol", 7, 1))


def test_the_range_of_people_is_what_login_defs_says() -> None:
    assert parse_login_defs(DEFS) == {"UID_MIN": 500, "UID_MAX": 60000}


def test_damaged_files_hold_fewer_accounts(mutations: Mutations) -> None:
    for raw in mutations([PASSWD, SUBUID, DEFS]):
        accounts = parse_accounts(raw)
        grants = parse_grants(raw)
        assert all(0 <= each.id < 1 << 32 for each in accounts)
        assert all(each.size > 0 for each in grants)
        parse_login_defs(raw)

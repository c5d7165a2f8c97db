from __future__ import annotations

from pathlib import Path

import pytest

from support.examples import Mutations
from support.nested import run_nested

pytestmark = pytest.mark.unit

SKIPS = """
import pytest

def test_skips():
    pytest.skip("needs a thing")

@pytest.mark.skipif(True, reason="needs a machine")
def test_is_skipped():
    pass

def test_imports():
    pytest.importorskip("no_such_module")

@pytest.mark.xfail(strict=True)
def test_expected_to_fail():
    assert False
"""


def test_a_skip_says_what_is_missing(tmp_path: Path) -> None:
    status, output = run_nested(tmp_path, SKIPS)
    assert status == 0, output
    assert "needs a thing" in output
    assert "3 skipped, 1 xfailed" in output


@pytest.mark.parametrize("required", ["all", "unit", "docs,unit"])
def test_a_skip_is_a_failure_where_its_tier_is_required(tmp_path: Path, required: str) -> None:
    status, output = run_nested(tmp_path, SKIPS, env={"NSCTL_TEST_REQUIRE": required})
    assert status == 1, output
    assert "needs a thing" in output
    assert "2 failed, 1 xfailed, 1 error" in output


def test_a_skip_is_none_of_another_tiers_business(tmp_path: Path) -> None:
    status, output = run_nested(tmp_path, SKIPS, env={"NSCTL_TEST_REQUIRE": "docs,userns"})
    assert status == 0, output


def test_a_whole_module_that_skips_itself_is_a_failure_where_required(tmp_path: Path) -> None:
    source = "import pytest\npytest.importorskip('no_such_module')\ndef test_one(): pass\n"
    status, output = run_nested(tmp_path, source, env={"NSCTL_TEST_REQUIRE": "all"})
    assert status not in {0, 5}, output
    assert "no_such_module" in output


def test_a_wrong_name_of_a_tier_is_refused(tmp_path: Path) -> None:
    status, output = run_nested(tmp_path, SKIPS, env={"NSCTL_TEST_REQUIRE": "every"})
    assert status == 4, output
    assert "NSCTL_TEST_REQUIRE names no tier: every" in output


def test_an_ordinary_users_session_skips_privileged_tests_before_their_fixtures(
    tmp_path: Path,
) -> None:
    source = """
import os, pytest

@pytest.fixture
def root():
    assert os.geteuid() == 0

def test_root(root):
    pass
"""
    status, output = run_nested(tmp_path, source, tier="privileged")
    assert status == 0, output
    assert "1 passed" in output or "needs root" in output


def test_a_test_bears_the_mark_of_its_directory(tmp_path: Path) -> None:
    source = """
def test_mark(request):
    assert [mark.name for mark in request.node.iter_markers()] == ["cli"]
"""
    status, output = run_nested(tmp_path, source, tier="cli")
    assert status == 0, output


def test_mutations_are_the_same_for_the_same_seed() -> None:
    corpus = [b"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw\n", b"Name:\tsh\n"]
    first = list(Mutations(200, 7)(corpus))
    assert first == list(Mutations(200, 7)(corpus))
    assert first != list(Mutations(200, 8)(corpus))
    assert len(set(first)) > 150
    assert all(isinstance(text, bytes) for text in first)

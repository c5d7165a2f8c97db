"""Tiers: which one a test belongs to, what it needs, and when a skip is a failure.

A test belongs to the tier of its directory and to those that it is marked with. A need that is
not met skips the test and says what is missing. With NSCTL_TEST_REQUIRE=all, or a list of tiers
with commas, a skip in one of these tiers is a failure, whoever skipped: this module, the test or
``pytest.importorskip``. Needs are found by trying the act, not by looking at the user's id.
"""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import TypeVar

import pytest

from support.users import ORDINARY_UID

TIERS = ("unit", "userns", "privileged", "engines", "cli", "docs")


def required_tiers() -> frozenset[str]:
    """The tiers in which a skip is a failure."""
    words = os.environ.get("NSCTL_TEST_REQUIRE", "").split(",")
    if "all" in words:
        return frozenset(TIERS)
    unknown = {word for word in words if word} - set(TIERS)
    if unknown:
        raise pytest.UsageError(f"NSCTL_TEST_REQUIRE names no tier: {', '.join(sorted(unknown))}")
    return frozenset(words) & frozenset(TIERS)


def tier_of_path(path: Path) -> str | None:
    """The tier of the first directory below ``tests`` that is named like one."""
    parts = path.parts
    for index, part in enumerate(parts[:-1]):
        if part == "tests" and parts[index + 1] in TIERS:
            return parts[index + 1]
    return None


def tiers_of(item: pytest.Item) -> frozenset[str]:
    """All tiers that a test is marked with, its directory's included."""
    return frozenset(mark.name for mark in item.iter_markers()) & frozenset(TIERS)


def _attempt(*arguments: str, user: int | None = None) -> str:
    """Try a command; the reason why it failed, or "" when it did not."""
    identity = {} if user is None else {"user": user, "group": user, "extra_groups": []}
    try:
        done = subprocess.run(  # type: ignore[call-overload]  # mypy cannot see into the mapping
            arguments, capture_output=True, check=False, cwd="/", timeout=30, **identity
        )
    except OSError as error:
        return f"{arguments[0]}: {error.strerror}"
    if done.returncode == 0:
        return ""
    words: str = done.stderr.decode(errors="replace").strip()
    return words or f"{arguments[0]}: status {done.returncode}"


@functools.cache
def unmet_need(tier: str) -> str:
    """What a tier lacks here, in words; "" when nothing is missing."""
    if tier in {"privileged", "engines"}:
        if os.geteuid() != 0:
            return "needs root"
        reason = _attempt("unshare", "--mount", "true")
        return f"needs root that may make mount namespaces ({reason})" if reason else ""
    if tier == "userns":
        user = ORDINARY_UID if os.geteuid() == 0 else None
        reason = _attempt("unshare", "--user", "--map-root-user", "true", user=user)
        return f"needs user namespaces for an ordinary user ({reason})" if reason else ""
    return ""


def pytest_sessionstart() -> None:
    """Complain of a wrong NSCTL_TEST_REQUIRE before a test runs."""
    required_tiers()


def pytest_itemcollected(item: pytest.Item) -> None:
    """Mark a test with the tier of its directory."""
    tier = tier_of_path(item.path)
    if tier is not None and tier not in tiers_of(item):
        item.add_marker(tier)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose need is not met, before any fixture is made."""
    for tier in sorted(tiers_of(item)):
        reason = unmet_need(tier)
        if reason:
            pytest.skip(reason)


_Report = TypeVar("_Report", pytest.TestReport, pytest.CollectReport)


def _fail_if_skipped(report: _Report, tiers: frozenset[str]) -> _Report:
    demanded = tiers & required_tiers()
    if report.skipped and demanded and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = (
            f"{reason}\nNSCTL_TEST_REQUIRE forbids to skip tests of: {', '.join(sorted(demanded))}"
        )
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a test's skip into a failure where its tier is required."""
    return _fail_if_skipped((yield), tiers_of(item))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a whole module's skip into a failure where its tier is required."""
    tier = tier_of_path(collector.path)
    return _fail_if_skipped((yield), frozenset({tier} if tier else ()))

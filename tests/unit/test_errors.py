"""Errors say in one sentence what was done, to what, and why it failed."""

from __future__ import annotations

import copy
import errno
import os
import pickle

import pytest

from nsctl import errors

pytestmark = pytest.mark.unit

EACH = [
    errors.NsctlError("read", "/x", "it is gone", "look"),
    errors.UsageError("no", "look"),
    errors.UnknownTarget("find", "x", "nothing"),
    errors.AmbiguousTarget("choose", "x", "two"),
    errors.Incomplete("show", "x", "a gap"),
    errors.Vanished("read", "x", "gone"),
    errors.KernelRefusal("open", "x", "no", errno=errno.EPERM),
    errors.ArchiveError("load", "x", "damaged"),
]


def test_a_sentence_names_operation_subject_and_cause_and_not_the_hint() -> None:
    assert str(EACH[0]) == EACH[0].sentence == "cannot read /x: it is gone"
    assert errors.NsctlError("", "", "all is lost").sentence == "all is lost"
    assert errors.NsctlError("finish", "", "all is lost").sentence == "cannot finish: all is lost"
    assert str(errors.UsageError("no such column")) == "no such column"


def test_every_error_of_ours_is_caught_as_one() -> None:
    assert all(isinstance(error, errors.NsctlError) for error in EACH)
    assert not issubclass(errors.NsctlError, OSError)


def test_exit_statuses_are_those_of_the_manual() -> None:
    assert [error.exit_status for error in EACH] == [1, 2, 2, 2, 3, 1, 1, 1]


def test_the_tree_in_the_documentation_is_the_tree() -> None:
    text = errors.__doc__ or ""
    for kind in vars(errors).values():
        if isinstance(kind, type) and issubclass(kind, errors.NsctlError):
            assert f" {kind.__name__} " in text.replace("\n", " \n"), kind


@pytest.mark.parametrize("error", EACH, ids=lambda error: type(error).__name__)
def test_an_error_survives_being_passed_between_processes(error: errors.NsctlError) -> None:
    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301  (our own)
        assert type(again) is type(error)
        assert again.sentence == error.sentence
        assert again.hint == error.hint
        assert vars(again) == vars(error)


@pytest.mark.parametrize("number", [errno.EPERM, errno.ENOENT, errno.ENOSPC])
def test_a_system_error_keeps_its_number_and_gets_words(number: int) -> None:
    told = errors.translate(OSError(number, "whatever"), "mount", "/x", "be root")
    assert isinstance(told, errors.KernelRefusal)
    assert told.errno == number
    assert told.sentence == (f"cannot mount /x: {os.strerror(number)} ({errno.errorcode[number]})")
    assert told.hint == "be root"


def test_a_process_that_is_gone_has_vanished() -> None:
    told = errors.translate(ProcessLookupError(errno.ESRCH, "x"), "read", "process 5")
    assert isinstance(told, errors.Vanished)
    assert told.sentence == "cannot read process 5: No such process (ESRCH)"


def test_an_error_without_a_known_number_keeps_its_own_words() -> None:
    assert errors.translate(OSError("odd"), "read", "x").cause == "odd (error 0)"
    assert "(error 4000)" in errors.translate(OSError(4000, "x"), "read", "x").cause


def test_what_is_gone_and_what_is_refused_are_told_apart() -> None:
    for number, gone, refused in (
        (errno.ESRCH, True, False),
        (errno.ENOENT, True, False),
        (errno.EPERM, False, True),
        (errno.EACCES, False, True),
        (errno.EINVAL, False, False),
    ):
        error = OSError(number, "x")
        assert (errors.vanished(error), errors.refused(error)) == (gone, refused)

"""What a debug shell may do beside whom, and what is said of it."""

from __future__ import annotations

import pytest

from nsctl.debug.powers import SYS_PTRACE, Tracers, powers_of
from nsctl.errors import NsctlError
from nsctl.model import capabilities

pytestmark = pytest.mark.unit

ALL = capabilities.everything()


def remarks(profile: str, tracers: Tracers) -> str:
    powers = powers_of(profile, None, ALL, tracers, (0, 0), trust=False)
    return " ".join(powers.remarks)


def test_beside_a_target_with_the_usual_powers_only_a_lesser_shell_can_be_traced() -> None:
    usual = Tracers((), 0, ((7, capabilities.DEFAULT),))
    assert remarks("general", usual) == ""
    assert "process 7 of the target may trace this shell" in remarks("baseline", usual)
    assert "process 7 of the target may trace this shell" in remarks("restricted", usual)
    lesser = Tracers((), 0, ((7, capabilities.DEFAULT & ~1),))
    assert remarks("baseline", lesser) == ""


def test_beside_a_tracer_a_shell_has_no_more_than_the_tracer() -> None:
    tracer = Tracers((7,), capabilities.DEFAULT | SYS_PTRACE)
    powers = powers_of("general", None, ALL, tracer, (0, 0), trust=False)
    assert not powers.sets.permitted & ~tracer.common
    with pytest.raises(NsctlError, match="may trace every process there"):
        powers_of("sysadmin", None, ALL, tracer, (0, 0), trust=False)
    assert powers_of("sysadmin", None, ALL, tracer, (0, 0), trust=True).sets.permitted == ALL

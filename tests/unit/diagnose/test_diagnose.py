"""What a diagnosis makes of what was found; nothing of the machine is asked but by a helper."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from nsctl.diagnose import engines, features, helper, probes, rights, sources
from nsctl.diagnose.answer import Answer, state_of, words_of
from nsctl.diagnose.helper import NO_ANSWER, Outcome, ask
from nsctl.kernel.procfs import ProcFs
from nsctl.model.capabilities import NUMBERS
from nsctl.model.namespace import NS_LINKS, UNREADABLE
from nsctl.model.part import Gap, Part, PartState
from nsctl.model.snapshot import Reader, Reference
from unit.factories import ns, snapshot, task

pytestmark = pytest.mark.unit

STATUS = """Name:\tx
Uid:\t1000\t1000\t1000\t1000
Gid:\t1000\t1000\t1000\t1000
CapInh:\t0000000000000000
CapPrm:\t{caps:016x}
CapEff:\t{caps:016x}
CapBnd:\t0000000000000000
NoNewPrivs:\t{nnp}
Seccomp:\t{seccomp}
Seccomp_filters:\t{seccomp}
"""


def proc_of(place: Path, *, caps: int = 0, nnp: int = 0, seccomp: int = 0, **files: str) -> ProcFs:
    """A procfs with what a diagnosis reads; files by path, "__" for "/"."""
    own = place / "self"
    own.mkdir(parents=True)
    (own / "status").write_text(STATUS.format(caps=caps, nnp=nnp, seccomp=seccomp))
    (own / "uid_map").write_text("         0       1000          1\n")
    for name, content in files.items():
        path = place / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return ProcFs(str(place))


def by_id(found: list[Answer]) -> dict[str, Answer]:
    return {answer.id: answer for answer in found}


def feature(name: str) -> features.Feature:
    (found,) = [each for each in features.FEATURES if each.id == name]
    return found


@pytest.mark.parametrize(
    ("number", "state"),
    [
        (0, "ok"),
        (errno.ENOSYS, "missing"),
        (errno.ENOTTY, "missing"),
        (errno.EPERM, "refused"),
        (errno.EACCES, "refused"),
        (errno.ENOSPC, "refused"),
        (errno.ESTALE, "refused"),
    ],
)
def test_an_error_number_tells_missing_from_refused(number: int, state: str) -> None:
    assert state_of(number) == state


def test_an_error_is_told_in_words_and_by_its_name() -> None:
    assert words_of(errno.EPERM) == "Operation not permitted (EPERM)"
    assert "12345" in words_of(12345)


def test_each_feature_has_a_probe_and_each_probe_a_feature() -> None:
    assert [each.id for each in features.FEATURES] == list(probes.PROBES)


def test_a_refusal_names_the_capability_that_the_failed_step_takes() -> None:
    answer = features._answer(feature("clock-offsets"), Outcome(errno.EPERM, "unshare time"))
    assert answer.needs == "CAP_SYS_ADMIN"
    assert "CAP_SYS_ADMIN, then CAP_SYS_TIME" in answer.remedy
    answer = features._answer(feature("clock-offsets"), Outcome(errno.EPERM, "set a clock off"))
    assert answer.needs == "CAP_SYS_TIME"


def test_what_is_missing_is_told_with_what_would_have_it() -> None:
    answer = features._answer(feature("listns"), Outcome(errno.ENOSYS))
    assert (answer.state, answer.needs) == ("missing", "")
    assert "Linux 6.19" in answer.remedy


def test_a_probe_that_gave_no_answer_is_unknown_and_nothing_else() -> None:
    answer = features._answer(feature("overlay"), NO_ANSWER)
    assert (answer.state, answer.remedy) == ("unknown", "")


def test_a_helper_gives_an_answer_for_each_probe_and_ends() -> None:
    found = ask(["namespace-types", "pidfd-getfd"])
    assert list(found) == ["namespace-types", "pidfd-getfd"]
    assert all(outcome.error >= 0 for outcome in found.values())


def test_a_helper_is_of_use_to_who_has_threads_and_leaves_it_where_it_is() -> None:
    links = [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "user", "net")]
    outcomes: list[dict[str, Outcome]] = []
    thread = threading.Thread(target=lambda: outcomes.append(ask(probes.PROBES)))
    thread.start()
    thread.join()
    assert all(outcome.error >= 0 for outcome in outcomes[0].values()), outcomes
    assert [os.readlink(f"/proc/self/ns/{name}") for name in ("mnt", "user", "net")] == links


def test_a_probe_that_hangs_costs_its_time_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(helper, "PROBE_SECONDS", 0.05)
    outcome = helper._try("hanging", lambda: time.sleep(600))
    assert outcome == NO_ANSWER


def test_a_probe_that_fails_by_its_own_fault_is_told_as_such() -> None:
    outcome = helper._try("faulty", lambda: str(1 // 0))
    assert (outcome.error, outcome.detail) == (
        -2,
        "ZeroDivisionError: integer division or modulo by zero",
    )


def test_a_helper_that_takes_too_long_is_ended() -> None:
    found = ask(["namespace-types"], seconds=0.0)
    assert found == {"namespace-types": NO_ANSWER}


def test_each_capability_that_is_lacking_is_a_line_with_its_use(tmp_path: Path) -> None:
    held = 1 << NUMBERS["CAP_SYS_ADMIN"]
    found = by_id(rights.answers(None, proc_of(tmp_path, caps=held)))
    assert found["capabilities"].state == "partial"
    assert "cap-sys-admin" not in found
    assert (found["cap-sys-ptrace"].state, found["cap-sys-ptrace"].needs) == (
        "refused",
        "CAP_SYS_PTRACE",
    )


def test_a_user_namespace_is_told_by_its_map_where_nothing_else_tells(tmp_path: Path) -> None:
    proc = proc_of(tmp_path)
    assert by_id(rights.answers(None, proc))["user-namespace-of-caller"].state == "partial"
    Path(proc.root, "self/uid_map").write_text("         0          0 4294967295\n")
    assert by_id(rights.answers(None, proc))["user-namespace-of-caller"].state == "ok"


def test_namespaces_of_its_own_are_named(tmp_path: Path) -> None:
    moment = snapshot([task(1)])._replace(reader=Reader(99, 0, 0, ns(net=500)))
    found = by_id(rights.answers(moment, proc_of(tmp_path)))
    assert found["namespaces-of-caller"].cause == "in namespaces of its own: net"
    assert found["user-namespace-of-caller"].state == "ok"
    unknown = moment._replace(reader=Reader(0, 0, 0, (UNREADABLE,) * len(NS_LINKS)))
    assert (
        by_id(rights.answers(unknown, proc_of(tmp_path / "x")))["namespaces-of-caller"].state
        == "ok"
    )


@pytest.mark.parametrize(("caps", "needs"), [(0, "CAP_SYS_PTRACE"), (1 << 19, "")])
def test_where_only_nsctl_tells_what_the_hosts_are_the_remedy_fits(
    tmp_path: Path, caps: int, needs: str
) -> None:
    moment = snapshot([task(1)])._replace(
        host=Reference("caller", 99, ns()), reader=Reader(99, 0, caps, ns())
    )
    answer = by_id(rights.answers(moment, proc_of(tmp_path)))["namespaces-of-caller"]
    assert (answer.state, answer.needs) == ("partial", needs)


def test_what_confines_nsctl_is_told(tmp_path: Path) -> None:
    found = by_id(rights.answers(None, proc_of(tmp_path, nnp=1, seccomp=2)))
    assert found["no-new-privs"].state == "partial"
    assert "filters: 2" in found["seccomp-of-caller"].cause


def test_each_part_is_a_line_and_what_it_lacks_is_named() -> None:
    gap = Gap(
        Part.DESCRIPTORS,
        "/proc",
        "descriptors of 3 processes",
        PartState.PARTIAL,
        "they are others'",
        "CAP_SYS_PTRACE",
        (7, 8, 9),
    )
    moment = snapshot([task(1)], gaps=[gap])
    moment = moment._replace(parts={**moment.parts, Part.DESCRIPTORS: PartState.PARTIAL})
    found = by_id(sources.answers(moment))
    assert set(map(str, Part)) < set(found)
    lacking = found["descriptors"]
    assert (lacking.state, lacking.needs) == ("partial", "CAP_SYS_PTRACE")
    assert lacking.cause == "lacking descriptors of 3 processes: they are others'"
    assert found["tasks"].cause == "read from /proc"


def test_hidden_processes_are_told_from_those_that_are_shown() -> None:
    assert by_id(sources.answers(snapshot([task(1)])))["hidepid"].state == "ok"
    hidden = by_id(sources.answers(snapshot([task(2)])))["hidepid"]
    assert (hidden.state, hidden.needs) == ("refused", "CAP_SYS_PTRACE")


def test_engines_are_found_by_program_socket_and_state(tmp_path: Path) -> None:
    programs, run = tmp_path / "bin", tmp_path / "run"
    for place in (programs, run / "podman", run / "nsctl"):
        place.mkdir(parents=True)
    (programs / "podman").touch(mode=0o755)
    (programs / "crun").touch(mode=0o644)
    environ = {"PATH": str(programs), "XDG_RUNTIME_DIR": str(run)}
    with socket.socket(socket.AF_UNIX) as daemon:
        # Bound and never answered: whoever asked would wait.
        # A socket's path has 107 bytes at most; through a descriptor any will do.
        directory = os.open(run / "podman", os.O_RDONLY | os.O_DIRECTORY)
        daemon.bind(f"/proc/self/fd/{directory}/podman.sock")
        os.close(directory)
        daemon.listen(0)
        found = by_id(engines.answers({"nsctl"}, environ))
    podman = found["podman"]
    assert "program podman" in podman.cause
    assert f"{run}/podman/podman.sock" in podman.cause
    assert (podman.state, found["nsctl"].state) == ("partial", "ok")
    assert f"state {run}/nsctl" in found["nsctl"].cause or "/run/nsctl" in found["nsctl"].cause
    # This host may have state of it; a program that cannot be run is none.
    assert "crun" not in found["oci"].cause.partition("state")[0]

"""Entering a container, beside what else does it: nsenter, runc, Podman, Docker, in turn.

    python bench/enter.py --rounds 25

Starts a Docker and a Podman of its own, with a container each, and runs `true` in them by every
way there is. What counts is the ratio of medians of one run. Needs root, and the engines.
"""

from __future__ import annotations

import argparse
import os
import platform
import secrets
import shutil
import sys

from measure import Case, compare, processes

# Names that no other container of this machine has.
WEB, APP = (f"{word}-{secrets.token_hex(4)}" for word in ("web", "app"))
_TESTS = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests")


def cases(docker: object, podman: object, top: str) -> list[Case]:
    """All ways to run a command in the two containers."""
    docker_client = docker._client()  # noqa: SLF001  (the tests' own set-up)
    pid = docker("inspect", "-f", "{{.State.Pid}}", WEB)
    identifier = docker("inspect", "-f", "{{.Id}}", WEB)
    inside = tuple(podman.stage.inside([*podman._command]))  # noqa: SLF001  (likewise)
    environ = tuple(podman._environ.items())  # noqa: SLF001  (likewise)
    root = f"{top}/exec/runtime-runc/moby"
    return [
        Case("docker exec", (*docker_client, "exec", WEB, "true")),
        # What dockerd still does behind its client's end is not to fall on us.
        Case("python -c pass", (sys.executable, "-c", "pass"), "docker exec"),
        Case("nsctl enter", ("nsctl", "enter", f"docker://{WEB}", "true"), "docker exec", goal=0.5),
        Case("nsctl enter PID", ("nsctl", "enter", pid, "true"), "docker exec"),
        Case(
            "nsctl enter -n",
            ("nsctl", "enter", f"docker://{WEB}", "-n", "true"),
            "docker exec",
        ),
        Case("nsctl enter (podman)", ("nsctl", "enter", f"podman://{APP}", "true"), "podman exec"),
        Case("nsenter -a", ("nsenter", "-t", pid, "-a", "true"), "docker exec"),
        Case("runc exec", ("runc", "--root", root, "exec", identifier, "true"), "docker exec"),
        Case("podman exec", (*inside, "exec", APP, "true"), "docker exec", environ),
    ]


def alone(rounds: int) -> list[str]:
    """Measure with engines of its own, and without a load.

    Args:
        rounds: how often each is counted.

    Returns:
        Lines to print; one that says what is missing, where something is.
    """
    missing = [name for name in ("dockerd", "podman", "runc") if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        return [f"entering needs root{', and ' + ', '.join(missing) if missing else ''}"]
    if _TESTS not in sys.path:
        sys.path.insert(0, _TESTS)
    # Written by the tests' own set-up, which gives each engine a place of its own.
    os.environ.setdefault("NSCTL_TEST_MARKER", "bench")
    from support.engines.docker import Docker
    from support.engines.podman import Podman
    from support.engines.stage import Stage

    with Stage("bench-docker") as one, Stage("bench-podman") as other:
        docker = Docker(one, data_root=str(one.directory / "data"))
        docker.run(WEB, command=("sleep", "100000"))
        podman = Podman(other)
        podman.run(APP, "--network", "none", command=("sleep", "100000"))
        rows = compare(cases(docker, podman, str(one.directory)), rounds)
    lines = [f"`true` in a container, on a host with {processes()} processes:"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:5.2f} of {row.case.peer}"
        goal = "" if row.case.goal is None else f", asked <= {row.case.goal}"
        lines.append(
            f"  {row.case.name:<21} {row.wall * 1000:6.1f} ms, least {row.least * 1000:6.1f},"
            f" CPU {row.cpu * 1000:6.1f}  {ratio}{goal}".rstrip()
        )
    return lines


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=15, help="how often each is counted")
    asked = parser.parse_args()
    print(
        f"Linux {platform.release()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}; medians of {asked.rounds} rounds"
    )
    print("\n".join(alone(asked.rounds)))


if __name__ == "__main__":
    main()

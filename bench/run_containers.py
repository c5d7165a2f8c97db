"""`nsctl run` and its peers: from nothing to the end of `true` in a container of the same root.

    python bench/run_containers.py --rounds 20

All run alternately on one BusyBox root: nsctl, docker and podman (no network, removed at the end),
runc and crun (a bundle of `spec`'s), bubblewrap. Docker's daemon is one of this script's own, with
everything below a temporary directory. Needs root. What is not installed, or does not run here, is
left out and named. A shared machine is noisy: what counts is the ratio of medians of one run.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

_HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(_HERE), "tests"))

_NSCTL = os.path.join(os.path.dirname(sys.executable), "nsctl")
GROUP = f"nsctl-bench-podman-{os.getpid()}"
"""Control group of podman's containers, which it leaves behind."""

_QUIET = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}


def bundle(top: str, root: str, runtime: str) -> str:
    """A bundle as the runtime itself writes it, of the same root, without a terminal."""
    place = f"{top}/{runtime}"
    os.mkdir(place)
    subprocess.run([runtime, "spec"], cwd=place, check=True)
    with open(f"{place}/config.json") as file:
        config = json.load(file)
    config["process"]["terminal"] = False
    config["process"]["args"] = ["true"]
    config["root"]["path"] = root
    with open(f"{place}/config.json", "w") as file:
        json.dump(config, file)
    return place


@contextlib.contextmanager
def docker() -> Iterator[list[str] | None]:
    """A daemon with the same root as its image; the words of a client that asks it."""
    if not shutil.which("dockerd"):
        yield None
        return
    from support.engines.docker import IMAGE, Docker
    from support.engines.stage import Stage

    with Stage("bench") as stage:
        daemon = Docker(stage, data_root=str(stage.directory / "data"))
        asked = ["docker", "-H", f"unix://{daemon.socket}"]
        yield [*asked, "run", "--rm", "--network", "none", IMAGE, "true"]


def commands(top: str, root: str) -> dict[str, list[str]]:
    """What is run, by the name of the peer."""
    found = {"nsctl": [_NSCTL, "run", "--rm", root, "true"]}
    found["nsctl, host's ids"] = [_NSCTL, "run", "--rm", "--userns", "host", root, "true"]
    for runtime in ("runc", "crun"):
        if shutil.which(runtime):
            place = bundle(top, root, runtime)
            found[runtime] = [runtime, "run", "--bundle", place, f"nsctl-bench-{os.getpid()}"]
    if shutil.which("bwrap"):
        options = ["--unshare-all", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
        found["bwrap"] = ["bwrap", "--bind", root, "/", *options, "true"]
    if shutil.which("podman"):
        # It mounts its storage on itself and keeps locks in /dev/shm: both in a namespace of its own.
        alone = ["unshare", "--mount", "sh", "-c"]
        alone += ['mount -t tmpfs tmpfs /dev/shm && exec "$@"', "sh"]
        storage = [f"--root={top}/podman", f"--runroot={top}/podman-run"]
        limits = [
            "--ulimit=nofile=1024:4096",
            "--ulimit=nproc=4096:4096",
            f"--cgroup-parent=/{GROUP}",
        ]
        options = ["--rm", "--network=none", *limits, "--rootfs", root, "true"]
        found["podman"] = [*alone, "podman", "--runtime=runc", *storage, "run", *options]
    return found


def measured(words: list[str]) -> float:
    """Seconds that one run takes; raises where it fails."""
    began = time.perf_counter()
    done = subprocess.run(words, check=False, **_QUIET)  # type: ignore[call-overload]
    seconds = time.perf_counter() - began
    if done.returncode:
        raise RuntimeError(done.stderr.decode(errors="replace").strip().split("\n")[-1])
    return seconds


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    rounds = parser.parse_args().rounds
    if os.geteuid():
        sys.exit("needs root")
    from support.engines.stage import busybox_root

    top = tempfile.mkdtemp(prefix="nsctl-bench-")
    try:
        from pathlib import Path

        root = f"{top}/root"
        busybox_root(Path(root))
        os.chmod(top, 0o755)
        with docker() as client:
            cases = commands(top, root)
            if client is not None:
                cases["docker"] = client
            found: dict[str, list[float]] = {}
            for name, words in list(cases.items()):
                try:
                    measured(words)  # for the caches
                except (RuntimeError, OSError) as error:
                    print(f"left out {name}: {error}")
                    del cases[name]
            for _ in range(rounds):
                for name, words in cases.items():
                    found.setdefault(name, []).append(measured(words))
    finally:
        shutil.rmtree(top, ignore_errors=True)
        for place in glob.glob(f"/sys/fs/cgroup/{GROUP}") + glob.glob(f"/sys/fs/cgroup/*/{GROUP}"):
            for directory, _, _ in os.walk(place, topdown=False):
                os.rmdir(directory)
    medians = {name: statistics.median(times) for name, times in found.items()}
    base = medians.get("docker")
    print(f"run to exit of true, medians of {rounds} rounds in turn")
    for name, median in sorted(medians.items(), key=lambda row: row[1]):
        ratio = f"{median / base:7.2f} of docker" if base else ""
        print(f"  {name:<20}{median * 1000:8.1f} ms{min(found[name]) * 1000:8.1f} least{ratio}")


if __name__ == "__main__":
    main()

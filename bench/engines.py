"""What naming containers costs beyond the scan: state on disk of so many of them.

    python bench/engines.py --containers 300

The containers are sleeping processes, each in namespaces and a control group of its own, with state
as Docker or containerd leave it; no engine runs. One snapshot is taken without its containers and
one with them, in turn; the difference is what they cost. Needs root. A shared machine is noisy: the
least time is the figure, and it never decides the exit status.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

_DAEMON = "dockerd"
_SHIM = "containerd-shim"
_ISOLATED = ("unshare", "--mount", "--uts", "--ipc")
_GROUPS = ("/sys/fs/cgroup/unified", "/sys/fs/cgroup")
# Environment, arguments and layers make a file of Docker's some kilobytes long.
_PADDING = "x" * 3000


def group_root() -> Path:
    """Where version 2 is mounted."""
    for path in _GROUPS:
        if os.path.exists(f"{path}/cgroup.procs"):
            return Path(path)
    sys.exit("no control groups of version 2 are mounted")


@contextlib.contextmanager
def containers(engine: str, count: int) -> Iterator[None]:
    """Have so many containers as long as the block lasts."""
    top = Path(tempfile.mkdtemp(prefix="nsctl-bench-"))
    parent = group_root() / f"nsctl-bench-{secrets.token_hex(4)}"
    processes: list[subprocess.Popen[bytes]] = []
    start = _docker if engine == "docker" else _containerd
    try:
        parent.mkdir()
        for name in (_DAEMON, _SHIM):
            shutil.copy("/bin/sh", top / name)
        for number in range(count):
            processes += start(top, parent, number)
        if engine == "docker":
            # A shell by this name: its arguments tell where the state is.
            words = [str(top / _DAEMON), "-c", "read never", _DAEMON, "--data-root", f"{top}/data"]
            processes.append(subprocess.Popen(words, stdin=subprocess.PIPE))
        yield
    finally:
        for process in processes:
            process.send_signal(signal.SIGKILL)
            process.wait()
        for directory in parent.glob("*"):
            if directory.is_dir():
                _empty(directory)
        parent.rmdir()
        shutil.rmtree(top)


def _empty(group: Path) -> None:
    """End what is left in a group, and remove it."""
    for pid in (group / "cgroup.procs").read_text().split():
        os.kill(int(pid), signal.SIGKILL)
    while (group / "cgroup.procs").read_text():
        time.sleep(0.001)
    group.rmdir()


def _docker(top: Path, parent: Path, number: int) -> list[subprocess.Popen[bytes]]:
    """Start one container, and write its state."""
    container_id = secrets.token_hex(32)
    group = parent / container_id
    group.mkdir()
    process = subprocess.Popen([*_ISOLATED, "sleep", "infinity"])
    (group / "cgroup.procs").write_text(str(process.pid))
    place = top / "data/containers" / container_id
    place.mkdir(parents=True)
    state = {
        "ID": container_id,
        "Name": f"/bench{number}",
        "Created": "2026-11-24T12:55:46.312842082Z",
        "State": {"Running": True, "Pid": process.pid, "StartedAt": "2026-11-24T12:55:47Z"},
        "Config": {"Image": "bench:1", "Labels": {"app": "bench"}, "Env": [_PADDING]},
    }
    (place / "config.v2.json").write_text(json.dumps(state))
    (place / "hostconfig.json").write_text(json.dumps({"NetworkMode": "none"}))
    return [process]


def _containerd(top: Path, parent: Path, number: int) -> list[subprocess.Popen[bytes]]:
    """Start one container below a shim, and write its bundle."""
    name = f"bench{number}"
    group = parent / name
    group.mkdir()
    bundle = top / "io.containerd.runtime.v2.task/bench" / name
    bundle.mkdir(parents=True)
    spec = {"process": {"env": [_PADDING]}, "linux": {"namespaces": [{"type": "mount"}]}}
    (bundle / "config.json").write_text(json.dumps(spec))
    script = f"{' '.join(_ISOLATED)} sleep infinity & echo -n $! > init.pid; read never"
    words = [str(top / _SHIM), "-c", script, _SHIM, "-namespace", "bench", "-id", name]
    shim = subprocess.Popen(words, stdin=subprocess.PIPE, cwd=bundle)
    told = bundle / "init.pid"
    while not told.exists() or not told.read_text():
        time.sleep(0.001)
    (group / "cgroup.procs").write_text(told.read_text())
    return [shim]


def measure(engine: str, count: int, rounds: int) -> None:
    """Take snapshots without containers and with them in turn, and print what both cost."""
    from nsctl import host
    from nsctl.model.part import Part

    scan = (Part.TASKS, Part.CGROUPS)
    ways = {"scan alone": scan, "with containers": (*scan, Part.CONTAINERS)}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    with containers(engine, count):
        for _ in range(rounds + 1):
            for name, parts in ways.items():
                began, spent = time.perf_counter(), time.process_time()
                snapshot = host.take_snapshot(parts)
                wall[name].append(time.perf_counter() - began)
                cpu[name].append(time.process_time() - spent)
        named = sum(1 for row in snapshot.containers if row.name.startswith("bench") and row.pid)
    if named != count:
        sys.exit(f"{named} of {count} containers were named")
    print(f"{count} containers of {engine}, {rounds} rounds:")
    for name in ways:
        del wall[name][0], cpu[name][0]  # for the caches
        least, median = min(wall[name]) * 1000, statistics.median(wall[name]) * 1000
        print(
            f"  {name:<16} least {least:>6.1f} ms  median {median:>6.1f} ms"
            f"  CPU {min(cpu[name]) * 1000:>6.1f} ms"
        )
    costs = [min(times["with containers"]) - min(times["scan alone"]) for times in (wall, cpu)]
    print(f"  naming them costs {costs[0] * 1000:.1f} ms, CPU {costs[1] * 1000:.1f} ms")


def main() -> int:
    """Measure each engine's state."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--containers", type=int, default=300, metavar="N")
    parser.add_argument("--rounds", type=int, default=9, metavar="N")
    options = parser.parse_args()
    if os.geteuid() != 0:
        print("naming containers is measured as root only")
        return 0
    for engine in ("docker", "containerd"):
        measure(engine, options.containers, options.rounds)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Bare runc and crun on bundles below a stage's directory."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

from support.engines.grouped import in_group
from support.engines.stage import Stage, busybox_root

UID = 64_322
"""The ordinary user of rootless bundles, who has no passwd entry."""

_KINDS = ("pid", "network", "ipc", "uts", "mount")
_CAPABILITIES = ["CAP_KILL", "CAP_CHOWN"]


class Oci:
    """Bundles and the runtimes that run them.

    Args:
        stage: where they run.

    Attributes:
        stage: as given.
        root: the root file system of all bundles.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.root = busybox_root(stage.directory / "root")

    def bundle(self, name: str, **linux: Any) -> Path:
        """Write a bundle.

        Args:
            name: of the container.
            linux: keys of the configuration's "linux"; ``namespaces`` are types to add.

        Returns:
            Its directory.
        """
        kinds = (*_KINDS, *linux.pop("namespaces", ()))
        config = {
            "ociVersion": "1.0.2",
            "hostname": "oci",
            "root": {"path": str(self.root), "readonly": True},
            "annotations": {"org.example.name": "demo"},
            "process": {
                "cwd": "/",
                "args": ["/bin/sleep", "1000"],
                "env": ["PATH=/bin"],
                "user": {"uid": 0, "gid": 0},
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(
                    ("bounding", "effective", "permitted"), _CAPABILITIES
                ),
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs"},
                {
                    "destination": "/tmp",
                    "type": "bind",
                    "source": "/srv",
                    "options": ["bind", "ro"],
                },
            ],
            "linux": {"namespaces": [{"type": kind} for kind in kinds], **linux},
        }
        place = self.stage.directory / "bundles" / name
        place.mkdir(parents=True)
        (place / "config.json").write_text(json.dumps(config))
        return place

    def start(self, runtime: str, name: str, *options: str, **linux: Any) -> None:
        """Start a container in the background, with the runtime's own options before "run"."""
        linux.setdefault("cgroupsPath", f"{self.stage.cgroup}/{name}")
        place = self.bundle(name, **linux)
        self.stage.run(runtime, *options, "run", "-d", "--bundle", str(place), name)

    def start_waiting(self, runtime: str, name: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a container whose runtime waits for it."""
        place = self.bundle(name, cgroupsPath=f"{self.stage.cgroup}/{name}")
        # The stage's stand-in for the runtime would give the process another name.
        program = self.stage.directory / "waiting" / runtime
        program.parent.mkdir(exist_ok=True)
        if not program.exists():
            program.hardlink_to(self.stage.directory / f"{runtime}.real")
        words = (str(program), *options, "run", "--bundle", str(place), name)
        return self.stage.spawn(*words, log=f"{name}.log")

    def start_rootless(self, runtime: str, name: str, runtime_dir: str) -> None:
        """Start a container as an ordinary user, with state below a directory that is his."""
        mapping = [{"containerID": 0, "hostID": UID, "size": 1}]
        place = self.bundle(name, namespaces=("user",), uidMappings=mapping, gidMappings=mapping)
        for path in (place, place / "config.json"):
            os.chown(path, UID, UID)
        command = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups", runtime, "run"]
        self.stage.run(
            *in_group(f"{self.stage.cgroup}/user", [*command, "-d", "--bundle", str(place), name]),
            environ={"XDG_RUNTIME_DIR": runtime_dir},
        )

    def state(self, runtime: str, name: str, *options: str) -> dict[str, Any]:
        """What the runtime says of a container; {} while it says nothing."""
        command = self.stage.inside([runtime, *options, "state", name])
        done = subprocess.run(command, capture_output=True, check=False, timeout=60)
        found: dict[str, Any] = json.loads(done.stdout) if done.returncode == 0 else {}
        return found

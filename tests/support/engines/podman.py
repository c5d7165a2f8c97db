"""Podman: all of its files below a stage's directory, as root or as an ordinary user."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.engines.grouped import in_group
from support.engines.stage import Stage, busybox_root

IMAGE = "localhost/bb:1"
UID = 64_322
"""The ordinary user, in the stage's own passwd only."""

_USER = "nsctlpodman"
_PODMAN = "/usr/bin/podman"
_SETTINGS = """
[containers]
default_ulimits = ["nofile=1024:4096", "nproc=4096:4096"]
pids_limit = {pids_limit}
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "{runtime}"
num_locks = 256
"""


class Podman:
    """Podman and its containers.

    Args:
        stage: where it runs.
        rootless: as an ordinary user, with places below a home of his own.
        runtime: "runc" or "crun".
        pids_limit: of each container by default; 0 for none, where version 2 has no controller.

    Attributes:
        stage: as given.
        graph: where it keeps its containers.
    """

    def __init__(
        self,
        stage: Stage,
        *,
        rootless: bool = False,
        runtime: str = "runc",
        pids_limit: int = 2048,
    ) -> None:
        self.stage = stage
        self._rootless = rootless
        top = stage.directory
        settings = top / "containers.conf"
        settings.write_text(_SETTINGS.format(runtime=runtime, pids_limit=pids_limit))
        self._environ: dict[str, str] = {"CONTAINERS_CONF": str(settings), "HOME": str(top)}
        self._command = [_PODMAN]
        if rootless:
            self.graph = f"{self._add_user()}/.local/share/containers/storage"
        else:
            self.graph = f"{top}/graph"
            self._command += ["--root", self.graph, "--runroot", f"{top}/runroot"]
            self._command += ["--tmpdir", f"{top}/tmp", "--network-config-dir", f"{top}/net"]
            self._command += ["--storage-driver", "overlay"]
        root = busybox_root(top / "busybox")
        archive = top / "bb.tar"
        stage.run("tar", "-C", str(root), "-cf", str(archive), ".")
        self("import", "-c", 'CMD=["sleep","1000"]', str(archive), IMAGE)

    def _add_user(self) -> Path:
        """Give the stage an /etc of its own with a user, whose home is below it.

        Returns:
            The home.
        """
        top = self.stage.directory
        home, runtime = top / "home", top / "xdg"
        (home / ".config/containers").mkdir(parents=True)
        (home / ".config/containers/storage.conf").write_text('[storage]\ndriver = "overlay"\n')
        runtime.mkdir(mode=0o700)
        lines = {
            "passwd": f"{_USER}:x:{UID}:{UID}::{home}:/bin/sh",
            "group": f"{_USER}:x:{UID}:",
            "subuid": f"{_USER}:500000:65536",
            "subgid": f"{_USER}:500000:65536",
        }
        for name, line in lines.items():
            path, copy = Path("/etc", name), top / name
            copy.write_text((path.read_text() if path.exists() else "") + line + "\n")
            self.stage.run("mount", "--bind", str(copy), str(path))
        for path in (home, home / ".config", home / ".config/containers", runtime):
            os.chown(path, UID, UID)
        self.stage.run("mount", "--make-rshared", "/")
        self._environ = {
            **self._environ,
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
        }
        identity = ["setpriv", f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        self._command = [*identity, *self._command]
        return home

    def __call__(self, *words: str) -> str:
        """Run a command of podman(1); it must succeed.

        Returns:
            What it printed, without the last newline.
        """
        # A rootless container is in the group that it was started in.
        command = in_group(f"{self.stage.cgroup}/user", [*self._command, *words])
        return self.stage.run("env", "-C", "/", *command, environ=self._environ).rstrip("\n")

    def serve(self, socket: str) -> None:
        """Start the service of its API (podman-system-service(1)).

        Args:
            socket: path of the socket that it makes.
        """
        words = [*self._command, "system", "service", "--time=0", f"unix://{socket}"]
        settings = [f"{key}={value}" for key, value in self._environ.items()]
        self.stage.spawn("env", *settings, *words, log="api.log")
        self.stage.wait(lambda: os.path.exists(socket), "api.log")

    def _parent(self, options: tuple[str, ...]) -> tuple[str, ...]:
        """Rootless ones have no groups of their own here; those in a pod have its."""
        if self._rootless or "--pod" in options:
            return ()
        return ("--cgroup-parent", self.stage.cgroup)

    def run(self, name: str, *options: str, command: tuple[str, ...] = ()) -> None:
        """Start a container."""
        options = (*self._parent(options), *options)
        self("run", "-d", "--name", name, *options, IMAGE, *command)

    def pod(self, name: str, *options: str) -> None:
        """Make a pod."""
        self("pod", "create", "--name", name, *self._parent(()), *options)

    def inspect(self) -> list[dict[str, Any]]:
        """What podman-inspect(1) says of all containers, those of pods' own too."""
        ids = self("ps", "-aq", "--no-trunc").split("\n")
        found: list[dict[str, Any]] = json.loads(self("inspect", *ids))
        return found

    def pods(self) -> Mapping[str, str]:
        """The names of all pods, by id."""
        lines = self("pod", "ps", "--no-trunc", "--format", "{{.ID}} {{.Name}}").split("\n")
        return dict(line.split(" ") for line in lines if line)

"""Docker: a dockerd of its own, with all of its files below a stage's directory."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from support.engines.stage import Stage, busybox_root

IMAGE = "bb:1"
# A newer client may come first on the path.
_CLIENT = "/usr/bin/docker"
_REMAPPED = 300_000
_USER = "nsctlremap"


class Docker:
    """A dockerd and its containers.

    Args:
        stage: where it runs.
        data_root: directory of its state; with "" that is its default, /var/lib/docker in the
            stage's mount namespace.
        remap: map the ids of its containers (--userns-remap).

    Attributes:
        daemon: dockerd.
        stage: as given.
    """

    def __init__(self, stage: Stage, *, data_root: str = "", remap: bool = False) -> None:
        self.stage = stage
        directory = stage.directory
        self._socket = f"unix://{directory}/docker.sock"
        options = [
            *("--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/docker.pid"),
            *("-H", self._socket, "--bip", "172.31.250.1/24", "--cgroup-parent", stage.cgroup),
            *(("--data-root", data_root) if data_root else ()),
        ]
        if remap:
            self._add_user()
            options += ["--userns-remap", _USER]
        self.daemon = stage.spawn("dockerd", *options, log="docker.log")
        stage.wait(self._answers, "docker.log")
        root = busybox_root(directory / "busybox")
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                [*self._client(), "import", "-c", 'CMD ["sleep","1000"]', "-", IMAGE],
                stdin=tar.stdout,
                stdout=subprocess.DEVNULL,
                env=self._environ(),
                check=True,
            )

    def _add_user(self) -> None:
        """Give the stage an /etc of its own that knows a user with subordinate ids."""
        lines = {
            "passwd": f"{_USER}:x:64321:64321::/:/bin/false",
            "group": f"{_USER}:x:64321:",
            "subuid": f"{_USER}:{_REMAPPED}:65536",
            "subgid": f"{_USER}:{_REMAPPED}:65536",
        }
        for name, line in lines.items():
            path = Path("/etc", name)
            copy = self.stage.directory / name
            copy.write_text((path.read_text() if path.exists() else "") + line + "\n")
            self.stage.run("mount", "--bind", str(copy), str(path))

    def _client(self) -> list[str]:
        return [_CLIENT, "-H", self._socket]

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_CONFIG": str(self.stage.directory / "client")}

    def _answers(self) -> bool:
        command = [*self._client(), "version"]
        done = subprocess.run(command, capture_output=True, check=False, env=self._environ())
        return done.returncode == 0

    def __call__(self, *words: str) -> str:
        """Run a command of docker(1); it must succeed.

        Returns:
            What it printed, without the last newline.
        """
        done = subprocess.run(
            [*self._client(), *words],
            capture_output=True,
            check=False,
            text=True,
            env=self._environ(),
            timeout=60,
        )
        assert done.returncode == 0, f"docker {words}: {done.stderr}"
        return done.stdout.rstrip("\n")

    def run(self, name: str, *options: str, command: tuple[str, ...] = ()) -> str:
        """Start a container.

        Returns:
            Its id.
        """
        return self("run", "-d", "--name", name, *options, IMAGE, *command)

    def inspect(self) -> list[dict[str, Any]]:
        """What docker-inspect(1) says of all containers."""
        ids = self("ps", "-aq").split("\n")
        found: list[dict[str, Any]] = json.loads(self("inspect", *ids))
        return found

    def stop_daemon(self) -> None:
        """Kill dockerd and its containerd; shims and containers live on."""
        pids = [self.daemon.pid, *_children(self.daemon.pid)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        self.daemon.wait()

    def hang(self) -> None:
        """Stop dockerd and its containerd, so that nothing that asks them gets an answer."""
        for pid in (self.daemon.pid, *_children(self.daemon.pid)):
            os.kill(pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on."""
        for pid in (self.daemon.pid, *_children(self.daemon.pid)):
            os.kill(pid, signal.SIGCONT)


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = [int(word) for word in text.split()]
    # Go starts processes from any thread.
    for task in Path(f"/proc/{pid}/task").iterdir():
        if task.name != str(pid):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found

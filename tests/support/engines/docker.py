"""Docker: a dockerd of its own, with all of its files below a stage's directory.

Root's, an ordinary user's (rootlesskit(1)), and one that runs in another one's container.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from support.engines.grouped import in_group
from support.engines.stage import Stage, busybox_root

IMAGE = "bb:1"
# A newer client may come first on the path.
_CLIENT = "/usr/bin/docker"
_REMAPPED = 300_000
_USER = "nsctlremap"
_ROOTLESS = "nsctlrootless"
ROOTLESS_UID = 64_323
ROOTLESS_SCRIPT = "/usr/share/docker.io/contrib/dockerd-rootless.sh"
_NO_NETWORK = ("--bridge=none", "--iptables=false", "--ip6tables=false")
_PROGRAMS = ("/usr", "/lib", "/lib64", "/sbin", "/bin", "/etc")
_SUPPORT = Path(__file__).resolve().parent


class Client:
    """The command line of one daemon.

    Args:
        stage: where its files are.
        socket: path of its socket.

    Attributes:
        stage: as given.
        socket: as given.
    """

    def __init__(self, stage: Stage, socket: Path) -> None:
        self.stage = stage
        self.socket = socket

    def _client(self) -> list[str]:
        return [_CLIENT, "-H", f"unix://{self.socket}"]

    def _environ(self) -> dict[str, str]:
        return {**os.environ, "DOCKER_CONFIG": str(self.stage.directory / "client")}

    def _answers(self) -> bool:
        command = [*self._client(), "version"]
        done = subprocess.run(command, capture_output=True, check=False, env=self._environ())
        return done.returncode == 0

    def _add_image(self) -> None:
        """Give the daemon the one image that all containers are made from."""
        root = self.stage.directory / "busybox"
        if not root.exists():
            busybox_root(root)
        with subprocess.Popen(["tar", "-C", str(root), "-c", "."], stdout=subprocess.PIPE) as tar:
            subprocess.run(
                [*self._client(), "import", "-c", 'CMD ["sleep","1000"]', "-", IMAGE],
                stdin=tar.stdout,
                stdout=subprocess.DEVNULL,
                env=self._environ(),
                check=True,
            )

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


class Docker(Client):
    """A dockerd and its containers.

    Args:
        stage: where it runs.
        data_root: directory of its state; with "" that is its default, /var/lib/docker in the
            stage's mount namespace.
        remap: map the ids of its containers (--userns-remap).

    Attributes:
        daemon: dockerd.
    """

    def __init__(self, stage: Stage, *, data_root: str = "", remap: bool = False) -> None:
        directory = stage.directory
        super().__init__(stage, directory / "docker.sock")
        options = [
            *("--exec-root", f"{directory}/exec", "--pidfile", f"{directory}/docker.pid"),
            *(
                "-H",
                f"unix://{self.socket}",
                "--bip",
                "172.31.250.1/24",
                "--cgroup-parent",
                stage.cgroup,
            ),
            *(("--data-root", data_root) if data_root else ()),
        ]
        if remap:
            self._add_user()
            options += ["--userns-remap", _USER]
        self.daemon = stage.spawn("dockerd", *options, log="docker.log")
        stage.wait(self._answers, "docker.log")
        self._add_image()

    def _add_user(self) -> None:
        """Give the stage an /etc of its own that knows a user with subordinate ids."""
        lines = {
            "passwd": f"{_USER}:x:64321:64321::/:/bin/false",
            "group": f"{_USER}:x:64321:",
            "subuid": f"{_USER}:{_REMAPPED}:65536",
            "subgid": f"{_USER}:{_REMAPPED}:65536",
        }
        add_to_etc(self.stage, lines)

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


class InnerDocker(Client):
    """A dockerd in a container of another Docker's: privileged, with the host's programs.

    Args:
        outer: whose container it runs in.
        name: of that container.
    """

    def __init__(self, outer: Docker, name: str) -> None:
        top = outer.stage.directory / name
        top.mkdir()
        super().__init__(outer.stage, top / "docker.sock")
        binds = [f"{path}:{path}:ro" for path in _PROGRAMS]
        # The stage's stand-in for the runtime needs its own files.
        binds += [f"{_SUPPORT}:{_SUPPORT}:ro", f"{outer.stage.directory}:{outer.stage.directory}"]
        options = [word for bind in binds for word in ("-v", bind)]
        outer.run(
            *(name, "--privileged", "--network", "none", "--tmpfs", "/run", *options),
            command=(
                *("dockerd", "--data-root", f"{top}/data", "--exec-root", f"{top}/exec"),
                *("--pidfile", f"{top}/docker.pid", "-H", f"unix://{self.socket}"),
                *(*_NO_NETWORK, "--storage-driver", "vfs"),
            ),
        )
        outer.stage.wait(self._answers, "docker.log")
        self._add_image()


class RootlessDocker(Client):
    """A dockerd of an ordinary user, started as Docker's own script does it.

    Args:
        stage: where it runs.
    """

    def __init__(self, stage: Stage) -> None:
        home, runtime = stage.directory / "home", stage.directory / "xdg"
        super().__init__(stage, runtime / "docker.sock")
        home.mkdir()
        runtime.mkdir(mode=0o700)
        lines = {
            "passwd": f"{_ROOTLESS}:x:{ROOTLESS_UID}:{ROOTLESS_UID}::{home}:/bin/sh",
            "group": f"{_ROOTLESS}:x:{ROOTLESS_UID}:",
            "subuid": f"{_ROOTLESS}:500000:65536",
            "subgid": f"{_ROOTLESS}:500000:65536",
        }
        add_to_etc(stage, lines)
        for path in (home, runtime):
            os.chown(path, ROOTLESS_UID, ROOTLESS_UID)
        stage.run("mount", "--make-rshared", "/")
        settings = {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "DOCKERD_ROOTLESS_ROOTLESSKIT_NET": "host",
            "DOCKERD_ROOTLESS_ROOTLESSKIT_PORT_DRIVER": "none",
        }
        who = (f"--reuid={ROOTLESS_UID}", f"--regid={ROOTLESS_UID}", "--clear-groups")
        words = ["env", "-C", "/", *(f"{key}={value}" for key, value in settings.items())]
        words += ["setpriv", *who, ROOTLESS_SCRIPT, *_NO_NETWORK, "--ip-forward=false"]
        command = in_group(f"{stage.cgroup}/user", words)
        stage.spawn(*command, log="rootless.log")
        stage.wait(self._answers, "rootless.log")
        self._add_image()


def add_to_etc(stage: Stage, lines: dict[str, str]) -> None:
    """Give a stage files in /etc of its own with a line more each."""
    for name, line in lines.items():
        path, copy = Path("/etc", name), stage.directory / name
        copy.write_text((path.read_text() if path.exists() else "") + line + "\n")
        stage.run("mount", "--bind", str(copy), str(path))


def _children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    found = [int(word) for word in text.split()]
    # Go starts processes from any thread.
    for task in Path(f"/proc/{pid}/task").iterdir():
        if task.name != str(pid):
            found += [int(word) for word in (task / "children").read_text().split()]
    return found

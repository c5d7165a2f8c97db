"""LXC: containers of busybox roots in a path below a stage's directory."""

from __future__ import annotations

from pathlib import Path

from support.engines.stage import Stage, busybox_root

FIRST_ID = 200_000
MAPPED = (
    f"lxc.idmap = u 0 {FIRST_ID} 65536",
    f"lxc.idmap = g 0 {FIRST_ID} 65536",
    "lxc.rootfs.options = idmap=container",
)


class Lxc:
    """LXC and its containers.

    Args:
        stage: where it runs.

    Attributes:
        stage: as given.
        path: LXCPATH.
        root: the root file system of all containers.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.path = f"{stage.directory}/lxc"
        Path(self.path).mkdir()
        Path(self.path).chmod(0o755)
        self.root = busybox_root(stage.directory / "root")
        # LXC calls newuidmap(1) even as root.
        for name in ("subuid", "subgid"):
            path, copy = Path("/etc", name), stage.directory / name
            lines = path.read_text().split("\n") if path.exists() else []
            kept = [line for line in lines if line and not line.startswith("root:")]
            copy.write_text("\n".join([*kept, f"root:{FIRST_ID}:65536", ""]))
            stage.run("mount", "--bind", str(copy), str(path))

    def create(self, name: str, *lines: str) -> None:
        """Write a container's configuration."""
        place = Path(self.path, name)
        place.mkdir()
        settings = (
            f"lxc.uts.name = {name}",
            f"lxc.rootfs.path = dir:{self.root}",
            "lxc.mount.auto = proc:mixed",
            f"lxc.cgroup.dir = {self.stage.cgroup[1:]}/{name}",
            *lines,
        )
        (place / "config").write_text("\n".join(settings) + "\n")

    def start(self, name: str, *lines: str) -> None:
        """Create a container and start it."""
        self.create(name, *lines)
        log = f"{self.stage.directory}/{name}.log"
        options = ("-P", self.path, "-n", name, "-o", log, "-d", "--", "/bin/sleep", "1000")
        self.stage.run("lxc-start", *options)
        self.stage.run("lxc-wait", "-P", self.path, "-n", name, "-s", "RUNNING", "-t", "10")

    def info(self, name: str) -> dict[str, str]:
        """What lxc-info(1) says of a container, "state" and "pid" if it runs, in lower case."""
        text = self.stage.run("lxc-info", "-P", self.path, "-n", name, "-Hsp")
        pairs = (line.partition(":") for line in text.split("\n")[:-1])
        return {key.lower(): value.strip().lower() for key, _, value in pairs}

    def freeze(self, name: str) -> None:
        """Stop a container's processes by the kernel's freezer."""
        self.stage.run("lxc-freeze", "-P", self.path, "-n", name)

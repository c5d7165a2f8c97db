"""containerd with its CRI plugin: containers of ctr(8), and pods as a kubelet asks for them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
from pathlib import Path
from typing import Any, NamedTuple

from support.engines.stage import Stage, busybox_root

IMAGE = "localhost/bb:1"
PAUSE = "localhost/pause:1"
_CONFIG = """
version = 2
root = "{top}/root"
state = "{top}/state"
[grpc]
  address = "{top}/containerd.sock"
[plugins."io.containerd.internal.v1.opt"]
  path = "{top}/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{top}/cni"
"""
_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "nsctl",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "nsctlcni0",
            "isGateway": True,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": "172.31.252.0/24"}]],
                "routes": [{"dst": "0.0.0.0/0"}],
            },
        }
    ],
}


class Pod(NamedTuple):
    """A pod's sandbox, and what it was asked for with."""

    id: str
    config: Any


class Containerd:
    """A containerd and its containers.

    Args:
        stage: where it runs.

    Attributes:
        daemon: containerd.
        stage: as given.
        socket: path of its socket.
    """

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        top = stage.directory
        self.socket = top / "containerd.sock"
        (top / "config.toml").write_text(_CONFIG.format(top=top))
        (top / "cni").mkdir()
        (top / "cni/10-nsctl.conflist").write_text(json.dumps(_NETWORK))
        self.daemon = stage.spawn("containerd", "--config", str(top / "config.toml"), log="c.log")
        stage.wait(self._answers, "c.log")
        _archive(busybox_root(top / "busybox"), top / "bb.tar", IMAGE, "sleep", "1000")
        (top / "pause").mkdir()
        shutil.copy("/bin/busybox", top / "pause/busybox")
        _archive(top / "pause", top / "pause.tar", PAUSE, "/busybox", "sleep", "1000")
        self.ctr("k8s.io", "images", "import", str(top / "pause.tar"))
        self.ctr("k8s.io", "images", "import", str(top / "bb.tar"))

    def _answers(self) -> bool:
        command = ["ctr", "-a", str(self.socket), "version"]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def ctr(self, namespace: str, *words: str) -> str:
        """Run a command of ctr(8) in one of containerd's namespaces; it must succeed."""
        return self.stage.run("ctr", "-a", str(self.socket), "-n", namespace, *words)

    def add_namespace(self, namespace: str) -> None:
        """Give one of containerd's namespaces the image."""
        self.ctr(namespace, "images", "import", str(self.stage.directory / "bb.tar"))

    def run(self, namespace: str, name: str, *options: str) -> int:
        """Start a container with ctr(8).

        Returns:
            Its first process.
        """
        group = f"{self.stage.cgroup}/{namespace}/{name}"
        self.ctr(
            *(namespace, "run", "-d", "--null-io", "--cgroup", group),
            *(*options, IMAGE, name),
        )
        return self.tasks(namespace)[name]

    def remove(self, namespace: str, name: str) -> None:
        """Kill a container of ctr(8) and remove it."""
        self.ctr(namespace, "tasks", "rm", "-f", name)
        self.ctr(namespace, "containers", "rm", name)

    def tasks(self, namespace: str) -> dict[str, int]:
        """The first processes of a namespace's containers, as ctr(8) tells them."""
        lines = self.ctr(namespace, "tasks", "list").rstrip("\n").split("\n")[1:]
        words = [[word for word in line.split(" ") if word] for line in lines]
        return {name: int(pid) for name, pid, *_ in words}

    def stop_daemon(self) -> None:
        """Kill containerd; shims and containers live on."""
        self.daemon.kill()
        self.daemon.wait()

    def hang(self) -> None:
        """Stop containerd, so that nothing that asks it gets an answer."""
        os.kill(self.daemon.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        os.kill(self.daemon.pid, signal.SIGCONT)


class Cri:
    """The CRI plugin of a containerd, asked as a kubelet would.

    Args:
        containerd: which.
    """

    def __init__(self, containerd: Containerd) -> None:
        import grpc  # type: ignore[import-untyped]
        from cri_api.v1 import api_pb2, api_pb2_grpc

        self.api = api_pb2
        self._stage = containerd.stage
        self._channel = grpc.insecure_channel(f"unix://{containerd.socket}")
        stub: Any = api_pb2_grpc.RuntimeServiceStub
        self.runtime = stub(self._channel)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def pod(self, name: str, *, net: str = "POD", pid: str = "POD") -> Pod:
        """Make a pod's sandbox; the modes are those of the CRI's NamespaceOption."""
        api = self.api
        options = api.NamespaceOption(network=net, pid=pid, ipc="POD")
        config = api.PodSandboxConfig(
            metadata=api.PodSandboxMetadata(name=name, uid=f"uid-{name}", namespace="default"),
            hostname="" if net == "NODE" else name,
            log_directory=str(self._stage.directory / "logs" / name),
            labels={"app": name},
            linux=api.LinuxPodSandboxConfig(
                cgroup_parent=f"{self._stage.cgroup}/kubepods/burstable/pod{name}",
                security_context=api.LinuxSandboxSecurityContext(namespace_options=options),
            ),
        )
        answer = self.runtime.RunPodSandbox(api.RunPodSandboxRequest(config=config), timeout=30)
        return Pod(answer.pod_sandbox_id, config)

    def container(
        self,
        pod: Pod,
        name: str,
        *command: str,
        pid: str = "POD",
        target: str = "",
        start: bool = True,
    ) -> str:
        """Create a container in a pod, and start it.

        Args:
            pod: which.
            name: of the container.
            command: in place of the image's.
            pid: as the CRI's NamespaceOption.
            target: id of the container whose PID namespace is TARGET.
            start: no: leave it created.

        Returns:
            Its id.
        """
        api = self.api
        context = pod.config.linux.security_context.namespace_options
        options = api.NamespaceOption(network=context.network, pid=pid, ipc="POD", target_id=target)
        config = api.ContainerConfig(
            metadata=api.ContainerMetadata(name=name),
            image=api.ImageSpec(image=IMAGE),
            command=command,
            labels={"part": name},
            log_path=f"{name}.log",
            linux=api.LinuxContainerConfig(
                security_context=api.LinuxContainerSecurityContext(namespace_options=options)
            ),
        )
        request = api.CreateContainerRequest(
            pod_sandbox_id=pod.id, config=config, sandbox_config=pod.config
        )
        made = self.runtime.CreateContainer(request, timeout=30).container_id
        if start:
            self.runtime.StartContainer(api.StartContainerRequest(container_id=made), timeout=30)
        return str(made)

    def stop_pod(self, pod: Pod) -> None:
        """Stop a pod's sandbox, and all that runs in it."""
        self.runtime.StopPodSandbox(
            self.api.StopPodSandboxRequest(pod_sandbox_id=pod.id), timeout=30
        )

    def remove_pod(self, pod: Pod) -> None:
        """Remove a pod's sandbox, and all containers in it."""
        self.runtime.RemovePodSandbox(
            self.api.RemovePodSandboxRequest(pod_sandbox_id=pod.id), timeout=30
        )

    def status(self, container: str) -> tuple[Any, dict[str, Any]]:
        """ContainerStatus of a container, and what it says beyond the interface."""
        request = self.api.ContainerStatusRequest(container_id=container, verbose=True)
        answer = self.runtime.ContainerStatus(request, timeout=30)
        return answer.status, json.loads(answer.info["info"])

    def sandbox_status(self, sandbox: str) -> tuple[Any, dict[str, Any]]:
        """PodSandboxStatus of a pod, and what it says beyond the interface."""
        request = self.api.PodSandboxStatusRequest(pod_sandbox_id=sandbox, verbose=True)
        answer = self.runtime.PodSandboxStatus(request, timeout=30)
        return answer.status, json.loads(answer.info["info"])


def _archive(root: Path, path: Path, name: str, *command: str) -> None:
    """Write an image, in the form of docker-save(1), of a root file system."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as layer:
        layer.add(root, arcname=".")
    config = json.dumps(
        {
            "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine],
            "os": "linux",
            "config": {"Cmd": list(command), "Env": ["PATH=/sbin:/bin"]},
            "rootfs": {
                "type": "layers",
                "diff_ids": ["sha256:" + hashlib.sha256(buffer.getvalue()).hexdigest()],
            },
        }
    ).encode()
    config_name = hashlib.sha256(config).hexdigest() + ".json"
    manifest = [{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]
    parts = {
        config_name: config,
        "layer.tar": buffer.getvalue(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    with tarfile.open(path, "w") as archive:
        for member, data in parts.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

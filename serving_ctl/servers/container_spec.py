"""What the TensorFlow Serving container is made of, for the settings; the same as a ``docker run`` line."""

from __future__ import annotations

import hashlib
import os
import platform
import shlex
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from serving_ctl.config import TF_SERVING, Settings
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.remote import Reach
from serving_ctl.servers.spec import asked, serving_flags, shared_environment

REST_PORT = 8501
SERVER_LABEL, FOLDER_LABEL = "tfserve-tui.server", "tfserve-tui.state"
CONFIG_MOUNT, MODELS_MOUNT = "/config", "/models"
USER = "65534:65534"


@dataclass(frozen=True)
class ContainerSpec:
    """Everything a container is created with; ``record`` names it."""

    record: Record
    image: str
    command: tuple[str, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    mounts: tuple[tuple[str, str], ...]
    """(folder here, target), all read-only; on another machine a volume with a copy stands for the folder."""
    port: int
    host_network: bool
    pids_limit: int
    memory: str
    """Limit such as ``2g``; empty for none."""
    cpuset: str
    reach: Reach

    @property
    def volumes(self) -> tuple[str, ...]:
        """Names of the volumes with the copies, one a mount; none on this machine."""
        return volume_names(self.record.container) if self.reach.engine else ()

    def sources(self) -> tuple[str, ...]:
        """What is mounted, one a mount: volume or folder."""
        return self.volumes or tuple(source for source, _ in self.mounts)


def container_spec(settings: Settings, files: StateFiles, model: Path, reach: Reach) -> ContainerSpec:
    """The container for ``settings``; the mounted config folder must be written before it starts."""
    serving = settings.tf_serving
    host = serving.network == "host"
    threads = serving.rest_threads or 4 * (os.cpu_count() or 1)
    host_flags = ["--port=0", f"--rest_api_port={serving.port}"] if host else []
    where = f" on {urlsplit(reach.engine).hostname}" if reach.engine else ""
    where += ", SSH tunnel" if reach.tunnel else ""
    record = Record(
        server=TF_SERVING,
        runtime="docker",
        label=f"docker{where}, host network" if host else f"docker{where}",
        url=f"http://{reach.address}:{serving.port}",
        engine=reach.engine,
        model=str(model),
        asked=asked(settings, TF_SERVING, "docker"),
        container=container_name(files),
    )
    return ContainerSpec(
        record=record,
        image=serving.image,
        command=(*host_flags, *serving_flags(settings, CONFIG_MOUNT)),
        environment=shared_environment(settings),
        labels={SERVER_LABEL: TF_SERVING, FOLDER_LABEL: str(files.folder)},
        mounts=((str(model), f"{MODELS_MOUNT}/{settings.model.name}"), (str(files.config), CONFIG_MOUNT)),
        port=serving.port,
        host_network=host,
        pids_limit=4 * threads + 128,
        memory=serving.memory,
        cpuset=serving.cpuset,
        reach=reach,
    )


def container_name(files: StateFiles) -> str:
    """One name a machine and state folder, so that two of them on one engine do not meet."""
    place = f"{platform.node()}:{files.folder}"
    return f"tfserve-tui-{files.server}-{hashlib.sha256(place.encode()).hexdigest()[:8]}"


def volume_names(container: str) -> tuple[str, str]:
    """The volumes that hold copies of the model and of the config folder for a container on another machine."""
    return f"{container}-model", f"{container}-config"


def docker_command(spec: ContainerSpec) -> str:
    """The ``docker run`` line that starts the same container by hand."""
    network = ["--network", "host"] if spec.host_network else ["-p", f"{spec.reach.bind}:{spec.port}:{REST_PORT}"]
    kind = "volume" if spec.volumes else "bind"
    words = ["docker", "run", "-d", "--init", "--name", spec.record.container, *network]
    for source, (_, target) in zip(spec.sources(), spec.mounts, strict=True):
        words += ["--mount", f"type={kind},source={source},target={target},readonly"]
    words += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
    words += ["--user", USER, "--pids-limit", str(spec.pids_limit)]
    words += ["--memory", spec.memory] if spec.memory else []
    words += ["--cpuset-cpus", spec.cpuset] if spec.cpuset else []
    for flag, values in (("-e", spec.environment), ("--label", spec.labels)):
        for name, value in values.items():
            words += [flag, f"{name}={value}"]
    return shlex.join([*words, spec.image, *spec.command])

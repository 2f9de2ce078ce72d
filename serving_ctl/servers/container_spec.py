"""What the TensorFlow Serving container is made of, for the settings; the same as a ``docker run`` line."""

from __future__ import annotations

import hashlib
import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from serving_ctl.config import TF_SERVING, Settings
from serving_ctl.servers.ports import LOOPBACK
from serving_ctl.servers.record import Record, StateFiles
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
    """(source on the host, target), all read-only."""
    port: int
    host_network: bool
    pids_limit: int


def container_spec(settings: Settings, files: StateFiles, model: Path) -> ContainerSpec:
    """The container for ``settings``; the mounted config folder must be written before it starts."""
    serving = settings.tf_serving
    host = serving.network == "host"
    threads = serving.rest_threads or 4 * (os.cpu_count() or 1)
    host_flags = ["--port=0", f"--rest_api_port={serving.port}"] if host else []
    record = Record(
        server=TF_SERVING,
        runtime="docker",
        label="docker, host network" if host else "docker",
        url=f"http://{LOOPBACK}:{serving.port}",
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
    )


def container_name(files: StateFiles) -> str:
    """One name a state folder, so that two of them on one engine do not meet."""
    return f"tfserve-tui-{files.server}-{hashlib.sha256(str(files.folder).encode()).hexdigest()[:8]}"


def docker_command(spec: ContainerSpec) -> str:
    """The ``docker run`` line that starts the same container by hand."""
    network = ["--network", "host"] if spec.host_network else ["-p", f"{LOOPBACK}:{spec.port}:{REST_PORT}"]
    words = ["docker", "run", "-d", "--init", "--name", spec.record.container, *network]
    for source, target in spec.mounts:
        words += ["--mount", f"type=bind,source={source},target={target},readonly"]
    words += ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges"]  # noqa: S108
    words += ["--user", USER, "--pids-limit", str(spec.pids_limit)]
    for flag, values in (("-e", spec.environment), ("--label", spec.labels)):
        for name, value in values.items():
            words += [flag, f"{name}={value}"]
    return shlex.join([*words, spec.image, *spec.command])

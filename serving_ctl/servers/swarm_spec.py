"""What the Swarm service of TensorFlow Serving is made of, for the settings. Nothing is asked or started here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from serving_ctl.config import TF_SERVING, Settings
from serving_ctl.errors import ConfigError
from serving_ctl.servers.container_spec import ContainerSpec, container_spec
from serving_ctl.servers.ports import LOOPBACK
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.remote import Reach
from serving_ctl.servers.spec import asked

# Answers 0 when the model is AVAILABLE; in bash, which the image's entry point needs too: it has no curl and no wget.
HEALTH_SCRIPT = (
    "exec 3<>/dev/tcp/127.0.0.1/8501 || exit 1;"
    ' printf "GET %s HTTP/1.0\\r\\nHost: localhost\\r\\nConnection: close\\r\\n\\r\\n" "$0" >&3;'
    " while IFS= read -r line || [[ $line ]]; do [[ $line == *'\"AVAILABLE\"'* ]] && exit 0; done <&3; exit 1"
)


@dataclass(frozen=True)
class ServiceSpec:
    """A service of ``replicas`` tasks, each as ``container`` says, as far as services have its settings."""

    record: Record
    container: ContainerSpec
    replicas: int
    mesh: bool
    """Published once for all through the routing mesh; else each task has a port of its own on its node."""
    update_order: str
    update_parallelism: int
    health_interval_s: float
    start_period_s: float
    """For so long a task that is not healthy yet counts as starting."""
    health_path: str

    @property
    def health_test(self) -> list[str]:
        """The health check's command."""
        return ["CMD", "bash", "-c", HEALTH_SCRIPT, self.health_path]


def service_spec(settings: Settings, files: StateFiles, model: Path, engine: str) -> ServiceSpec:
    """The service for ``settings`` on ``engine`` (its URL, empty for this machine's). Raises ConfigError."""
    serving = settings.tf_serving
    if serving.cpuset:
        raise ConfigError(
            '[tf-serving] cpuset: a Swarm service cannot choose cores; leave it out, or runtime = "docker".'
        )
    address = serving.address or urlsplit(engine).hostname or LOOPBACK
    plain = msgspec.structs.replace(serving, network="published")
    container = container_spec(
        msgspec.structs.replace(settings, tf_serving=plain), files, model, Reach(engine, address=address)
    )
    mesh = serving.publish == "mesh"
    record = msgspec.structs.replace(
        container.record,
        runtime="swarm",
        container="",
        service=container.record.container,
        address=address,
        label=service_label(serving.replicas, serving.image, mesh=mesh),
        url=f"http://{address}:{serving.port}" if mesh else "",
        asked=asked(settings, TF_SERVING, "swarm"),
    )
    return ServiceSpec(
        record=record,
        container=container,
        replicas=serving.replicas,
        mesh=mesh,
        update_order=serving.update_order,
        update_parallelism=serving.update_parallelism,
        health_interval_s=serving.health_interval_s,
        start_period_s=serving.start_timeout_s,
        health_path=f"/v1/models/{settings.model.name}",
    )


def service_label(replicas: int, image: str, *, mesh: bool) -> str:
    """What every table and card calls the service."""
    return f"swarm {replicas} × {image}" + (", routing mesh" if mesh else "")

"""Every TensorFlow Serving container on the engine, ours or not: the ``docker ps`` view."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from serving_ctl.errors import ServerStartError
from serving_ctl.servers.container_spec import FOLDER_LABEL, SERVER_LABEL
from serving_ctl.servers.docker import Engine, remove

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

REST_PORT = "8501/tcp"
UPSTREAM = "tensorflow/serving"
STOP_GRACE_S = 2


class ServingContainer(msgspec.Struct, frozen=True, kw_only=True):
    """One container. ``url`` is empty when its REST port is not published; ``ours`` when any tfserve-tui made it."""

    name: str
    image: str
    status: str
    url: str
    ours: bool
    folder: str
    """State folder of the tfserve-tui that made it; empty for others."""


async def serving_containers(engine: Engine, image: str) -> tuple[ServingContainer, ...]:
    """All that run ``image`` or tensorflow/serving, or carry our label; raises EngineError."""
    return await engine.call(lambda client: _list(client, image))


async def stop_container(engine: Engine, name: str) -> None:
    """Stop and remove the container ``name``, whoever made it; raises ServerStartError when there is none such."""
    if not await engine.call(lambda client: bool(client.containers.list(all=True, filters={"name": f"^/{name}$"}))):
        raise ServerStartError(f"there is no container {name} on the engine.")
    await engine.call(lambda client: remove(client, name, STOP_GRACE_S, None))


def _list(client: DockerClient, image: str) -> tuple[ServingContainer, ...]:
    found = [_describe(container) for container in client.containers.list(all=True)]
    return tuple(one for one in found if one.ours or one.image == image or one.image.split(":")[0] == UPSTREAM)


def _describe(container: Container) -> ServingContainer:
    labels = container.labels
    published = container.ports.get(REST_PORT) or []
    address = next(((one["HostIp"], one["HostPort"]) for one in published), None)
    return ServingContainer(
        name=container.name or "",
        image=container.attrs["Config"]["Image"],
        status=container.status,
        url=f"http://{'127.0.0.1' if address[0] == '0.0.0.0' else address[0]}:{address[1]}" if address else "",  # noqa: S104
        ours=SERVER_LABEL in labels,
        folder=labels.get(FOLDER_LABEL, ""),
    )

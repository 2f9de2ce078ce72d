"""Every TensorFlow Serving container on the engine, ours or not: the ``docker ps`` view, and taking one over."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from serving_ctl.config import TF_SERVING, Settings
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.container_calls import find, remove
from serving_ctl.servers.container_spec import FOLDER_LABEL, REST_PORT, SERVER_LABEL
from serving_ctl.servers.docker import Engine
from serving_ctl.servers.ports import LOOPBACK
from serving_ctl.servers.record import Record

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

REST_FLAG = re.compile(r"--?rest_api_port=(\d+)")
UPSTREAM = "tensorflow/serving"
HERE = {"0.0.0.0", "::", LOOPBACK}  # noqa: S104 - addresses of a published port that mean the engine's own machine
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
    machine = _machine(await engine.host())
    return await engine.call(lambda client: _list(client, image, machine))


async def stop_container(engine: Engine, name: str) -> None:
    """Stop and remove the container ``name``, whoever made it; raises ServerStartError when there is none such."""
    if await engine.call(lambda client: find(client, name)) is None:
        raise _absent(name)
    await engine.call(lambda client: remove(client, name, STOP_GRACE_S, None))


async def stranger_record(engine: Engine, settings: Settings, name: str) -> Record:
    """The record of a running container that somebody else started; raises ServerStartError when it cannot be one."""
    host = await engine.host()
    found = await engine.call(lambda client: find(client, name))
    if found is None:
        raise _absent(name)
    one = _describe(found, _machine(host))
    if one.status != "running":
        raise ServerStartError(f"{TF_SERVING}: container {name} is {one.status}, not running.")
    if not one.url:
        raise ServerStartError(f"{TF_SERVING}: container {name} does not publish its REST port ({REST_PORT}).")
    network = "host" if _on_host(found) else "published"
    known = {"model name": settings.model.name, "runtime": "docker", "port": str(urlsplit(one.url).port)}
    return Record(
        server=TF_SERVING,
        runtime="docker",
        label="docker, adopted" + (", host network" if network == "host" else ""),
        url=one.url,
        model="",
        asked=known | {"image": one.image, "network": network},
        container=one.name,
        engine=host,
    )


def _absent(name: str) -> ServerStartError:
    return ServerStartError(f"there is no container {name} on the engine.")


def _machine(engine: str) -> str:
    """The address that published ports of the engine ``engine`` are reached at."""
    return urlsplit(engine).hostname or LOOPBACK


def _list(client: DockerClient, image: str, machine: str) -> tuple[ServingContainer, ...]:
    found = [_describe(container, machine) for container in client.containers.list(all=True, ignore_removed=True)]
    return tuple(one for one in found if one.ours or one.image == image or one.image.split(":")[0] == UPSTREAM)


def _describe(container: Container, machine: str) -> ServingContainer:
    labels = container.labels
    return ServingContainer(
        name=container.name or "",
        image=container.attrs["Config"]["Image"],
        status=container.status,
        url=_url(container, machine),
        ours=SERVER_LABEL in labels,
        folder=labels.get(FOLDER_LABEL, ""),
    )


def _url(container: Container, machine: str) -> str:
    """Base URL of its REST port, empty when nobody reaches it from outside."""
    if container.status != "running":
        return ""
    if _on_host(container):
        ports = REST_FLAG.findall(" ".join(container.attrs["Args"]))  # of several flags the last one counts
        return f"http://{machine}:{ports[-1] if ports else REST_PORT}"
    for one in (container.ports or {}).get(f"{REST_PORT}/tcp") or []:
        return f"http://{machine if one['HostIp'] in HERE else one['HostIp']}:{one['HostPort']}"
    return ""


def _on_host(container: Container) -> bool:
    return bool(container.attrs["HostConfig"]["NetworkMode"] == "host")

"""What is asked of a Docker engine about one container: short calls that run in the engine's thread."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.container_spec import REST_PORT, USER, ContainerSpec, volume_names
from serving_ctl.servers.docker import PROGRAM, EngineError, image_absent, read_version
from serving_ctl.servers.ports import port_taken
from serving_ctl.servers.remote import packed

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

LOG_LINES_KEPT = 5000


def create(client: DockerClient, spec: ContainerSpec) -> int:
    """Create and start ``spec``; a left-over of the same name is removed.

    Returns the port on the engine's machine: behind a tunnel the engine chooses one.
    """
    from docker.types import Mount

    remove(client, spec.record.container, 0, None)
    if spec.volumes:
        remove_copies(client, spec.record.container)
        copy_folders(client, spec)
    published = (spec.reach.bind, None if spec.reach.tunnel else spec.port)
    network: dict[str, Any] = (
        {"network_mode": "host"} if spec.host_network else {"ports": {f"{REST_PORT}/tcp": published}}
    )
    kind: Literal["volume", "bind"] = "volume" if spec.volumes else "bind"
    mounted = zip(spec.sources(), spec.mounts, strict=True)
    container = client.containers.create(
        spec.image,
        command=list(spec.command),
        name=spec.record.container,
        labels=spec.labels,
        environment=spec.environment,
        mounts=[Mount(target, source, type=kind, read_only=True) for source, (_, target) in mounted],
        init=True,
        read_only=True,
        tmpfs={"/tmp": ""},  # noqa: S108
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user=USER,
        pids_limit=spec.pids_limit,
        mem_limit=spec.memory or None,
        cpuset_cpus=spec.cpuset or None,
        **network,
    )
    container.start()
    if spec.host_network or not spec.reach.tunnel:
        return spec.port
    container.reload()
    return int((container.ports[f"{REST_PORT}/tcp"] or [])[0]["HostPort"])


def copy_folders(client: DockerClient, spec: ContainerSpec) -> None:
    """Fill the volumes, through a container of the same image that is never started."""
    from docker.types import Mount

    pairs = list(zip(spec.volumes, spec.mounts, strict=True))
    for volume in spec.volumes:
        client.volumes.create(volume, labels=spec.labels)
    helper = client.containers.create(
        spec.image,
        name=_helper_name(spec.record.container),
        labels=spec.labels,
        mounts=[Mount(target, volume, type="volume") for volume, (_, target) in pairs],
    )
    for folder, target in spec.mounts:
        with packed(Path(folder)) as archive:
            helper.put_archive(target, archive)
    helper.remove(force=True)


def remove_copies(client: DockerClient, name: str) -> None:
    """Remove what was made on another machine for the container ``name``: volumes, and the helper that filled them."""
    import docker.errors

    remove(client, _helper_name(name), 0, None)
    for volume in volume_names(name):
        try:
            client.volumes.get(volume).remove(force=True)
        except docker.errors.NotFound:
            continue


def _helper_name(name: str) -> str:
    return f"{name}-copy"


def start_error(error: EngineError, spec: ContainerSpec) -> ServerStartError:
    """The engine's refusal to start ``spec`` as an error for people."""
    text = str(error)
    if "port is already allocated" in text or "address already in use" in text:
        if not spec.reach.engine:
            return port_taken(TF_SERVING, spec.port)
        where = f"{spec.reach.bind}:{spec.port}"
        return ServerStartError(f"{TF_SERVING}: {where} is taken on the Docker engine; set another [tf-serving] port.")
    if "No such image" in text:
        return image_absent(spec.image)
    return ServerStartError(f"{TF_SERVING}: {text}")


def find(client: DockerClient, name: str) -> Container | None:
    """The container ``name``, or None when there is no such one."""
    import docker.errors

    try:
        return client.containers.get(name)
    except docker.errors.NotFound:
        return None


def inspect_state(client: DockerClient, name: str) -> dict[str, Any] | None:
    """The engine's ``State`` of a container, or None when there is no such one."""
    container = find(client, name)
    return dict(container.attrs["State"]) if container else None


def logs(client: DockerClient, name: str, lines: int) -> str:
    """The last ``lines`` lines of its log; empty when there is no such container."""
    container = find(client, name)
    return _said(container, lines).decode(errors="replace") if container else ""


def _said(container: Container, lines: int) -> bytes:
    """The last lines of its log; nothing when the engine's logging driver keeps none that can be read."""
    import docker.errors

    try:
        return container.logs(tail=lines)
    except docker.errors.APIError as error:
        if error.status_code == HTTPStatus.NOT_IMPLEMENTED:
            return b""
        raise


def remove(client: DockerClient, name: str, grace_s: int, log: Path | None) -> None:
    """Stop and remove a container, its log kept in ``log``; nothing happens when there is no such one."""
    import docker.errors

    container = find(client, name)
    if container is None:
        return
    try:
        if container.status == "running":
            container.stop(timeout=grace_s)
        if log:
            log.write_bytes(_said(container, LOG_LINES_KEPT))
        container.remove(force=True)
    except docker.errors.NotFound:
        return


def image_version(client: DockerClient, name: str, folder: Path) -> str:
    """What the server in container ``name`` says of its version; asked once an image, kept in ``folder``."""
    container = find(client, name)
    if container is None:
        return "?"
    cached = folder / "image-versions.json"
    known = _read_versions(cached)
    image = container.attrs["Image"]
    if image not in known:
        code, output = container.exec_run([PROGRAM, "--version"])
        found = read_version(cast("bytes", output).decode(errors="replace")) if code == 0 else "?"
        if found == "?":
            return found
        cached.write_bytes(msgspec.json.encode(known | {image: found}))
        return found
    return known[image]


def _read_versions(path: Path) -> dict[str, str]:
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, str])
    except (FileNotFoundError, msgspec.DecodeError):
        return {}


def count_processes(client: DockerClient, name: str) -> int:
    """How many processes run in it; 0 when it does not run."""
    import docker.errors

    try:
        return len(client.api.top(name)["Processes"])
    except docker.errors.APIError:
        return 0


@dataclass(frozen=True)
class Statistics:
    """What a container used so far; ``memory`` in bytes without page cache is of now."""

    clock_s: float
    cpu_s: float
    memory: float
    received: float | None
    """Bytes over all its networks; None on the host's network, where they are not counted apart."""
    sent: float | None


def statistics(client: DockerClient, name: str) -> Statistics | None:
    """One short look, or None when it does not run."""
    import docker.errors

    try:
        stats = client.api.stats(name, stream=False, one_shot=True)
    except docker.errors.NotFound:
        return None
    memory = stats.get("memory_stats", {})
    if "usage" not in memory:
        return None
    detail = memory.get("stats", {})
    cache_bytes = detail.get("total_inactive_file", detail.get("inactive_file", 0))  # cgroup v1, v2
    cpu_s = stats["cpu_stats"]["cpu_usage"]["total_usage"] / 1e9
    networks = list(stats.get("networks", {}).values())
    return Statistics(
        clock_s=time.monotonic(),
        cpu_s=cpu_s,
        memory=memory["usage"] - cache_bytes,
        received=sum(one["rx_bytes"] for one in networks) if networks else None,
        sent=sum(one["tx_bytes"] for one in networks) if networks else None,
    )

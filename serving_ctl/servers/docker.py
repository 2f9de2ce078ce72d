"""The Docker engine through its SDK: the connection, and the short calls that are made.

The SDK is imported inside functions only (it is slow to import) and called in threads, each call with a limit.
Pulling an image is in ``pull.py``.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.container_spec import REST_PORT, USER, ContainerSpec
from serving_ctl.servers.ports import LOOPBACK, port_taken, require_listener

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

CALL_LIMIT_S = 20
LOG_LINES_KEPT = 5000
VERSION_COMMAND = ["tensorflow_model_server", "--version"]
VERSION_LINE = re.compile(r"TensorFlow ModelServer: ([\w.]+)")
T = TypeVar("T")


class EngineError(ServerStartError):
    """The Docker engine cannot be used; the text says why and what to do."""


class Engine:
    """The Docker engine of the current context or DOCKER_HOST; connects at the first call."""

    def __init__(self) -> None:
        self._client: DockerClient | None = None

    async def call(self, work: Callable[[DockerClient], T]) -> T:
        """``work`` with the client, in a thread; waits for its end even when cancelled. Raises EngineError."""
        running = asyncio.ensure_future(asyncio.to_thread(self._guarded, work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    async def has_image(self, image: str) -> bool:
        """Whether the engine has ``image``; raises EngineError when there is no engine."""
        return await self.image_digest(image) is not None

    async def image_digest(self, image: str) -> str | None:
        """The registry digest of ``image``, its id when it was never in one, or None when it is absent."""
        return await self.call(lambda client: _digest(client, image))

    async def close(self) -> None:
        """Close the connection."""
        if self._client:
            await asyncio.to_thread(self._client.close)
            self._client = None

    def _guarded(self, work: Callable[[DockerClient], T]) -> T:
        import docker.errors
        import requests

        try:
            self._client = self._client or _connect()
            return work(self._client)
        except docker.errors.APIError as error:
            raise EngineError(f"Docker: {error.explanation or error}") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineError(_why_unreachable(error)) from error


def _connect() -> DockerClient:
    """The client for DOCKER_HOST, else for the current Docker context."""
    import docker
    from docker.context import ContextAPI

    named = os.environ.get("DOCKER_HOST", "")
    context = None if named else ContextAPI.get_current_context()
    host = named or (context.Host if context else "") or ""
    if host.startswith("unix:"):
        require_listener(host.removeprefix("unix:").replace("//", "", 1))
    if context is None:
        return docker.from_env(timeout=CALL_LIMIT_S)
    tls = context.TLSConfig if host.startswith("tcp:") else None
    return docker.DockerClient(base_url=host, tls=tls or False, timeout=CALL_LIMIT_S)


def _why_unreachable(error: Exception) -> str:
    if isinstance(error, PermissionError):
        return (
            "Docker: no permission on its socket; join the group docker (sudo usermod -aG docker $USER)"
            " and log in again."
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return 'Docker does not run here; start it, or use runtime = "embedded".'
    return f"Docker cannot be reached: {error}"


def create(client: DockerClient, spec: ContainerSpec) -> None:
    """Create and start ``spec``; a left-over of the same name is removed."""
    from docker.types import Mount

    remove(client, spec.record.container, 0, None)
    network: dict[str, Any] = (
        {"network_mode": "host"} if spec.host_network else {"ports": {f"{REST_PORT}/tcp": (LOOPBACK, spec.port)}}
    )
    container = client.containers.create(
        spec.image,
        command=list(spec.command),
        name=spec.record.container,
        labels=spec.labels,
        environment=spec.environment,
        mounts=[Mount(target, source, type="bind", read_only=True) for source, target in spec.mounts],
        init=True,
        read_only=True,
        tmpfs={"/tmp": ""},  # noqa: S108
        cap_drop=["ALL"],
        security_opt=["no-new-privileges"],
        user=USER,
        pids_limit=spec.pids_limit,
        **network,
    )
    container.start()


def start_error(error: EngineError, spec: ContainerSpec) -> ServerStartError:
    """The engine's refusal to start ``spec`` as an error for people."""
    text = str(error)
    if "port is already allocated" in text or "address already in use" in text:
        return port_taken(TF_SERVING, spec.port)
    if "No such image" in text:
        return image_absent(spec.image)
    return ServerStartError(f"{TF_SERVING}: {text}")


def image_absent(image: str) -> ServerStartError:
    """The error for an image that is not on the engine."""
    return ServerStartError(
        f"{TF_SERVING}: Docker has no image {image}; fetch it with --pull (or docker pull {image}),"
        ' or use runtime = "embedded".'
    )


def _digest(client: DockerClient, image: str) -> str | None:
    import docker.errors

    try:
        found = client.images.get(image)
    except docker.errors.ImageNotFound:
        return None
    digests = found.attrs.get("RepoDigests") or []
    return str(digests[0].rpartition("@")[2] if digests else found.id)


def _find(client: DockerClient, name: str) -> Container | None:
    import docker.errors

    try:
        return client.containers.get(name)
    except docker.errors.NotFound:
        return None


def inspect_state(client: DockerClient, name: str) -> dict[str, Any] | None:
    """The engine's ``State`` of a container, or None when there is no such one."""
    container = _find(client, name)
    return dict(container.attrs["State"]) if container else None


def logs(client: DockerClient, name: str, lines: int) -> str:
    """The last ``lines`` lines of its log; empty when there is no such container."""
    container = _find(client, name)
    return container.logs(tail=lines).decode(errors="replace") if container else ""


def remove(client: DockerClient, name: str, grace_s: int, log: Path | None) -> None:
    """Stop and remove a container, its log kept in ``log``; nothing happens when there is no such one."""
    import docker.errors

    container = _find(client, name)
    if container is None:
        return
    try:
        if container.status == "running":
            container.stop(timeout=grace_s)
        if log:
            log.write_bytes(container.logs(tail=LOG_LINES_KEPT))
        container.remove(force=True)
    except docker.errors.NotFound:
        return


def image_version(client: DockerClient, name: str, folder: Path) -> str:
    """What the server in container ``name`` says of its version; asked once an image, kept in ``folder``."""
    container = _find(client, name)
    if container is None:
        return "?"
    cached = folder / "image-versions.json"
    known = _read_versions(cached)
    image = container.attrs["Image"]
    if image not in known:
        code, output = container.exec_run(VERSION_COMMAND)
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


def read_version(output: str) -> str:
    """The version in the output of ``tensorflow_model_server --version``, else "?"."""
    found = VERSION_LINE.search(output)
    return str(found[1]) if found else "?"


def count_processes(client: DockerClient, name: str) -> int:
    """How many processes run in it; 0 when it does not run."""
    import docker.errors

    try:
        return len(client.api.top(name)["Processes"])
    except docker.errors.APIError:
        return 0


def statistics(client: DockerClient, name: str) -> tuple[float, float, float] | None:
    """(clock s, CPU s so far, memory bytes without page cache), or None when it does not run."""
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
    return time.monotonic(), cpu_s, memory["usage"] - cache_bytes

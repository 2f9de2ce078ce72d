"""The Docker engine through its SDK: the connection, and what it knows of images.

The SDK is imported inside functions only (it is slow to import) and called in threads, each call with a limit.
Pulling an image is in ``pull.py``, what is asked of a container in ``container_calls.py``.
"""

from __future__ import annotations

import asyncio
import os
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.ports import require_listener
from serving_ctl.servers.remote import EngineTunnel

if TYPE_CHECKING:
    from docker import DockerClient

CALL_LIMIT_S = 20
PROGRAM = "tensorflow_model_server"
VERSION_LINE = re.compile(r"TensorFlow ModelServer: ([\w.]+)")
T = TypeVar("T")


class EngineError(ServerStartError):
    """The Docker engine cannot be used; the text says why and what to do."""


class Engine:
    """The Docker engine of the current context or DOCKER_HOST; connects at the first call."""

    def __init__(self) -> None:
        self._client: DockerClient | None = None
        self._host = ""
        self._tunnel: EngineTunnel | None = None
        self._connecting = threading.Lock()

    async def host(self) -> str:
        """URL of the engine when it is on another machine, empty for this one; raises EngineError."""
        if self._client is None:
            await self.call(lambda client: client.ping())
        return remote_part(self._host)

    async def call(self, work: Callable[[DockerClient], T]) -> T:
        """``work`` with the client, in a thread; waits for its end even when cancelled. Raises EngineError."""
        running = asyncio.ensure_future(asyncio.to_thread(self._guarded, work))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    async def call_on(self, host: str, work: Callable[[DockerClient], T]) -> T:
        """``work``, if Docker is still the engine at ``host`` (empty: this machine's). Raises EngineError if not."""
        here = await self.host()
        if here != host:
            raise EngineError(
                f"Its container is on the Docker engine {host or 'of this machine'}, and Docker here is"
                f" {here or 'this machine’s'}; choose that DOCKER_HOST or context."
            )
        return await self.call(work)

    async def has_image(self, image: str) -> bool:
        """Whether the engine has ``image``; raises EngineError when there is no engine."""
        return await self.image_digest(image) is not None

    async def image_digest(self, image: str) -> str | None:
        """The registry digest of ``image``, its id when it was never in one, or None when it is absent."""
        return await self.call(lambda client: _digest(client, image))

    async def close(self) -> None:
        """Close the connection."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        for one in (self._client, self._tunnel):
            if one:
                one.close()
        self._client = self._tunnel = None

    def _connected(self) -> DockerClient:
        with self._connecting:
            if self._tunnel and self._tunnel.ended:
                self._close()
            if self._client is None:
                self._host = engine_url()
                self._client = self._connect()
            return self._client

    def _connect(self) -> DockerClient:
        if not self._host.startswith("ssh:"):
            return _connect(self._host)
        # Not the SDK's own ssh: that needs one more package and leaves its processes and sockets open.
        self._tunnel = self._tunnel or EngineTunnel(self._host)
        return _connect(f"unix://{self._tunnel.socket}")

    def _guarded(self, work: Callable[[DockerClient], T]) -> T:
        import docker.errors
        import requests

        try:
            return work(self._connected())
        except docker.errors.APIError as error:
            raise EngineError(f"Docker: {error.explanation or error}") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineError(_why_unreachable(error, self._host)) from error


def _is_local(host: str) -> bool:
    return not host or host.startswith(("unix:", "npipe:"))


def remote_part(url: str) -> str:
    """``url`` of an engine when that is on another machine, else nothing."""
    return "" if _is_local(url) else url


def engine_url() -> str:
    """DOCKER_HOST, else the address of the current Docker context, else nothing."""
    from docker.context import ContextAPI

    named = os.environ.get("DOCKER_HOST", "")
    context = None if named else ContextAPI.get_current_context()
    return named or (context.Host if context else "") or ""


def _connect(host: str) -> DockerClient:
    import docker
    from docker.context import ContextAPI

    if host.startswith("unix:"):
        require_listener(host.removeprefix("unix:").replace("//", "", 1))
    if not host or os.environ.get("DOCKER_HOST") == host:
        return docker.from_env(timeout=CALL_LIMIT_S)
    context = ContextAPI.get_current_context()
    tls = context.TLSConfig if context and host.startswith("tcp:") else None
    return docker.DockerClient(base_url=host, tls=tls or False, timeout=CALL_LIMIT_S)


def _why_unreachable(error: Exception, host: str) -> str:
    if isinstance(error, PermissionError):
        return (
            "Docker: no permission on its socket; join the group docker (sudo usermod -aG docker $USER)"
            " and log in again."
        )
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return 'Docker does not run here; start it, or use runtime = "embedded".'
    if not _is_local(host):
        return f"Docker at {host} cannot be reached: {_root(error)}."
    return f"Docker cannot be reached: {error}"


def _root(error: BaseException) -> str:
    """What was wrong at the bottom of it, in the system's words."""
    while deeper := error.__cause__ or error.__context__:
        error = deeper
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)


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


def image_help(client: DockerClient, image: str, folder: Path) -> str:
    """What the server in ``image`` says to ``--help``, asked once an image, kept in ``folder``; empty without it."""
    import docker.errors

    try:
        image_id = str(client.images.get(image).id)
    except docker.errors.ImageNotFound:
        return ""
    cached = folder / f"help-{image_id.rpartition(':')[2][:12]}.txt"
    if not cached.exists():
        cached.write_bytes(_run_once(client, image, "--help"))
    return cached.read_text(encoding="utf-8", errors="replace")


def _run_once(client: DockerClient, image: str, word: str) -> bytes:
    """The output of the server's program in a container of its own, which is removed."""
    container = client.containers.create(image, entrypoint=PROGRAM, command=[word], network_mode="none", init=True)
    try:
        container.start()
        container.wait(timeout=CALL_LIMIT_S)
        return container.logs()
    finally:
        container.remove(force=True)


def read_version(output: str) -> str:
    """The version in the output of ``tensorflow_model_server --version``, else "?"."""
    found = VERSION_LINE.search(output)
    return str(found[1]) if found else "?"

"""Fetching an image: platform checked first, progress over all layers, cancelled between two lines of progress."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.docker import Engine, EngineError

if TYPE_CHECKING:
    from docker import DockerClient

MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}  # the engine's name for a processor: the registry's name


class PullProgress:
    """Bytes fetched over all layers, from the engine's progress lines."""

    def __init__(self) -> None:
        self._layers: dict[str, tuple[int, int]] = {}
        self._done = 0

    def add(self, line: dict[str, Any]) -> str:
        """One progress line in, one sentence out; raises ServerStartError when the line is an error."""
        if "error" in line:
            raise ServerStartError(f"{TF_SERVING}: the image cannot be pulled: {line['error']}")
        layer, status, detail = line.get("id", ""), line.get("status", ""), line.get("progressDetail") or {}
        if status == "Downloading" and detail.get("total"):
            self._layers[layer] = (detail["current"], detail["total"])
        elif status in {"Download complete", "Pull complete"} and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        self._done += status in {"Pull complete", "Already exists"}
        current = sum(done for done, _ in self._layers.values())
        total = sum(size for _, size in self._layers.values())
        return f"pulling: {current / 1e6:.0f} of {total / 1e6:.0f} MB, {self._done} layers done"


async def pull_image(engine: Engine, image: str, say: Callable[[str], None]) -> None:
    """Pull ``image``; ``say`` hears the progress. Raises ServerStartError; cancelling ends the pull."""
    loop, cancelled = asyncio.get_running_loop(), threading.Event()

    def relay(text: str) -> None:
        loop.call_soon_threadsafe(say, text)

    pulling = asyncio.ensure_future(engine.call(lambda client: _pull(client, image, cancelled, relay)))
    try:
        await asyncio.shield(pulling)
    except asyncio.CancelledError:
        cancelled.set()
        await asyncio.wait({pulling})
        raise
    except EngineError as error:
        raise ServerStartError(f"{TF_SERVING}: {image} cannot be pulled: {error}") from None


def _pull(client: DockerClient, image: str, cancelled: threading.Event, say: Callable[[str], None]) -> None:
    say(f"asking the registry for {image}")
    _require_platform(client, image)
    name, _, tag = image.rpartition(":") if ":" in image.rsplit("/", 1)[-1] else (image, "", "latest")
    progress, last = PullProgress(), ""
    for line in client.api.pull(name, tag=tag, stream=True, decode=True):
        if cancelled.is_set():
            return
        text = progress.add(line)
        if text != last:
            last = text
            say(text)


def _require_platform(client: DockerClient, image: str) -> None:
    """Raise ServerStartError when the registry has ``image`` for other processors only."""
    machine = str(client.info()["Architecture"])
    wanted = MACHINES.get(machine, machine)
    offered = {platform["architecture"] for platform in client.images.get_registry_data(image).attrs["Platforms"]}
    if offered and wanted not in offered:
        raise ServerStartError(
            f"{TF_SERVING}: {image} is published for {', '.join(sorted(offered))}, this engine is {wanted};"
            ' use runtime = "embedded".'
        )

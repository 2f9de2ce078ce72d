"""TensorFlow Serving as a container: started, found again, watched, stopped. ``container_spec.py`` says of what."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar
from urllib.parse import urlsplit

import msgspec

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers.accept_queue import waiting
from serving_ctl.servers.container_calls import (
    Statistics,
    count_processes,
    create,
    image_version,
    inspect_state,
    logs,
    remove,
    remove_copies,
    start_error,
    statistics,
)
from serving_ctl.servers.container_spec import ContainerSpec
from serving_ctl.servers.docker import Engine, EngineError
from serving_ctl.servers.ports import LOOPBACK, accepts, require_free
from serving_ctl.servers.process import ANSI
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.remote import close_tunnel, open_tunnel, tunnel_command
from serving_ctl.servers.running import Ending, Usage
from serving_ctl.servers.spec import require_readable_by_all

if TYPE_CHECKING:
    from docker import DockerClient

T = TypeVar("T")
GRACE_S = 2  # with docker-init as PID 1 the server ends at once; without, it ignores SIGTERM (tf-serving.md)


class ServerContainer:
    """A container of ours on an engine."""

    log_file: Path | None = None

    def __init__(self, engine: Engine, files: StateFiles, record: Record) -> None:
        self.record = record
        self._engine = engine
        self._files = files
        self._published = record.asked.get("network") != "host"
        self._last: Statistics | None = None
        self._processes = 0

    @classmethod
    async def start(cls, engine: Engine, files: StateFiles, spec: ContainerSpec) -> Self:
        """Create and start the container, with its record; raises ServerStartError, leaving no container."""
        if spec.reach.address == LOOPBACK:
            require_free(TF_SERVING, spec.port)
        if not spec.volumes:
            require_readable_by_all(Path(spec.record.model))
        files.write(spec.record)
        running = cls(engine, files, spec.record)
        try:
            port = await engine.call(lambda client: create(client, spec))
            if spec.reach.tunnel:
                await running._open_tunnel(tunnel_command(spec.reach.engine, spec.port, port), spec.port)
        except BaseException as error:
            await running.stop(0)
            files.forget()
            if isinstance(error, EngineError):
                raise start_error(error, spec) from None
            raise
        return running

    @classmethod
    async def adopt(cls, engine: Engine, files: StateFiles, record: Record) -> Self | None:
        """The container of ``record`` when it still runs, or None; one that ended is removed."""
        running = cls(engine, files, record)
        if await running.ended() is None:
            if record.tunnel and not await running._port_accepts():
                with contextlib.suppress(ServerStartError):  # its port is asked next, and that it refuses is told
                    await running._open_tunnel(record.tunnel, int(record.asked["port"]))
            return running
        await running.stop(0)
        return None

    async def ended(self) -> Ending | None:
        """Exit code and whether memory ran out, or None while it runs."""
        state = await self._call(lambda client: inspect_state(client, self.record.container))
        if state is None:
            return Ending(code=None, removed=True)
        if state["Status"] in {"created", "running", "restarting", "paused"}:
            return None
        return Ending(code=state["ExitCode"], out_of_memory=bool(state["OOMKilled"]))

    async def owns_port(self) -> bool:
        """The engine refuses a port that is taken, so a container that runs has its own."""
        return True

    async def trouble(self) -> str:
        """Whether the published port refuses although the container is up: Docker's proxy has died."""
        port = urlsplit(self.record.url).port
        if not (self._published or self.record.tunnel) or await self._port_accepts():
            return ""
        if self.record.tunnel:
            return f"The container is up but its SSH tunnel at port {port} has ended. Restart it (r)."
        return (
            f"The container is up but port {port} refuses: Docker's port proxy has died. Restart it (r);"
            ' network = "host" works without the proxy.'
        )

    async def version(self) -> str:
        """What the image's own --version says, asked once an image; "?" when it says nothing."""
        return await self._call(lambda client: image_version(client, self.record.container, self._files.folder))

    async def stop(self, grace_s: float) -> None:
        """Keep its log, end it and remove it; nothing happens when it is gone already."""
        grace, record = min(round(grace_s), GRACE_S), self.record
        await self._call(lambda client: remove(client, record.container, grace, self._files.log))
        if record.tunnel:
            close_tunnel(self._files)
        if record.engine:
            await self._call(lambda client: remove_copies(client, record.container))

    async def sample(self) -> Usage | None:
        """One short statistics call; CPU since the last one."""
        now = await self._call(lambda client: statistics(client, self.record.container))
        if now is None:
            return None
        last, self._last = self._last, now
        if last is None or now.clock_s <= last.clock_s:
            return None
        if not self._processes:  # they do not change while it runs, and asking is slow
            self._processes = await self._call(lambda client: count_processes(client, self.record.container))
        seconds = now.clock_s - last.clock_s
        return Usage(
            cpu_percent=100 * (now.cpu_s - last.cpu_s) / seconds,
            memory_mb=now.memory / 1e6,
            processes=self._processes,
            # a published port is docker-proxy's socket: what waits there is not the server's queue
            waiting=None if self._published or self.record.engine else waiting(int(self.record.asked["port"])),
            received_mb_s=_rate(last.received, now.received, seconds),
            sent_mb_s=_rate(last.sent, now.sent, seconds),
        )

    async def used(self) -> tuple[float, float] | None:
        """CPU seconds so far and memory in MB, by one short statistics call."""
        now = await self._call(lambda client: statistics(client, self.record.container))
        return None if now is None else (now.cpu_s, now.memory / 1e6)

    async def log_tail(self, lines: int) -> list[str]:
        """The last lines of the container's log, or of the log kept when it was removed."""
        text = await self._call(lambda client: logs(client, self.record.container, lines))
        return ANSI.sub("", text).splitlines()

    def release(self) -> None:
        """A container outlives us by itself."""

    async def _call(self, work: Callable[[DockerClient], T]) -> T:
        return await self._engine.call_on(self.record.engine, work)

    async def _port_accepts(self) -> bool:
        parts = urlsplit(self.record.url)
        return await asyncio.to_thread(accepts, parts.port or 80, parts.hostname or LOOPBACK)

    async def _open_tunnel(self, command: tuple[str, ...], port: int) -> None:
        self.record = msgspec.structs.replace(self.record, tunnel=command)
        self._files.write(self.record)
        await open_tunnel(self._files, command, port)


def _rate(before: float | None, now: float | None, seconds: float) -> float | None:
    """MB a second."""
    return None if before is None or now is None else (now - before) / 1e6 / seconds

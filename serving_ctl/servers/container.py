"""TensorFlow Serving as a container: started, found again, watched, stopped. ``container_spec.py`` says of what."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from serving_ctl.config import TF_SERVING
from serving_ctl.servers.container_spec import ContainerSpec
from serving_ctl.servers.docker import (
    Engine,
    EngineError,
    count_processes,
    create,
    image_version,
    inspect_state,
    logs,
    remove,
    start_error,
    statistics,
)
from serving_ctl.servers.ports import accepts, require_free
from serving_ctl.servers.process import ANSI
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.running import Ending, Usage
from serving_ctl.servers.spec import require_readable_by_all

GRACE_S = 2  # with docker-init as PID 1 the server ends at once; without, it ignores SIGTERM (tf-serving.md)


class ServerContainer:
    """A container of ours on an engine."""

    log_file: Path | None = None

    def __init__(self, engine: Engine, files: StateFiles, record: Record) -> None:
        self.record = record
        self._engine = engine
        self._files = files
        self._published = record.asked.get("network") != "host"
        self._last: tuple[float, float] | None = None  # (clock s, CPU s) of the last sample
        self._processes = 0

    @classmethod
    async def start(cls, engine: Engine, files: StateFiles, spec: ContainerSpec) -> Self:
        """Create and start the container, with its record; raises ServerStartError, leaving no container."""
        require_free(TF_SERVING, spec.port)
        require_readable_by_all(Path(spec.record.model))
        files.write(spec.record)
        running = cls(engine, files, spec.record)
        try:
            await engine.call(lambda client: create(client, spec))
        except EngineError as error:
            await running.stop(0)
            files.forget()
            raise start_error(error, spec) from None
        except asyncio.CancelledError:
            await running.stop(0)
            files.forget()
            raise
        return running

    @classmethod
    async def adopt(cls, engine: Engine, files: StateFiles, record: Record) -> Self | None:
        """The container of ``record`` when it still runs, or None; one that ended is removed."""
        running = cls(engine, files, record)
        if await running.ended() is None:
            return running
        await running.stop(0)
        return None

    async def ended(self) -> Ending | None:
        """Exit code and whether memory ran out, or None while it runs."""
        state = await self._engine.call(lambda client: inspect_state(client, self.record.container))
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
        port = int(self.record.asked["port"])
        if self._published and not await asyncio.to_thread(accepts, port):
            return (
                f"The container is up but port {port} refuses: Docker's port proxy has died. Restart it (r);"
                ' network = "host" works without the proxy.'
            )
        return ""

    async def version(self) -> str:
        """What the image's own --version says, asked once an image; "?" when it says nothing."""
        return await self._engine.call(lambda client: image_version(client, self.record.container, self._files.folder))

    async def stop(self, grace_s: float) -> None:
        """Keep its log, end it and remove it; nothing happens when it is gone already."""
        grace = min(round(grace_s), GRACE_S)
        await self._engine.call(lambda client: remove(client, self.record.container, grace, self._files.log))

    async def sample(self) -> Usage | None:
        """One short statistics call; CPU since the last one."""
        stats = await self._engine.call(lambda client: statistics(client, self.record.container))
        if stats is None:
            return None
        now, cpu_s, memory = stats
        last, self._last = self._last, (now, cpu_s)
        if last is None or now <= last[0]:
            return None
        if not self._processes:  # they do not change while it runs, and asking is slow
            self._processes = await self._engine.call(lambda client: count_processes(client, self.record.container))
        cpu_percent = 100 * (cpu_s - last[1]) / (now - last[0])
        return Usage(cpu_percent=cpu_percent, memory_mb=memory / 1e6, processes=self._processes)

    async def log_tail(self, lines: int) -> list[str]:
        """The last lines of the container's log, or of the log kept when it was removed."""
        text = await self._engine.call(lambda client: logs(client, self.record.container, lines))
        return ANSI.sub("", text).splitlines()

    def release(self) -> None:
        """A container outlives us by itself."""

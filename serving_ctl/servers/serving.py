"""tf-serving through its life: what it has beyond other servers. A container that somebody else started can be taken
over, and a Swarm service is scaled and updated while it serves."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from serving_ctl.errors import ServerAnswerError, ServerStartError, TfServeError
from serving_ctl.events import ServerChanged, ServerState
from serving_ctl.servers.choose import ready_for_swarm, runtime_wanted
from serving_ctl.servers.configs import kept_unless_done
from serving_ctl.servers.container import ServerContainer
from serving_ctl.servers.containers import stranger_record
from serving_ctl.servers.readiness import Probe
from serving_ctl.servers.state import ALIVE
from serving_ctl.servers.supervisor import PARTS, STOP_WAIT_S, Supervisor
from serving_ctl.servers.swarm import SwarmService

ADOPT_LIMIT_S = 10.0  # it should run already


class ServingSupervisor(Supervisor):
    """Drives tf-serving."""

    async def adopt_container(self, name: str, probe: Probe) -> ServerChanged:
        """Take the running container ``name`` as this server. Raises ServerStartError, and nothing is changed then."""
        async with self._turn, self.files.locked(STOP_WAIT_S):
            if await self._find():
                raise ServerStartError(f"{self.server} already runs ({self.current.label}); stop it first.")
            record = await stranger_record(self._engine, self._settings, name)
            running = ServerContainer(self._engine, self.files, record)
            proof = await self._wait_until_ready(running, probe, ADOPT_LIMIT_S, lambda text: None)
            version = await running.version()
            running.record = msgspec.structs.replace(record, version=version, detail=proof.detail, ready=True)
            self.files.write(running.record)
            self._running = running
            return self._move(ServerState.READY, detail=proof.detail, record=running.record)

    async def is_service_still(self, runtime: str | None) -> bool:
        """Whether it is a Swarm service of ours, and a start as ``runtime`` would make one again."""
        wanted = runtime_wanted(self._settings, self.server, runtime)
        return wanted == "swarm" and isinstance(await self._find(), SwarmService)

    async def update_service(self, *, pull: bool, timeout_s: float | None, probe: Probe) -> ServerChanged:
        """A rolling update to the settings of now. Raises ServerStartError; the service runs on as it was then."""
        limit_s = timeout_s if timeout_s is not None else self._start_timeout_s("swarm")

        async def update(service: SwarmService) -> None:
            with kept_unless_done(self.files.config):
                spec = await ready_for_swarm(self._settings, self.files, self._engine, pull, self._say_meanwhile)
                async with asyncio.timeout(limit_s):
                    await service.update(spec, self._say_meanwhile)

        return await self._change_service(update, limit_s, probe)

    async def scale_service(self, replicas: int, probe: Probe) -> ServerChanged:
        """So many tasks. Raises ServerAnswerError when it is no service, ServerStartError when one fails."""
        limit_s = self._start_timeout_s("swarm")

        async def scale(service: SwarmService) -> None:
            async with asyncio.timeout(limit_s):
                await service.scale(replicas, self._say_meanwhile)

        return await self._change_service(scale, limit_s, probe)

    async def _change_service(
        self, change: Callable[[SwarmService], Awaitable[None]], limit_s: float, probe: Probe
    ) -> ServerChanged:
        """``change`` it while it serves, then ask every task for a prediction."""
        async with self._turn, self.files.locked(STOP_WAIT_S):
            running = await self._find()
            if not isinstance(running, SwarmService):
                raise ServerAnswerError(f"{self.server}: there is no {PARTS[SwarmService]} of ours running.")
            if self.current.state not in ALIVE:
                await self._tell_of(running)
            try:
                await change(running)
                await running.look()
                proof = await self._wait_until_ready(running, probe, limit_s, self._say_meanwhile)
            except TimeoutError:
                self._move(self.current.state, record=running.record)
                raise ServerStartError(f"{self.server}: its tasks did not all run within {limit_s:g} s.") from None
            except TfServeError as error:
                self._move(self.current.state, detail=str(error), record=running.record)
                raise
            except asyncio.CancelledError:
                self._move(self.current.state, detail=running.record.detail, record=running.record)
                raise
            running.record = msgspec.structs.replace(
                running.record, detail=proof.detail, version=await running.version()
            )
            self.files.write(running.record)
            return self._move(ServerState.READY, detail=proof.detail, record=running.record)

    def _say_meanwhile(self, text: str) -> None:
        """News of a change while it serves."""
        self._move(self.current.state, detail=text)

"""All servers as one: what the engine and both faces start, watch and stop servers through."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from serving_ctl.config import TF_SERVING, Settings, state_dir
from serving_ctl.events import Event, LogLine, ServerChanged, ServerSampled
from serving_ctl.servers.checkup import Finding, examine
from serving_ctl.servers.choose import IN_CONTAINERS, choose_serving, own_flags, prepare
from serving_ctl.servers.chosen_flags import settable
from serving_ctl.servers.container_spec import container_spec, docker_command
from serving_ctl.servers.containers import ServingContainer, serving_containers, stop_container
from serving_ctl.servers.docker import Engine, engine_url, remote_part
from serving_ctl.servers.flags import Flag
from serving_ctl.servers.readiness import Probe
from serving_ctl.servers.record import StateFiles
from serving_ctl.servers.remote import reach
from serving_ctl.servers.serving import ServingSupervisor
from serving_ctl.servers.spec import model_folder
from serving_ctl.servers.state import AT_REST
from serving_ctl.servers.supervisor import GRACE_S, Supervisor
from serving_ctl.servers.swarm import SwarmService
from serving_ctl.servers.swarm_tasks import Task
from serving_ctl.servers.workers import GunicornServer, Worker


class Fleet:
    """Both servers and the endpoints. ``emit`` is called in the event loop, at every change."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None]) -> None:
        self._settings = settings
        self._folder = state_dir().absolute()
        self._engine = Engine()
        self._serving = ServingSupervisor(settings, StateFiles(self._folder, TF_SERVING), self._engine, emit)
        self._servers: dict[str, Supervisor] = {
            name: Supervisor(settings, StateFiles(self._folder, name), self._engine, emit) for name in settings.servers
        } | {TF_SERVING: self._serving}

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of the servers, in the order they are shown and compared (R17)."""
        return tuple(self._servers)

    def current(self, name: str) -> ServerChanged:
        """What is known of server ``name`` now."""
        return self._servers[name].current

    async def adopt(self) -> None:
        """Find what an earlier or another tfserve-tui left running; emits the state of every server."""
        await asyncio.gather(*(server.adopt() for server in self._servers.values()))

    async def start(
        self,
        name: str,
        *,
        probe: Probe,
        runtime: str | None = None,
        pull: bool = False,
        timeout_s: float | None = None,
    ) -> ServerChanged:
        """Start ``name`` and return when it is ready: REST says AVAILABLE and one predict of ``probe`` was answered.

        ``timeout_s`` limits the wait after an image was pulled. Cancelling ends what was started.
        Raises ServerStartError (also when it runs with other settings), MissingExtra or ConfigError.
        """
        return await self._servers[name].start(runtime, pull=pull, timeout_s=timeout_s, probe=probe)

    async def stop(self, name: str, *, hard: bool = False) -> None:
        """Stop ``name`` if it is ours; nothing happens when it does not run. ``hard`` does not wait for its requests.

        Raises ServerStartError when it will not end.
        """
        await self._servers[name].stop(0.0 if hard else GRACE_S)

    async def restart(
        self,
        name: str,
        *,
        probe: Probe,
        runtime: str | None = None,
        pull: bool = False,
        timeout_s: float | None = None,
    ) -> ServerChanged:
        """Stop and start ``name``, with the settings of now; raises as ``start`` does.

        A Swarm service that stays one is updated in place, task after task; when that fails it runs on as it was.
        """
        if name == TF_SERVING and await self._serving.is_service_still(runtime):
            return await self._serving.update_service(pull=pull, timeout_s=timeout_s, probe=probe)
        await self.stop(name)
        return await self.start(name, probe=probe, runtime=runtime, pull=pull, timeout_s=timeout_s)

    async def check(self, name: str) -> ServerChanged:
        """Look whether ``name`` is alive and well, without HTTP; emits when that changed."""
        return await self._servers[name].check()

    async def prove(self, name: str, probe: Probe) -> ServerChanged:
        """One real predict outside measured windows; emits when ``name`` turned degraded, or ready again, by it."""
        return await self._servers[name].prove(probe)

    async def workers(self, name: str) -> tuple[Worker, ...]:
        """gunicorn's workers, oldest first. Raises ServerAnswerError when ``name`` is no gunicorn of ours."""
        return await self._servers[name].part(GunicornServer, lambda server: server.workers())

    async def change_workers(self, name: str, change: int) -> None:
        """Add (``change`` > 0) or remove workers; the new number stands in the label. Raises ServerAnswerError."""
        step = GunicornServer.add_workers if change > 0 else GunicornServer.remove_workers
        await self._servers[name].part(GunicornServer, lambda server: step(server, abs(change)))

    async def replace_worker(self, name: str, pid: int) -> None:
        """End worker ``pid`` when it has answered; gunicorn starts another. Raises ServerAnswerError."""
        await self._servers[name].part(GunicornServer, lambda server: server.replace_worker(pid))

    async def tasks(self) -> tuple[Task, ...]:
        """The tasks of tf-serving's Swarm service. Raises ServerAnswerError when it runs as none, and EngineError."""
        return await self._serving.part(SwarmService, lambda service: service.tasks())

    async def scale(self, replicas: int, probe: Probe) -> ServerChanged:
        """So many tasks of tf-serving's Swarm service; returns when each has predicted.

        Raises ServerAnswerError when it runs as none, and ServerStartError; there are as many as before then.
        """
        return await self._serving.scale_service(replicas, probe)

    async def sample(self, name: str) -> ServerSampled | None:
        """CPU and memory since the last call; None at the first one, or when there is nothing to sample (R11)."""
        return await self._servers[name].sample()

    async def used(self, name: str) -> tuple[float, float] | None:
        """CPU seconds since ``name`` started and its memory in MB now; None when it cannot be seen (R11)."""
        return await self._servers[name].used()

    def log_file(self, name: str) -> Path | None:
        """The file that ``name`` writes to; None when its log is the container's."""
        server = self._servers[name]
        return server.files.log if server.files.log.exists() and server.current.runtime not in IN_CONTAINERS else None

    async def log_tail(self, name: str, lines: int) -> list[str]:
        """The last ``lines`` lines of its log, without ANSI codes; also of a server that ended."""
        return await self._servers[name].log_tail(lines)

    async def follow_log(self, name: str) -> AsyncIterator[LogLine]:
        """Every line ``name`` writes from now on; ends when it ends. Close the iterator to stop following."""
        async for text in self._servers[name].follow_log():
            yield LogLine(server=name, text=text)

    async def examine(self, clients: int, batch: int) -> tuple[Finding, ...]:
        """What ``doctor`` finds here, for presets of at most ``clients`` connections and ``batch`` instances."""
        return await examine(self._settings, self._engine, self._folder, self.current, clients, batch)

    async def flags(self) -> dict[str, Flag]:
        """What ``[tf-serving.flags]`` may set, by the ``--help`` of the server that a start would take where it can be
        asked. Raises ServerStartError.
        """
        wanted = self._settings.tf_serving.runtime
        choice = await choose_serving(self._settings, self._engine, wanted, pull=False)
        return settable(await own_flags(self._settings, self._engine, choice.runtime, self._folder))

    async def containers(self) -> tuple[ServingContainer, ...]:
        """All TensorFlow Serving containers on the engine, ours or not. Raises EngineError (a ServerStartError)."""
        return await serving_containers(self._engine, self._settings.tf_serving.image)

    async def stop_container(self, container: str) -> None:
        """Stop and remove any container by name. Raises ServerStartError when there is none."""
        await stop_container(self._engine, container)

    def docker_command(self) -> str:
        """The ``docker run`` line that equals a start as docker; its config folder is written unless a server runs.

        Raises ServerStartError when there is no model to mount, and ConfigError.
        """
        server, model = self._servers[TF_SERVING], model_folder(TF_SERVING, self._settings)
        if server.current.state in AT_REST:
            prepare(self._settings, server.files, model, "docker")
        way = reach(remote_part(engine_url()), self._settings.tf_serving)
        return docker_command(container_spec(self._settings, server.files, model, way))

    async def adopt_container(self, container: str, probe: Probe) -> ServerChanged:
        """Take a running TensorFlow Serving container, whoever started it, as tf-serving when it predicts.

        Raises ServerStartError when it is not there, does not serve the model, or tf-serving runs already.
        """
        return await self._serving.adopt_container(container, probe)

    async def close(self) -> None:
        """Let go of everything; the servers keep running."""
        for server in self._servers.values():
            server.release()
        await self._engine.close()

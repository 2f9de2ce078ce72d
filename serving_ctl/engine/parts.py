"""What stands behind a server: gunicorn's workers, a Swarm service's tasks, the containers on the docker engine."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from serving_ctl.events import ServerChanged

if TYPE_CHECKING:
    from serving_ctl.servers.containers import ServingContainer
    from serving_ctl.servers.fleet import Fleet
    from serving_ctl.servers.readiness import Probe
    from serving_ctl.servers.swarm_tasks import Task
    from serving_ctl.servers.workers import Worker


class Parts:
    """``fleet`` gives the servers of now; ``probe`` makes the body that a server must answer to be taken over."""

    def __init__(self, fleet: Callable[[], Fleet], probe: Probe) -> None:
        self._fleet, self._probe = fleet, probe

    async def workers(self, server: str) -> tuple[Worker, ...]:
        """gunicorn's workers, oldest first. Raises ServerAnswerError when ``server`` is no gunicorn of ours."""
        return await self._fleet().workers(server)

    async def change_workers(self, server: str, change: int) -> None:
        """Add workers, or remove some when ``change`` is negative. Raises ServerAnswerError."""
        await self._fleet().change_workers(server, change)

    async def replace_worker(self, server: str, pid: int) -> None:
        """End worker ``pid`` when it has answered; gunicorn starts another. Raises ServerAnswerError."""
        await self._fleet().replace_worker(server, pid)

    async def containers(self) -> tuple[ServingContainer, ...]:
        """All TensorFlow Serving containers on the docker engine, ours or not. Raises ServerStartError."""
        return await self._fleet().containers()

    async def stop_container(self, name: str) -> None:
        """Stop and remove any container by name. Raises ServerStartError."""
        await self._fleet().stop_container(name)

    async def adopt_container(self, name: str) -> ServerChanged:
        """Take a running container that somebody else started as tf-serving. Raises ServerStartError."""
        return await self._fleet().adopt_container(name, self._probe)

    async def tasks(self) -> tuple[Task, ...]:
        """The tasks of tf-serving's Swarm service, by slot. Raises ServerAnswerError when it runs as none."""
        return await self._fleet().tasks()

    async def scale(self, replicas: int) -> ServerChanged:
        """Let so many tasks serve; returns when each has predicted. Raises ServerAnswerError and ServerStartError."""
        return await self._fleet().scale(replicas, self._probe)

    def docker_command(self) -> str:
        """The ``docker run`` line that equals a start as docker. Raises ServerStartError when there is no model."""
        return self._fleet().docker_command()

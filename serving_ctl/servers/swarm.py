"""TensorFlow Serving as a Docker Swarm service: deployed, found again, watched, scaled, updated, removed.

``swarm_spec.py`` says of what, ``swarm_calls.py`` asks the manager, ``swarm_tasks.py`` reads its answers.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import TYPE_CHECKING, Self, TypeVar

import msgspec

from serving_ctl.config import TF_SERVING
from serving_ctl.errors import ServerStartError
from serving_ctl.servers import swarm_calls as calls
from serving_ctl.servers.container_calls import (
    Statistics,
    image_version,
    inspect_state,
    logs,
    remove_copies,
    statistics,
)
from serving_ctl.servers.docker import Engine, EngineError
from serving_ctl.servers.doctor import diagnose_log, explain_end
from serving_ctl.servers.process import ANSI
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.running import Ending, Usage
from serving_ctl.servers.spec import require_readable_by_all
from serving_ctl.servers.swarm_spec import ServiceSpec, service_label
from serving_ctl.servers.swarm_tasks import Look, Node, Task

if TYPE_CHECKING:
    from docker import DockerClient

T = TypeVar("T")
Say = Callable[[str], None]
POLL_S = 0.1
REMOVE_LIMIT_S = 20.0
LOG_LINES_KEPT = 5000
REASON_LINES = 200
LOOP_FAILURES, LOOP_WINDOW_S = 3, 60.0  # as many tasks failed within the window are a crash loop
ROLLED_BACK = {"paused", "rollback_started", "rollback_paused", "rollback_completed"}


class SwarmService:
    """A service of ours on a Swarm manager."""

    log_file: Path | None = None

    def __init__(self, engine: Engine, files: StateFiles, record: Record) -> None:
        self.record = record
        self._engine, self._files = engine, files
        self._node: Node | None = None
        self._seen: dict[str, Statistics] = {}
        self._reasons: dict[str, str] = {}

    @classmethod
    async def deploy(cls, engine: Engine, files: StateFiles, spec: ServiceSpec) -> Self:
        """Create the service, with its record; its tasks do not run yet. Raises ServerStartError, leaving none."""
        if not spec.container.volumes:
            require_readable_by_all(Path(spec.record.model))
        files.write(spec.record)
        running = cls(engine, files, spec.record)
        try:
            await engine.call(lambda client: calls.create(client, spec))
        except BaseException as error:
            await running.stop(0)
            files.forget()
            if isinstance(error, EngineError):
                raise ServerStartError(f"{TF_SERVING}: {error}") from None
            raise
        return running

    @classmethod
    async def adopt(cls, engine: Engine, files: StateFiles, record: Record) -> Self | None:
        """The service of ``record`` when it is still there, or None."""
        running = cls(engine, files, record)
        return running if await running.look() else None

    async def look(self) -> Look | None:
        """How it is now, or None when it is gone; the record then has the number of tasks and their addresses."""
        node = await self._own_node()
        look = await self._call(lambda client: calls.look(client, self.record.service, node))
        if look is not None:
            label = service_label(look.replicas, look.image, mesh=look.mesh)
            first, *also = [task.url for task in look.running if task.url] or self.record.urls
            self.record = msgspec.structs.replace(self.record, label=label, url=first, also=tuple(also))
        return look

    async def tasks(self) -> tuple[Task, ...]:
        """Its tasks by slot, with the newest failure of each and its reason. Raises EngineError."""
        look = await self._existing()
        return tuple(
            [
                msgspec.structs.replace(task, error=await self._reason(task)) if task.failed else task
                for task in look.shown()
            ]
        )

    async def until_all_run(self, say: Say, known: Collection[str] = ()) -> None:
        """Return when every task runs; ``say`` hears how far it is.

        Raises ServerStartError when a task fails that is not ``known`` by its id.
        """
        while True:
            look = await self._existing()
            if len(look.running) == look.replicas == len([task for task in look.tasks if task.wanted]):
                return
            failure = look.newest_failure
            if failure and failure.id not in known:
                raise ServerStartError(f"{TF_SERVING}: task {failure.slot} failed: {await self._reason(failure)}")
            waiting = f", {look.waiting}" if look.waiting else ""
            say(f"{len(look.running)} of {look.replicas} tasks run{waiting}")
            await asyncio.sleep(POLL_S)

    async def scale(self, replicas: int, say: Say) -> None:
        """So many tasks, all running, or as many as before. Raises ServerStartError."""
        before = await self._existing()
        await self._call(lambda client: calls.scale(client, self.record.service, replicas))
        try:
            await self.until_all_run(say, {task.id for task in before.tasks if task.failed})
        except BaseException:
            await self._call(lambda client: calls.scale(client, self.record.service, before.replicas))
            raise

    async def update(self, spec: ServiceSpec, say: Say) -> None:
        """Replace the tasks one after the other by those of ``spec``; when one fails, Swarm goes back to what ran.

        Raises ServerStartError then, with the reason.
        """
        before, record = await self._existing(), self.record
        known = {task.id for task in before.tasks}
        await self._call(lambda client: calls.update(client, spec))
        try:
            await self._until_updated(before, known, say)
        except asyncio.CancelledError:
            await self._call(lambda client: calls.roll_back(client, record.service))
            raise
        urls = {"url": self.record.url, "also": self.record.also, "label": self.record.label}
        self.record = msgspec.structs.replace(
            spec.record,
            **urls,
            started_at=record.started_at,
            cold_ms=record.cold_ms,
            version=record.version,
            ready=True,
        )

    async def ended(self) -> Ending | None:
        """That it was removed, or None: Swarm replaces tasks that end."""
        return None if await self.look() else Ending(code=None, removed=True)

    async def owns_port(self) -> bool:
        """Swarm gives a port to one service only."""
        return True

    async def trouble(self) -> str:
        """How many tasks are missing, and why the last one failed."""
        look = await self.look()
        if look is None or len(look.running) >= look.replicas:
            return ""
        failure, now = look.newest_failure, time.time()
        recent = [task for task in look.tasks if task.failed and now - task.since < LOOP_WINDOW_S]
        loop = len(recent) >= LOOP_FAILURES
        how = "tasks end as fast as Swarm starts them" if loop else f"{len(look.running)} of {look.replicas} tasks run"
        if failure and failure in recent:
            return f"{how}; task {failure.slot} failed: {await self._reason(failure)}"
        return f"{how}; {look.waiting or 'Swarm has not made the others yet'}."

    async def version(self) -> str:
        """What the image's own --version says, asked in a task on the engine's node; "?" when none is there."""
        look = await self.look()
        here = [task.container for task in look.running if task.container] if look else []
        if not here:
            return "?"
        return await self._call(lambda client: image_version(client, here[0], self._files.folder))

    async def stop(self, grace_s: float) -> None:
        """Keep its log, remove it and wait until its containers here are gone."""
        del grace_s  # the service has one of its own
        try:
            lines = await self.log_tail(LOG_LINES_KEPT)
        except ServerStartError:  # a node that does not answer for its tasks must not keep the service alive
            lines = []
        if lines:
            self._files.log.write_text("\n".join(lines) + "\n", encoding="utf-8")
        if service := await self._call(lambda client: calls.remove(client, self.record.service)):
            await self._until_gone(service)
        if self.record.engine:
            await self._call(lambda client: remove_copies(client, self.record.service))

    async def sample(self) -> Usage | None:
        """What the tasks on the engine's node use together, since the last look."""
        before = self._seen
        now = await self._statistics()
        pairs = [(before[key], one) for key, one in now.items() if key in before and one.clock_s > before[key].clock_s]
        if not pairs:
            return None
        return Usage(
            cpu_percent=sum(100 * (new.cpu_s - old.cpu_s) / (new.clock_s - old.clock_s) for old, new in pairs),
            memory_mb=sum(one.memory for one in now.values()) / 1e6,
            processes=len(now),
        )

    async def used(self) -> tuple[float, float] | None:
        """CPU seconds of all tasks seen on the engine's node, and the memory of those that run."""
        now = await self._statistics()
        if not now:
            return None
        return sum(one.cpu_s for one in self._seen.values()), sum(one.memory for one in now.values()) / 1e6

    async def log_tail(self, lines: int) -> list[str]:
        """The last lines of all tasks in the order of time, each behind its task's number when there are several."""
        look = await self.look()
        if look is None:
            return []
        slots = {task.id: task.slot for task in look.tasks}
        found = await self._call(lambda client: calls.service_log(client, self.record.service, lines))
        one = len({task for _, task, _ in found}) == 1
        texts = [ANSI.sub("", text) for _, _, text in found[-lines:]]
        if one:
            return texts
        marks = [slots.get(task[: len(next(iter(slots), ""))], "?") for _, task, _ in found[-lines:]]
        return [f"{text}  (task {mark})" for text, mark in zip(texts, marks, strict=True)]

    def release(self) -> None:
        """A service outlives us by itself."""

    async def _until_gone(self, service: str) -> None:
        """Return when no container of the removed service is left on the engine's node."""
        deadline = time.monotonic() + REMOVE_LIMIT_S
        while time.monotonic() < deadline:
            if not await self._call(lambda client: calls.containers_of(client, service)):
                return
            await asyncio.sleep(POLL_S)
        await self._call(lambda client: calls.remove_containers(client, service))

    async def _own_node(self) -> Node:
        if self._node is None:
            self._node = await self._call(lambda client: calls.own_node(client, self.record.address))
        return self._node

    async def _existing(self) -> Look:
        look = await self.look()
        if look is None:
            raise ServerStartError(f"{TF_SERVING}: the Swarm service was removed by somebody else; start it again.")
        return look

    async def _until_updated(self, before: Look, known: set[str], say: Say) -> None:
        while True:
            look = await self._existing()
            fresh = [task for task in look.running if task.id not in known]
            if look.update_started != before.update_started:
                if look.update in ROLLED_BACK:
                    failures = [task for task in look.tasks if task.failed and task.id not in known]
                    why = await self._reason(failures[0]) if failures else "a new task did not become healthy."
                    raise ServerStartError(f"{TF_SERVING}: the update was rolled back, a new task failed: {why}")
                if look.update == "completed" and len(look.running) == look.replicas:
                    return
            say(f"rolling update: {len(fresh)} of {look.replicas} tasks replaced")
            await asyncio.sleep(POLL_S)

    async def _reason(self, task: Task) -> str:
        """Why ``task`` failed, in one sentence; its log is asked once."""
        if task.id not in self._reasons:
            self._reasons[task.id] = await self._look_for_reason(task)
        return self._reasons[task.id]

    async def _look_for_reason(self, task: Task) -> str:
        if not task.container:
            return task.error
        state = await self._call(lambda client: inspect_state(client, task.container))
        log = await self._call(lambda client: logs(client, task.container, REASON_LINES))
        if "unhealthy" in task.error:
            known = diagnose_log(log)
            return str(known) if known else "its health check failed: the model was not AVAILABLE."
        memory = bool(state and state["OOMKilled"])
        return explain_end("it", Ending(code=task.exit_code, out_of_memory=memory), log)

    async def _statistics(self) -> dict[str, Statistics]:
        """Of each running task here, by container; what ended ones used stays in ``_seen``."""
        look = await self.look()
        here = [task.container for task in look.running if task.container] if look else []

        def ask(client: DockerClient) -> dict[str, Statistics]:
            return {name: found for name in here if (found := statistics(client, name))}

        now = await self._call(ask)
        self._seen = self._seen | now
        return now

    async def _call(self, work: Callable[[DockerClient], T]) -> T:
        return await self._engine.call_on(self.record.engine, work)

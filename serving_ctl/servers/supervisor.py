"""One server through its whole life: start, adopt, check, stop; the only place where its state moves.

Starting and stopping take turns within this process and, by a lock in the state folder, among all tfserve-tui.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import msgspec

from serving_ctl.api.rest import CONTROL_TIMEOUT_S, ModelClient, external_headers, model_clients
from serving_ctl.config import TF_SERVING, Settings
from serving_ctl.errors import ServerAnswerError, ServerStartError, TfServeError
from serving_ctl.events import Event, ServerChanged, ServerSampled, ServerState
from serving_ctl.servers.choose import Choice, adopt, choose_serving, launch, runtime_wanted
from serving_ctl.servers.docker import Engine, EngineError
from serving_ctl.servers.doctor import diagnose_log, explain_end
from serving_ctl.servers.process import read_tail
from serving_ctl.servers.readiness import STATUS_TIMEOUT_S, TAIL_LINES, Probe, Proof, prove, wait_until_ready
from serving_ctl.servers.record import Record, StateFiles
from serving_ctl.servers.running import Ending, Running
from serving_ctl.servers.spec import asked
from serving_ctl.servers.state import ALIVE, AT_REST, check_move
from serving_ctl.servers.swarm import SwarmService
from serving_ctl.servers.workers import GunicornServer

T = TypeVar("T")
Kind = TypeVar("Kind", GunicornServer, SwarmService)
PARTS = {GunicornServer: "gunicorn", SwarmService: "Swarm service"}
GRACE_S = 5.0
ABANDON_GRACE_S = 0.5  # a start that failed or was cancelled has nothing to finish
FOLLOW_S = 0.3
FOLLOW_LINES = 1000
ADOPT_TIMEOUT_S = 2.0
EXTERNAL_LIMIT_S = 10.0  # it should run already
STOP_WAIT_S = 30.0  # for another tfserve-tui that starts or stops the same server


class Supervisor:
    """Drives one server; ``emit`` hears every change."""

    def __init__(self, settings: Settings, files: StateFiles, engine: Engine, emit: Callable[[Event], None]) -> None:
        self.server = files.server
        self.files = files
        self.current = ServerChanged(server=files.server, state=ServerState.STOPPED)
        self._settings = settings
        self._engine = engine
        self._emit = emit
        self._turn = asyncio.Lock()
        self._running: Running | None = None
        self._doubt = ""  # why it is degraded, when only an answer of its own can show that it is well again

    async def start(self, runtime: str | None, *, pull: bool, timeout_s: float | None, probe: Probe) -> ServerChanged:
        """Start it and wait until it is ready. Raises ServerStartError, MissingExtra or ConfigError."""
        wanted = runtime_wanted(self._settings, self.server, runtime)
        limit_s = timeout_s if timeout_s is not None else self._start_timeout_s(wanted)
        async with self._turn, self.files.locked(limit_s):
            if await self._already_runs(wanted):
                return self.current
            self._move(ServerState.STARTING, detail="choosing how to run it", record=None)
            try:
                return await self._bring_up(wanted, pull=pull, limit_s=limit_s, probe=probe)
            except BaseException as error:
                await _see_through(self._abandon(error))
                raise

    async def stop(self, grace_s: float = GRACE_S) -> None:
        """End it if it is ours and runs; nothing happens otherwise. Raises ServerStartError when it will not end."""
        async with self._turn, self.files.locked(STOP_WAIT_S):
            running = await self._find()
            if running is None:
                if self.current.state is not ServerState.STOPPED:
                    self._move(ServerState.STOPPED)
                return
            await _see_through(self._end(running, grace_s))

    async def adopt(self) -> None:
        """Find what an earlier or another tfserve-tui left running and tell of it, whatever it is."""
        async with self._turn:
            before = self.current
            if before.state is ServerState.STOPPED:
                await self._adopt()
            if self.current is before:
                self._emit(before)

    async def check(self) -> ServerChanged:
        """Look, without HTTP, whether it still runs and is well; emits when that changed."""
        if self._turn.locked():
            return self.current
        async with self._turn:
            if self.current.state in ALIVE:
                await self._check_alive()
            elif (record := self.files.read()) and record.ready:
                await self._adopt()
        return self.current

    async def sample(self) -> ServerSampled | None:
        """Usage since the last call, or None when there is nothing to tell."""
        running = self._running
        if running is None or self.current.state not in ALIVE:
            return None
        try:
            usage = await running.sample()
        except EngineError:  # check() says so
            return None
        if usage is None:
            return None
        return ServerSampled(server=self.server, **dataclasses.asdict(usage))

    async def used(self) -> tuple[float, float] | None:
        """CPU seconds since it started and memory in MB now; None when it cannot be seen."""
        running = self._running
        if running is None or self.current.state not in ALIVE:
            return None
        try:
            used = await running.used()
        except EngineError:  # check() says so
            return None
        if self._running is running and self.current.state in ALIVE:
            self._move(self.current.state, detail=self.current.detail, record=running.record)
        return used

    async def prove(self, probe: Probe) -> ServerChanged:
        """One real predict, outside measured windows: ready or degraded by its answer; emits when that changed."""
        async with self._turn:
            running = self._running
            if running is None or self.current.state not in ALIVE:
                return self.current
            try:
                async with self._clients(running, CONTROL_TIMEOUT_S) as clients:
                    proof = await prove(clients, probe, self._settings.bench.timeout_s)
            except ServerAnswerError as error:
                self._doubt = f"It runs but does not predict: {error}"
                return self._move(ServerState.DEGRADED, detail=self._doubt)
            self._doubt = ""
            return self._move(ServerState.READY, detail=proof.detail or running.record.detail)

    async def part(self, kind: type[Kind], work: Callable[[Kind], Awaitable[T]]) -> T:
        """``work`` on what runs, and news of its label. Raises ServerAnswerError when no ``kind`` of ours runs."""
        running = self._running
        if not isinstance(running, kind) or self.current.state not in ALIVE:
            raise ServerAnswerError(f"{self.server}: there is no {PARTS[kind]} of ours running.")
        result = await work(running)
        self._move(self.current.state, detail=self.current.detail, record=running.record)
        return result

    async def log_tail(self, lines: int) -> list[str]:
        """The last lines it wrote, also after its end."""
        try:
            return await self._running.log_tail(lines) if self._running else read_tail(self.files.log, lines)
        except EngineError as error:
            return [str(error)]

    async def follow_log(self) -> AsyncIterator[str]:
        """Lines written from now on, until it ends; of a flood, the last FOLLOW_LINES of each FOLLOW_S."""
        seen = await self.log_tail(FOLLOW_LINES)
        while self.current.state not in AT_REST:
            await asyncio.sleep(FOLLOW_S)
            lines = await self.log_tail(FOLLOW_LINES)
            for line in added_lines(seen, lines):
                yield line
            seen = lines

    def release(self) -> None:
        """Leave it running when we end."""
        if self._running:
            self._running.release()

    async def _already_runs(self, wanted: str) -> bool:
        """Whether it is ready as asked; what was left half-started is ended. Raises when it runs differently."""
        running = await self._find()
        if running is None:
            return False
        if self.current.state not in ALIVE:
            await self._tell_of(running)
        if self.current.state is ServerState.DEGRADED:
            await self._end(running)
            return False
        if differing := self._differing(running.record, wanted):
            raise ServerStartError(
                f"{self.server} already runs with other settings ({differing}); restart it, or stop it first"
                f" (tfserve-tui down {self.server})."
            )
        return True

    async def _bring_up(self, wanted: str, *, pull: bool, limit_s: float, probe: Probe) -> ServerChanged:
        choice = await self._choose(wanted, pull=pull)
        self._say(choice.why or f"starting as {choice.runtime}")
        try:
            running = await launch(self._settings, self.files, self._engine, choice.runtime, pull=pull, say=self._say)
        except OSError as error:
            raise ServerStartError(f"{self.server} cannot be started: {diagnose_log(str(error)) or error}") from error
        self._running = running
        self._move(ServerState.STARTING, detail="waiting for REST", record=running.record)
        began = time.monotonic()
        if isinstance(running, SwarmService):
            await self._until_tasks_run(running, limit_s)
            limit_s = max(1.0, limit_s - (time.monotonic() - began))
        proof = await self._wait_until_ready(running, probe, limit_s, self._say)
        detail = "; ".join(filter(None, (choice.why, proof.detail)))
        version = await running.version()
        ready = {"ready": True, "cold_ms": proof.cold_ms, "detail": detail, "version": version}
        running.record = msgspec.structs.replace(running.record, **ready)
        if running.record.runtime != "external":
            self.files.write(running.record)
        return self._move(ServerState.READY, detail=detail, record=running.record)

    async def _until_tasks_run(self, running: SwarmService, limit_s: float) -> None:
        try:
            async with asyncio.timeout(limit_s):
                await running.until_all_run(self._say)
        except TimeoutError:
            raise ServerStartError(
                f"{self.server} was not ready within {limit_s:g} s; {await running.trouble()}"
            ) from None
        self._move(ServerState.STARTING, detail="waiting for REST", record=running.record)

    async def _wait_until_ready(
        self, running: Running, probe: Probe, limit_s: float, say: Callable[[str], None]
    ) -> Proof:
        timeout_s = self._settings.bench.timeout_s
        async with self._clients(running, STATUS_TIMEOUT_S) as clients:
            return await wait_until_ready(
                running, clients, probe, limit_s=limit_s, predict_timeout_s=timeout_s, say=say
            )

    def _clients(self, running: Running, timeout_s: float) -> AbstractAsyncContextManager[tuple[ModelClient, ...]]:
        record = running.record
        headers = external_headers(self._settings, self.server, record.runtime)
        return model_clients(record.urls, self._settings.model_name(self.server), timeout_s=timeout_s, headers=headers)

    async def _choose(self, wanted: str, *, pull: bool) -> Choice:
        if self.server != TF_SERVING:
            return Choice(wanted)
        return await choose_serving(self._settings, self._engine, wanted, pull=pull)

    async def _abandon(self, error: BaseException) -> None:
        """After a start that did not succeed: nothing may be left of it but its log."""
        try:
            running = self._running or await self._find()
            if running:
                await running.stop(ABANDON_GRACE_S)
        except ServerStartError as left:
            self._move(ServerState.FAILED, detail=f"{error}; it could not be ended: {left}")
            return
        self._gone()
        if isinstance(error, asyncio.CancelledError | KeyboardInterrupt):
            self._move(ServerState.STOPPED, detail="start cancelled")
        else:
            known = isinstance(error, TfServeError)
            self._move(ServerState.FAILED, detail=str(error) if known else f"{type(error).__name__}: {error}")

    async def _end(self, running: Running, grace_s: float = GRACE_S) -> None:
        self._running = running
        self._move(ServerState.STOPPING)
        try:
            await running.stop(grace_s)
        except ServerStartError as error:
            self._move(ServerState.FAILED, detail=str(error))
            raise
        self._gone()
        external = running.record.runtime == "external"
        self._move(ServerState.STOPPED, detail="left running: it is not ours" if external else "")

    async def _find(self) -> Running | None:
        """What runs now: ours, or what the record on disk says (another tfserve-tui may have changed it)."""
        if self._running and self._running.record.runtime == "external":
            return self._running
        record = self.files.read()
        if record is None:
            self._running = None
        elif self._running is None or not record.is_same(self._running.record):
            self._running = await adopt(self.files, self._engine, record)
        elif await self._running.ended():
            await self._running.stop(0)
            self._gone()
        return self._running

    async def _adopt(self) -> None:
        record = self.files.read()
        if record and not record.ready and self.files.busy():
            self._move(ServerState.STOPPED, detail="another tfserve-tui is starting it")
            return
        try:
            running = await self._find()
        except EngineError as error:
            self._move(ServerState.STOPPED, detail=f"a container may still run: {error}")
            return
        if running is not None:
            await self._tell_of(running)

    async def _tell_of(self, running: Running) -> None:
        """Say what was found running."""
        self._doubt = await self._adopted_trouble(running)
        state = ServerState.DEGRADED if self._doubt else ServerState.READY
        other = self._differing(running.record, None)
        news = f"started with other settings: {other}" if other else running.record.detail
        self._move(state, detail=self._doubt or news, record=running.record)

    async def _adopted_trouble(self, running: Running) -> str:
        if not running.record.ready:
            return "It was being started when tfserve-tui ended; restart it (r) or stop it (s)."
        try:
            async with self._clients(running, ADOPT_TIMEOUT_S) as clients:
                for client in clients:
                    await client.status()
        except ServerAnswerError as error:
            return f"It runs but does not answer as it should: {error}"
        return ""

    async def _check_alive(self) -> None:
        running = self._running
        assert running is not None
        try:
            ending = await running.ended()
            trouble = "" if ending else await running.trouble() or self._doubt
        except EngineError as error:
            self._move(ServerState.DEGRADED, detail=str(error))
            return
        if ending is not None:
            await self._bury(running, ending)
            return
        if trouble:
            self._move(ServerState.DEGRADED, detail=trouble, record=running.record)
        elif self.current.state is ServerState.DEGRADED:
            self._move(ServerState.READY, detail=running.record.detail, record=running.record)
        else:
            self._move(self.current.state, detail=self.current.detail, record=running.record)

    async def _bury(self, running: Running, ending: Ending) -> None:
        """It ended without our doing: by another tfserve-tui (then its record is gone), or by itself."""
        record = self.files.read()
        if record is None or not record.is_same(running.record):
            self._running = None
            self._move(ServerState.STOPPED, detail="stopped by another tfserve-tui")
            return
        text = explain_end(self.server, ending, "\n".join(await running.log_tail(TAIL_LINES)))
        await running.stop(0)
        self._gone()
        self._move(ServerState.FAILED, detail=text)

    def _gone(self) -> None:
        self._running, self._doubt = None, ""
        self.files.forget()

    def _differing(self, record: Record, wanted: str | None) -> str:
        """The settings that ``record`` was started with and that are others now, as ``name old → new``."""
        runtime = record.runtime if wanted in {None, "auto"} else wanted
        now = asked(self._settings, self.server, runtime or record.runtime)
        differing = [name for name, known in record.asked.items() if name in now and now[name] != known]
        return ", ".join(f"{name} {record.asked[name]} → {now[name]}" for name in differing)

    def _start_timeout_s(self, runtime: str) -> float:
        if runtime == "external":
            return EXTERNAL_LIMIT_S
        table = self._settings.tf_serving if self.server == TF_SERVING else self._settings.flask
        return table.start_timeout_s

    def _say(self, text: str) -> None:
        """News of a start that goes on."""
        self._move(ServerState.STARTING, detail=text)

    def _move(self, state: ServerState, detail: str = "", record: Record | None = None) -> ServerChanged:
        """Change the state and say so; news without change is said too, the same again is not."""
        check_move(self.server, self.current.state, state)
        known = ServerChanged(server=self.server, state=state) if state in AT_REST else self.current
        changed = msgspec.structs.replace(known, state=state, detail=detail, **(record.facts() if record else {}))
        if changed != self.current:
            self.current = changed
            self._emit(changed)
        return self.current


async def _see_through(work: Coroutine[None, None, None]) -> None:
    """Await ``work`` to its end, which its own limits bound, also when cancelled meanwhile."""
    task, cancelled = asyncio.ensure_future(work), False
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            cancelled = True
    task.result()
    if cancelled:
        raise asyncio.CancelledError


def added_lines(before: list[str], now: list[str]) -> list[str]:
    """What stands in ``now`` after the longest end of ``before`` that it still begins with; a new log is all new."""
    for kept in range(len(before) + 1):
        overlap = before[kept:]
        if now[: len(overlap)] == overlap:
            return now[len(overlap) :]
    return now

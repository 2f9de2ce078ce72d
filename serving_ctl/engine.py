"""Engine: the one facade over servers, runs and results that the command line and the terminal UI both use."""

from __future__ import annotations

import asyncio
import datetime
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from serving_ctl.api.metadata import ServedModel, parse_metadata
from serving_ctl.api.rest import ModelClient, ModelVersion
from serving_ctl.bench.model_folder import ModelFolder
from serving_ctl.bench.plan import Plan, make_plan
from serving_ctl.bench.presets import choose_preset, load_presets
from serving_ctl.config import FLASK, TF_SERVING, Settings, data_dir
from serving_ctl.errors import ConfigError, TfServeError
from serving_ctl.events import Event, LogLine, ServerChanged, ServerState
from serving_ctl.results.record import RecordingWriter, RunRecord

if TYPE_CHECKING:
    from serving_ctl.bench.steering import Steering
    from serving_ctl.servers.checkup import Finding
    from serving_ctl.servers.containers import ServingContainer
    from serving_ctl.servers.fleet import Fleet
    from serving_ctl.servers.workers import Worker

UP = {ServerState.READY, ServerState.DEGRADED}

parse_model = parse_metadata


class PresetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A preset as a menu shows it; times are rough guesses for a text CNN on two cores."""

    name: str
    key: str
    title: str
    expected_s: float
    cells: int
    rounds: int


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a preset is run; what is None comes from the preset."""

    profile: str | None = None
    rounds: int | None = None
    despite_parity: bool = False
    recording: Path | None = None
    """Where the run's events go; None keeps them in the data folder."""
    pull: bool = False
    runtime: str | None = None
    timeout_s: float | None = None


class Engine:
    """Servers and runs of one settings file. ``emit`` gets every event, in the event loop's thread."""

    def __init__(self, settings: Settings, emit: Callable[[Event], None]) -> None:
        self.settings = settings
        self._sinks: list[Callable[[Event], None]] = [emit]
        self._started_here: set[str] = set()
        self._fleet: Fleet | None = None
        self._steering: Steering | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of both servers; the first is the numerator of every ratio (R17)."""
        return (TF_SERVING, FLASK)

    @property
    def presets(self) -> tuple[PresetSummary, ...]:
        """All presets in file order. Raises ConfigError."""
        plans = [(preset.key, make_plan(name, preset, self.settings.bench)) for name, preset in load_presets().items()]
        return tuple(
            PresetSummary(
                name=plan.preset,
                key=key,
                title=plan.title,
                expected_s=plan.expected_s,
                cells=plan.cells,
                rounds=plan.rounds,
            )
            for key, plan in plans
        )

    def plan(self, preset: str, options: RunOptions) -> Plan:
        """The plan that ``run`` would measure. Raises ConfigError."""
        return make_plan(
            preset,
            choose_preset(load_presets(), preset),
            self.settings.bench,
            profile=options.profile,
            rounds=options.rounds,
        )

    async def open(self) -> None:
        """Find what an earlier tfserve-tui left running; emits the state of both servers."""
        await self._servers.adopt()

    def model_problem(self) -> str | None:
        """Why no model can be served from the settings' folder, and what to do; None when one can."""
        return ModelFolder(self.settings.model).problem()

    def current(self, server: str) -> ServerChanged:
        """The last known state of ``server``."""
        return self._servers.current(server)

    async def start(
        self, server: str, *, runtime: str | None = None, pull: bool = False, timeout_s: float | None = None
    ) -> ServerChanged:
        """Start ``server`` and wait until it predicts; cancelling leaves nothing behind. Raises ServerStartError."""
        ran_before = self.current(server).state in UP
        changed = await self._servers.start(server, runtime=runtime, pull=pull, timeout_s=timeout_s, probe=self._probe)
        if not ran_before:
            self._started_here.add(server)
        return changed

    async def stop(self, server: str, *, hard: bool = False) -> None:
        """Stop ``server`` if it is ours; idempotent. ``hard`` waits for no request. Raises ServerStartError."""
        await self._servers.stop(server, hard=hard)
        self._started_here.discard(server)

    async def restart(self, server: str) -> ServerChanged:
        """Stop and start ``server``. Raises ServerStartError."""
        await self.stop(server)
        return await self.start(server)

    async def workers(self, server: str) -> tuple[Worker, ...]:
        """gunicorn's workers, oldest first. Raises ServerAnswerError when ``server`` is no gunicorn of ours."""
        return await self._servers.workers(server)

    async def change_workers(self, server: str, change: int) -> None:
        """Add workers, or remove some when ``change`` is negative. Raises ServerAnswerError."""
        await self._servers.change_workers(server, change)

    async def replace_worker(self, server: str, pid: int) -> None:
        """End worker ``pid`` when it has answered; gunicorn starts another. Raises ServerAnswerError."""
        await self._servers.replace_worker(server, pid)

    async def containers(self) -> tuple[ServingContainer, ...]:
        """All TensorFlow Serving containers on the docker engine, ours or not. Raises ServerStartError."""
        return await self._servers.containers()

    async def stop_container(self, name: str) -> None:
        """Stop and remove any container by name. Raises ServerStartError."""
        await self._servers.stop_container(name)

    def docker_command(self) -> str:
        """The ``docker run`` line that equals a start as docker. Raises ServerStartError when there is no model."""
        return self._servers.docker_command()

    async def metadata(self, server: str) -> dict[str, Any]:
        """The metadata document of ``server`` as sent. Raises ServerAnswerError."""
        async with self._client(server) as client:
            return await client.metadata()

    async def model_status(self, server: str) -> tuple[ModelVersion, ...]:
        """States of the served versions, newest first. Raises ServerAnswerError."""
        async with self._client(server) as client:
            return await client.status()

    async def sample(self) -> None:
        """Emit CPU and memory of the running servers and the state of one that died; at most once a second (R11)."""
        for server in self.servers:
            if self.current(server).state not in UP:
                continue
            await self._servers.check(server)
            if sample := await self._servers.sample(server):
                self._emit(sample)

    async def log_tail(self, server: str, lines: int = 200) -> Sequence[str]:
        """The newest lines of the server's log."""
        return await self._servers.log_tail(server, lines)

    def follow_log(self, server: str) -> AsyncIterator[LogLine]:
        """Every line the server writes from now on, until it ends."""
        return self._servers.follow_log(server)

    async def examine(self) -> tuple[Finding, ...]:
        """What the doctor finds on this machine, for the largest preset."""
        clients = max(
            size if ladder.kind == "concurrency" else ladder.clients
            for preset in load_presets().values()
            for ladder in preset.ladders
            for size in ladder.sizes
        )
        return await self._servers.examine(clients)

    def started_here(self) -> tuple[str, ...]:
        """Servers that this process started and that still run."""
        return tuple(server for server in self.servers if server in self._started_here)

    async def run(
        self,
        preset: str,
        options: RunOptions = RunOptions(),  # noqa: B008 - frozen
        *,
        profile: str | None = None,
        recording: Path | None = None,
    ) -> None:
        """Measure a preset; starts what is not running. Cancel the task to cancel the run.

        Raises TfServeError before RunStarted when it cannot begin (ServerStartError, ConfigError, ParityError), and
        RunIncomplete when a server died; the recording then holds the finished cells.
        """
        options = msgspec.structs.replace(
            options, profile=profile or options.profile, recording=recording or options.recording
        )
        plan = self.plan(preset, options)
        run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        path = options.recording or data_dir() / "runs" / f"{run_id}.jsonl"
        with ExitStack() as stack:
            writer = stack.enter_context(RecordingWriter(path))
            await self._start_missing(options)
            for server in self.servers:
                writer.write(self.current(server))
            stack.enter_context(self._sink(writer.write))
            await self._measure(plan, run_id, options)

    @property
    def steering(self) -> Steering | None:
        """Pause, resume, skip and ± clients of the run under way; None while none is measured."""
        return self._steering

    async def close(self, *, stop_servers: bool) -> None:
        """Let go of everything; ``stop_servers`` stops what this process started."""
        if self._fleet is None:
            return
        if stop_servers:
            await asyncio.gather(*(self.stop(server) for server in self.started_here()))
        await self._fleet.close()

    @property
    def _servers(self) -> Fleet:
        if self._fleet is None:
            from serving_ctl.servers.fleet import Fleet

            self._fleet = Fleet(self.settings, self._emit)
        return self._fleet

    def _emit(self, event: Event) -> None:
        for sink in tuple(self._sinks):
            sink(event)

    def _sink(self, sink: Callable[[Event], None]) -> ExitStack:
        self._sinks.append(sink)
        stack = ExitStack()
        stack.callback(self._sinks.remove, sink)
        return stack

    def _client(self, server: str) -> ModelClient:
        url = self.current(server).url
        if not url:
            raise ConfigError(f"{server} is not running; start it with `tfserve-tui up {server}`.")
        return ModelClient(url, self.settings.model.name)

    def _probe(self, model: ServedModel) -> bytes:
        return ModelFolder(self.settings.model).probe(model, self.settings.bench.seed)

    async def _start_missing(self, options: RunOptions) -> None:
        """Start both servers where needed, side by side; when one fails the other's start is undone."""
        missing = [server for server in self.servers if self.current(server).state not in UP]
        try:
            async with asyncio.TaskGroup() as group:
                for server in missing:
                    runtime = options.runtime if server == TF_SERVING else None
                    group.create_task(
                        self.start(server, runtime=runtime, pull=options.pull, timeout_s=options.timeout_s)
                    )
        except BaseExceptionGroup as failures:
            raise first_cause(failures) from None

    async def _measure(self, plan: Plan, run_id: str, options: RunOptions) -> None:
        from serving_ctl.bench.job import Job
        from serving_ctl.bench.steering import Steering

        states = {server: self.current(server) for server in self.servers}
        self._steering = Steering()
        try:
            job = Job(self.settings, states, self._emit, self._why_gone, self._steering)
            await job.measure(plan, run_id, despite_parity=options.despite_parity)
        finally:
            self._steering = None

    async def _why_gone(self, server: str) -> str | None:
        state = await self._servers.check(server)
        return None if state.state in UP else state.detail or f"it is {state.state}."


def export_record(record: RunRecord, path: Path) -> None:
    """Write a run to ``path`` in the format of its ending. Raises ConfigError."""
    from serving_ctl.results.export import write_export

    write_export(record, path)


def first_cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show of several: ours before anything else."""
    leaves: list[BaseException] = []
    for error in failures.exceptions:
        leaves.extend(error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
    return next((error for error in leaves if isinstance(error, TfServeError)), leaves[0])

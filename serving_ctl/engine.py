"""Engine: the one facade over servers, runs and results that the command line and the terminal UI both use."""

from __future__ import annotations

import asyncio
import datetime
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from serving_ctl.api.metadata import ServedModel, choose_signature, parse_metadata
from serving_ctl.api.rest import ModelClient, ModelVersion, external_headers
from serving_ctl.bench.model_folder import ModelFolder
from serving_ctl.bench.plan import Plan, make_plan
from serving_ctl.bench.presets import (
    Preset,
    choose_preset,
    load_presets,
    own_keys,
    parse_preset,
    save_preset,
    settings_for,
)
from serving_ctl.config import FLASK, TF_SERVING, Settings, config_file, own_file, state_dir
from serving_ctl.errors import ConfigError, TfServeError
from serving_ctl.events import Event, LogLine, ServerChanged, ServerState
from serving_ctl.results.history import History
from serving_ctl.results.keeper import Keeper
from serving_ctl.results.record import RecordingWriter, RunRecord, RunSummary
from serving_ctl.results.store import store_path

if TYPE_CHECKING:
    from serving_ctl.bench.steering import Steering
    from serving_ctl.bench.trial import Trial
    from serving_ctl.results.tables import Table
    from serving_ctl.servers.checkup import Finding
    from serving_ctl.servers.containers import ServingContainer
    from serving_ctl.servers.flags import Flag, FlagValue
    from serving_ctl.servers.fleet import Fleet
    from serving_ctl.servers.workers import Worker

UP = {ServerState.READY, ServerState.DEGRADED}
HISTORY = "history"
"""Whose LogLine says that a run could not be kept, or that the store was damaged."""

parse_model = parse_metadata


class PresetSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A preset as a menu shows it; times are rough guesses for a text CNN on two cores."""

    name: str
    key: str
    title: str
    expected_s: float
    cells: int
    rounds: int
    expected_requests: int = 0
    expected_memory_mb: float = 0.0
    """Of both servers together."""


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a preset is run; what is None comes from the preset."""

    profile: str | None = None
    rounds: int | None = None
    despite_parity: bool = False
    recording: Path | None = None
    """Where all of the run's events are written for a replay; None writes none. The history keeps every run."""
    pull: bool = False
    runtime: str | None = None
    timeout_s: float | None = None


class Engine:
    """Servers and runs of one settings file. ``emit`` gets every event, in the event loop's thread.

    ``source`` is the file that the settings were read from, when the user named one.
    """

    def __init__(self, settings: Settings, emit: Callable[[Event], None], *, source: Path | None = None) -> None:
        self.settings = settings
        self._source = source
        self._sinks: list[Callable[[Event], None]] = [emit]
        self._started_here: set[str] = set()
        self._drafts: dict[str, Preset] = {}
        self._fleet: Fleet | None = None
        self._steering: Steering | None = None

    @property
    def servers(self) -> tuple[str, ...]:
        """Names of both servers; the first is the numerator of every ratio (R17)."""
        return (TF_SERVING, FLASK)

    @property
    def presets(self) -> tuple[PresetSummary, ...]:
        """All presets in file order. Raises ConfigError."""
        presets = self._known_presets()
        plans = [(preset.key, make_plan(name, preset, self.settings.bench)) for name, preset in presets.items()]
        return tuple(
            PresetSummary(
                name=plan.preset,
                key=key,
                title=plan.title,
                expected_s=plan.expected_s,
                cells=plan.cells,
                rounds=plan.rounds,
                expected_requests=plan.expected_requests,
                expected_memory_mb=plan.expected_memory_mb(self.settings.flask.workers),
            )
            for key, plan in plans
        )

    def plan(self, preset: str, options: RunOptions) -> Plan:
        """The plan that ``run`` would measure. Raises ConfigError."""
        return make_plan(
            preset,
            choose_preset(self._known_presets(), preset),
            self.settings.bench,
            profile=options.profile,
            rounds=options.rounds,
        )

    def preset_table(self, name: str) -> dict[str, Any]:
        """The preset as its table in presets.toml would be: kebab-case keys. Raises ConfigError."""
        table: dict[str, Any] = msgspec.to_builtins(choose_preset(self._known_presets(), name))
        return table

    def change_preset(self, name: str, table: dict[str, Any], *, save: bool) -> Path | None:
        """Take ``table`` as preset ``name`` for this session; ``save`` writes the user's presets.toml, whose path it
        returns. Raises ConfigError naming what is wrong.
        """
        preset = parse_preset(name, table)
        path = save_preset(name, preset) if save else None
        self._drafts[name] = preset
        return path

    async def open(self) -> None:
        """Find what an earlier tfserve-tui left running; emits the state of both servers."""
        await self._servers.adopt()

    def model_problem(self) -> str | None:
        """Why no model can be served from the settings' folder, and what to do; None when one can, or need not be."""
        if {self.settings.tf_serving.runtime, self.settings.flask.runtime} == {"external"}:
            return None
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

    async def adopt_container(self, name: str) -> ServerChanged:
        """Take a running container that somebody else started as tf-serving. Raises ServerStartError."""
        return await self._servers.adopt_container(name, self._probe)

    async def server_flags(self) -> dict[str, Flag]:
        """The flags that ``[tf-serving.flags]`` may set, by name. Raises ServerStartError."""
        return await self._servers.flags()

    def flag_value(self, flag: Flag, text: str) -> FlagValue:
        """``text`` as a value of ``flag``. Raises ConfigError."""
        from serving_ctl.servers.flags import read_value

        return read_value(flag.name, flag.type, text)

    def check_flags(self, flags: dict[str, FlagValue], known: dict[str, Flag]) -> None:
        """Raise ConfigError for a flag that is unknown, of the wrong type, or contradicts another."""
        from serving_ctl.servers.chosen_flags import check_flags

        check_flags(msgspec.structs.replace(self.settings.tf_serving, flags=flags), known)

    async def change_flags(self, flags: dict[str, FlagValue], *, save: bool = False) -> Path | None:
        """From the next start on these are all of [tf-serving.flags]; a server that runs keeps those it has.

        ``save`` writes them into the user's settings file too, whose path it returns. Raises ConfigError and
        ServerStartError, nothing changed.
        """
        from serving_ctl.servers.own_files import SETTINGS, save_flags

        self.check_flags(flags, await self.server_flags())
        path = (self._source or own_file(SETTINGS)).absolute() if save else None
        if path is not None:
            save_flags(path, flags)
        serving = msgspec.structs.replace(self.settings.tf_serving, flags=dict(flags))
        await self._take(msgspec.structs.replace(self.settings, tf_serving=serving), ())
        return path

    def config_text(self, name: str) -> tuple[Path, str]:
        """The file in force for models.config, monitoring.config or batching.config, and its text.

        Raises ConfigError.
        """
        from serving_ctl.servers.own_files import config_text

        path = config_file(name).absolute()
        return path, config_text(path)

    def effective_config(self, name: str) -> tuple[Path, str]:
        """What the last start of tf-serving was given for ``name``: file and text. Raises ConfigError."""
        from serving_ctl.servers.own_files import effective_config
        from serving_ctl.servers.record import StateFiles

        return effective_config(StateFiles(state_dir().absolute(), TF_SERVING).config, name)

    def save_config(self, name: str, text: str) -> Path:
        """Write the user's own ``name``; returns its path. Raises ConfigError naming line and field."""
        from serving_ctl.servers.own_files import save_config

        return save_config(name, text)

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

    def example_body(self, model: ServedModel, signature: str) -> bytes:
        """A request body of one instance for ``signature``, in the model's own words where it brings some.

        Raises ConfigError when JSON cannot carry it.
        """
        from serving_ctl.bench.payload import build_bodies, fixed_batch

        chosen = choose_signature(model, signature)
        values = ModelFolder(self.settings.model).values(chosen)
        return build_bodies(chosen, values, batch=fixed_batch(chosen), count=1, seed=self.settings.bench.seed)[0]

    async def try_it(self, body: bytes) -> Trial:
        """What each running server answers to ``body``, how long it took, and the difference of the predictions."""
        from serving_ctl.bench.trial import try_body

        async with AsyncExitStack() as stack:
            running = [server for server in self.servers if self.current(server).state in UP]
            clients = {server: await stack.enter_async_context(self._client(server)) for server in running}
            return await try_body(clients, body, self.settings.bench.timeout_s)

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
        ladders = [ladder for preset in self._known_presets().values() for ladder in preset.ladders]
        clients = max(max(one.sizes) if one.kind == "concurrency" else one.clients for one in ladders)
        batch = max(max(one.sizes) if one.kind == "batch" else one.batch for one in ladders)
        return await self._servers.examine(clients, batch)

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
        RunIncomplete when a server died. The history has every cell from the moment it finished.
        """
        options = msgspec.structs.replace(
            options, profile=profile or options.profile, recording=recording or options.recording
        )
        plan = self.plan(preset, options)
        run_id = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
        wanted = settings_for(choose_preset(self._known_presets(), preset), self.settings)
        async with AsyncExitStack() as stack:
            writer = stack.enter_context(RecordingWriter(options.recording)) if options.recording else None
            await stack.enter_async_context(self._under(wanted))
            await self._start_missing(options)
            keeper = Keeper(store_path, Path(tempfile.gettempdir()) / f"tfserve-tui-{run_id}.jsonl", self._tell_history)
            stack.callback(keeper.close)
            stack.enter_context(self._sink(keeper))
            if writer:
                for server in self.servers:
                    writer.write(self.current(server))
                stack.enter_context(self._sink(writer.write))
            await self._measure(plan, run_id, options)

    def history(self) -> tuple[RunSummary, ...]:
        """All kept runs, newest first. Raises TfServeError."""
        return self._history.runs()

    def kept_run(self, reference: str) -> RunRecord:
        """A kept run by id, unique beginning of an id, baseline's name or ``last``. Raises TfServeError."""
        return self._history.run(reference)

    def delete_run(self, reference: str) -> str:
        """Forget a kept run; returns its id. Raises TfServeError."""
        return self._history.delete(reference)

    def name_baseline(self, name: str, reference: str) -> str:
        """Call a kept run ``name`` from now on; returns its id. Raises TfServeError."""
        return self._history.name_baseline(name, reference)

    def compare_runs(self, a: str, b: str) -> tuple[Table, ...]:
        """What differs between two kept runs, then how each cell changed from ``a`` to ``b``. Raises TfServeError."""
        from serving_ctl.results.compare import comparison_tables

        return comparison_tables(self._history.compare(a, b))

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

    @property
    def _history(self) -> History:
        return History(self._tell_history)

    def _tell_history(self, text: str) -> None:
        self._emit(LogLine(server=HISTORY, text=text))

    def _emit(self, event: Event) -> None:
        for sink in tuple(self._sinks):
            sink(event)

    def _sink(self, sink: Callable[[Event], None]) -> ExitStack:
        self._sinks.append(sink)
        stack = ExitStack()
        stack.callback(self._sinks.remove, sink)
        return stack

    def _client(self, server: str) -> ModelClient:
        state = self.current(server)
        if not state.url:
            raise ConfigError(f"{server} is not running; start it with `tfserve-tui up {server}`.")
        headers = external_headers(self.settings, server, state.runtime)
        return ModelClient(state.url, self.settings.model.name, headers=headers)

    def _known_presets(self) -> dict[str, Preset]:
        """Those of the files, and over them what was changed in this session."""
        return own_keys({**load_presets(), **self._drafts})

    def _probe(self, model: ServedModel) -> bytes:
        return ModelFolder(self.settings.model).probe(model, self.settings.bench.seed)

    @asynccontextmanager
    async def _under(self, settings: Settings) -> AsyncIterator[None]:
        """The servers with a preset's settings, afterwards with ours again. Raises ConfigError for an external one."""
        ours, started_here = self.settings, set(self._started_here)
        pairs = ((TF_SERVING, ours.tf_serving, settings.tf_serving), (FLASK, ours.flask, settings.flask))
        changed = [server for server, mine, wanted in pairs if mine != wanted]
        for server, mine, _ in pairs:
            if server in changed and mine.runtime == "external":
                raise ConfigError(f"This preset changes settings of {server}, which somebody else runs; use another.")
        ran = [server for server in changed if self.current(server).state in UP]
        await self._take(settings, changed)
        try:
            yield
        finally:
            await self._take(ours, changed)
            for server in ran:
                await self.start(server)
            self._started_here -= set(ran) - started_here

    async def _take(self, settings: Settings, changed: Sequence[str]) -> None:
        """From now on ``settings``; the servers that they change are stopped, the others found again."""
        if settings == self.settings:
            return
        for server in changed:
            await self.stop(server)
        await self._servers.close()
        self.settings, self._fleet = settings, None
        await self._servers.adopt()

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
            job = Job(self.settings, states, self._emit, self._why_gone, self._servers.used, self._steering)
            await job.measure(plan, run_id, despite_parity=options.despite_parity)
        finally:
            self._steering = None

    async def _why_gone(self, server: str) -> str | None:
        """Why ``server`` can no longer be measured: it ended, or nothing listens at its address; None while it can."""
        from serving_ctl.servers.ports import accepts

        state = await self._servers.check(server)
        if state.state not in UP:
            return state.detail or f"it is {state.state}."
        address = urlsplit(state.url)
        port = address.port or (443 if address.scheme == "https" else 80)
        listens = await asyncio.to_thread(accepts, port, address.hostname or "", 10.0)
        return None if listens else f"nothing answers at {state.url}."


def export_record(record: RunRecord, path: Path) -> None:
    """Write a run to ``path`` in the format of its ending. Raises ConfigError."""
    from serving_ctl.results.export import write_export

    write_export(record, path)


def bucket_ms(buckets: Sequence[int]) -> list[float]:
    """The middle of each HDR bucket of ``CellFinished.histogram``, in ms (R14)."""
    import numpy as np

    from serving_ctl.stats.latency import bucket_value

    return [float(value) / 1000 for value in bucket_value(np.asarray(buckets, dtype=np.int64))]


def first_cause(failures: BaseExceptionGroup[BaseException]) -> BaseException:
    """The one error to show of several: ours before anything else."""
    leaves: list[BaseException] = []
    for error in failures.exceptions:
        leaves.extend(error.exceptions if isinstance(error, BaseExceptionGroup) else [error])
    return next((error for error in leaves if isinstance(error, TfServeError)), leaves[0])
